"""The whole story in real Chromium: `annotator run`, the demo project, real training, export.

Nothing here waits for time: every wait is for a state of the page, the database or a file.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from annotator.actions import Actions
from annotator.demo import CATEGORIES, DEMO_PROJECT
from annotator.exporting.reader import cell_states
from annotator.records import CellState
from annotator.settings import Settings
from annotator.store import Store, decisions, generations, images
from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch

TRAINING_MS = 240_000
LABELLED = 30  # pictures answered by key before the first training


@dataclass(frozen=True)
class Truth:
    """What is drawn in each demo picture."""

    shown: dict[str, set[str]]

    @classmethod
    def read(cls, path: Path) -> Truth:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return cls({row["file_name"]: {name for name in CATEGORIES if row[name] == "1"} for row in rows})


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`annotator run` as a person starts it, with the default backbone and the worker."""
    data_dir = tmp_path_factory.mktemp("story") / "data"
    command = [sys.executable, "-m", "annotator", "run", "--data-dir", str(data_dir), "--port", "0"]
    # No training by itself: the story presses the button. Every question brings all categories of a picture.
    environment = {**os.environ, "ANNOTATOR_RETRAIN_EVERY": "100000", "ANNOTATOR_RANDOM_SHARE": "0"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"Open (http://\S+)", line):
            break
    else:
        pytest.fail("the server never said where it is:\n" + "".join(said))
    settings = Settings(data_dir=data_dir)
    store = Store.open(settings)
    yield Site(found[1], store, settings, Actions(store, settings))
    store.close()
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    process.stdout.close()
    assert process.wait(15) == 0, rest
    assert "Traceback" not in rest, rest


@pytest.fixture
def watch(started: Site) -> Watch:
    """The record of the story's page; the plots' library logs its own version there."""
    record = Watch(started.url)
    record.allow("Vega")
    return record


def answer_by_keys(annotate: Annotate, truth: set[str]) -> int:
    """Answer every open candidate of the picture on screen truthfully by y and n; how many keys it took."""
    keys = 0
    while (name := annotate.focused()) and annotate.row(name).get_attribute("data-state") == "unknown":
        annotate.press("y" if name in truth else "n")
        keys += 1
        expect(annotate.chip(name).first).to_be_visible()
        if keys >= len(CATEGORIES):
            break
    return keys


def test_the_whole_story(new_page: Callable[..., Page], started: Site, tmp_path: Path) -> None:
    project = next(one.id for one in started.actions.projects() if one.name == DEMO_PROJECT)
    truth = Truth.read(started.settings.data_dir / "demo" / "labels.csv")
    with started.store.read() as c:
        names = {number: name for name, number in images.name_map(c, project).items()}
    assert len(names) >= 120
    page = new_page(accept_downloads=True)
    annotate = Annotate(page, started, project).open()

    label_some(annotate, truth, names)
    retrain_and_wait(page, started, project)
    accepted = judge_suggestions(annotate, truth, names)
    assert accepted >= 1
    exported = export(page, tmp_path)

    with started.store.read() as c:
        stored = {(one.image_id, one.category_id): one.state for one in decisions.labelled_pairs(c, project)}
    assert cell_states(json.loads(exported.read_text(encoding="utf-8"))) == stored
    assert len(stored) >= LABELLED * len(CATEGORIES)


def label_some(annotate: Annotate, truth: Truth, names: dict[int, str]) -> None:
    """Thirty pictures, every category, by key; one answer is undone and given again."""
    for number in range(LABELLED):
        assert answer_by_keys(annotate, truth.shown[names[annotate.image_id]]) == len(CATEGORIES)
        if number == 0:
            annotate.press("z").saved()
            assert len(annotate.answers()) == len(CATEGORIES) - 1
            assert answer_by_keys(annotate, truth.shown[names[annotate.image_id]]) == 1
        annotate.saved()
        annotate.walk("ArrowRight")
    for image_id, name in list(names.items()):
        given = annotate.answers(image_id)
        for category, state in given.items():
            assert state == ("positive" if category in truth.shown[name] else "negative")


def retrain_and_wait(page: Page, site: Site, project: int) -> None:
    """Press Retrain on the Learn tab and wait until the page tells of the generation."""
    page.get_by_role("tab", name="Learn").click()
    page.get_by_role("button", name=re.compile("Retrain", re.I)).click()
    expect(page.get_by_text(re.compile(r"Generation \d+ is ready")).first).to_be_visible(timeout=TRAINING_MS)
    with site.store.read() as c:
        current = generations.current(c, project)
    assert current is not None and current.metrics["map"] > 0.5


def judge_suggestions(annotate: Annotate, truth: Truth, names: dict[int, str]) -> int:
    """Open a picture nobody has seen: its suggestions rest on the model, and one key settles each."""
    page = annotate.page
    page.get_by_role("tab", name="Annotate").click()
    unseen = next(number for number in names if not annotate.answers(number))
    annotate.open(unseen)
    shown = truth.shown[names[unseen]]
    expect(annotate.row(next(iter(annotate.names()))).get_by_text("model + neighbours")).to_be_visible()
    ranked = annotate.names()
    assert set(ranked) == set(CATEGORIES)
    places = [ranked.index(name) for name in shown]
    assert sum(places) / len(places) < (len(CATEGORIES) - 1) / 2, "what is drawn must rank above the middle"
    expect(annotate.surface.locator(".ann-row img").first).to_be_visible()
    annotate.press("h")
    expect(annotate.surface.locator("canvas").first).to_be_visible()
    annotate.press("h")
    assert answer_by_keys(annotate, shown) == len(CATEGORIES)
    annotate.saved()
    logged = [one for one in annotate.site.log(annotate.project_id) if one.image_id == unseen]
    assert all(one.generation_id is not None and 0 <= one.score <= 1 for one in logged)
    given = annotate.site.answers(annotate.project_id, unseen)
    return sum(state is CellState.POSITIVE for state in given.values())


def export(page: Page, folder: Path) -> Path:
    """Download the COCO file from the Export tab."""
    page.get_by_role("tab", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("COCO", re.I)).first.click()
    target = folder / "export.json"
    download.value.save_as(target)
    return target
