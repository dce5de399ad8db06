"""R-40: what was exported and imported into an empty project is exported again as it was."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from annotator.exporting import export_coco, export_csv, pages
from annotator.importing import import_labels
from annotator.records import CellState, NewDecision, Project
from annotator.store import Store, categories, decisions, images, projects
from tests.conftest import NOW, new_image

STATES = (CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE, None)
NAMES = ["=SUM(A1)", "a,b;c", 'say "hi"', "犬", "'quoted", "file_name", "never decided"]
FILES = [" 1.jpg", "-2.jpg", "line\nbreak.jpg", "tab\t;.jpg", "\u05d0\u05d1.jpg", "file_name", "7.jpg"]


@pytest.fixture
def two(store: Store, user_id: int) -> tuple[Project, Project]:
    """Two projects with the same pictures; the first has cells of all states, the second no category."""

    def work(c: Any) -> tuple[Project, Project]:
        first, second = (projects.create(c, name, now=NOW) for name in ("same name", "another"))
        made = categories.ensure(c, first.id, NAMES, now=NOW)[0]
        new = []
        for row, name in enumerate(FILES):
            picture = new_image(name, f"{row:064}")
            image, _ = images.add(c, first.id, picture, now=NOW)
            images.add(c, second.id, picture, now=NOW)
            for column, category in enumerate(made[:-1]):
                state = STATES[(row + column) % 4]
                if state is not None:
                    op = f"{row}-{column}"
                    new.append(NewDecision(op_id=op, image_id=image.id, category_id=category.id, state=state))
        decisions.record(c, first.id, new, user_id=user_id, now=NOW)
        return first, second

    return store.write(work)


def test_a_table_comes_back_byte_for_byte(store: Store, two: tuple[Project, Project], tmp_path: Path) -> None:
    first, second = two
    before = export_csv(store, first.id, tmp_path / "a.csv")
    assert before.cells == 32 and "never decided" in (tmp_path / "a.csv").read_text()
    import_labels(store, second.id, tmp_path / "a.csv", user_id=1)
    again = export_csv(store, second.id, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert again.sha256 == before.sha256


def plain(path: Path) -> bytes:
    """A COCO export in one order, with names for ids and without who, when and from which project."""
    top = json.loads(path.read_text())
    pictures = {one["id"]: one["file_name"] for one in top["images"]}
    names = {one["id"]: one["name"] for one in top["categories"]}
    for key in ("date_created", "year", "description", "snapshot"):
        del top["info"][key]
    for one in top["images"]:
        one["id"] = pictures[one["id"]]
        for key in ("neg_category_ids", "not_exhaustive_category_ids", "unsure_category_ids"):
            one[key] = [names[category] for category in one[key]]
    for one in top["categories"]:
        one["id"] = names[one["id"]]
    for one in (*top["annotations"], *top["image_labels"]):
        one["image_id"], one["category_id"] = pictures[one["image_id"]], names[one["category_id"]]
        for key in ("source", "annotator", "decided_at", "attributes"):
            one.pop(key, None)
    return json.dumps(top, sort_keys=True).encode()


def test_a_coco_file_comes_back_but_for_ids_and_authors(
    store: Store, two: tuple[Project, Project], tmp_path: Path
) -> None:
    first, second = two
    export_coco(store, first.id, tmp_path / "a.json", now=NOW)
    import_labels(store, second.id, tmp_path / "a.json", user_id=1)
    export_coco(store, second.id, tmp_path / "b.json", now=NOW)
    assert plain(tmp_path / "a.json") == plain(tmp_path / "b.json")


@pytest.mark.parametrize("somebody", [True, False])
def test_an_export_rests_for_those_who_save_and_for_nobody_else(
    store: Store,
    two: tuple[Project, Project],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    somebody: bool,
) -> None:
    rests: list[float] = []
    monkeypatch.setattr(pages, "time", SimpleNamespace(sleep=rests.append))
    if somebody:
        store.write(lambda c: None)
    else:
        monkeypatch.setattr(pages, "QUIET_S", 0.0)  # as if the last one who saved came long ago
    export_csv(store, two[0].id, tmp_path / "a.csv")
    assert rests == ([pages.REST_S] if somebody else [])


def test_nobody_has_come_to_write_before_the_first(store: Store, settings: Any) -> None:
    fresh = Store.open(settings)
    try:
        assert fresh.unasked_s == float("inf")
        fresh.write(lambda c: None)
        assert 0 <= fresh.unasked_s < 3_600
    finally:
        fresh.close()
