"""R-50, R-51: what a lenient import leaves out it neither stores nor plays down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotator.errors import BadFile
from annotator.importing import import_labels, preview_labels
from annotator.records import CellState, Image, ImportReport, Project
from annotator.store import Store
from tests.annotator.importing.test_labels import cells, untouched

P, N = CellState.POSITIVE, CellState.NEGATIVE


@pytest.fixture
def path(tmp_path: Path, project: Project, add_images: Callable[..., list[Image]]) -> Path:
    """Where the label file is; the project has the pictures p0.jpg ... p3.jpg."""
    add_images(project, 4)
    return tmp_path / "l.txt"


@pytest.fixture
def load(path: Path, store: Store, project: Project, user_id: int) -> Callable[..., ImportReport]:
    """Imports a text as a label file."""

    def loader(text: str, **more: Any) -> ImportReport:
        path.write_text(text, encoding="utf-8", newline="")
        return import_labels(store, project.id, path, user_id=user_id, **more)

    return loader


def coco(**changes: Any) -> str:
    top: dict[str, Any] = {
        "images": [{"id": n, "file_name": f"p{n}.jpg"} for n in range(2)],
        "annotations": [{"image_id": 0, "category_id": 1}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    return json.dumps({key: value for key, value in (top | changes).items() if value is not None})


@pytest.mark.parametrize("other", ["neg_category_ids", "unsure_category_ids"])
def test_a_cell_that_is_said_to_be_two_things_never_becomes_a_third(
    store: Store, project: Project, load: Callable[..., ImportReport], other: str
) -> None:
    """Nobody said negative of it in so many words, or somebody said positive too."""
    text = coco(images=[{"id": 0, "file_name": "p0.jpg", other: [1]}])
    with pytest.raises(BadFile, match="1 cell is said to be two things, so that none cannot mean negative"):
        load(text, lenient=True, absent="negative")
    assert untouched(store, project)
    assert load(text, lenient=True).cells == 0


def test_a_list_of_pictures_alone_says_nothing_of_categories(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    """As the files that come with a test set: absence is meant where somebody looked."""
    text = coco(annotations=None)
    for lenient in (False, True):
        with pytest.raises(BadFile, match='it has no "annotations", so that none cannot mean negative'):
            load(text, lenient=lenient, absent="negative")
    assert untouched(store, project)
    assert load(text).cells == 0
    assert load(coco(annotations=[]), absent="negative").cells == 4


@pytest.mark.parametrize("count", [1, 3])
def test_a_quote_that_is_never_closed_costs_every_line_it_swallows(
    store: Store, project: Project, path: Path, load: Callable[..., ImportReport], count: int
) -> None:
    lines = "".join(f"p{place}.jpg,1\n" for place in range(1, count))
    text = f'file_name,dog\np3.jpg,0\np0.jpg,"1\n{lines}'
    report = load(text, lenient=True)
    where = "line 3" if count == 1 else "lines 3 to 5"
    (row,) = report.refused
    verb = "is" if count == 1 else "are"
    assert row.name == f"l.txt, {where}"
    assert row.reason == f"{where} {verb} not CSV (unexpected end of data; is a quote not closed?)"
    assert report.notes == ("1 row was left out." if count == 1 else "3 rows were left out.",)
    assert preview_labels(store, project.id, path).bad_rows == count
    assert cells(store, project) == {("p3.jpg", "dog"): N}


def test_a_quote_that_swallows_more_than_a_value_may_hold(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    text = 'file_name,dog\np0.jpg,"1\n' + "".join(f"x{n}.jpg,1\n" for n in range(20_000)) + "p1.jpg,1\n"
    report = load(text, lenient=True)
    assert report.notes[0].startswith("20001 rows were left out"), "every line but the last is accounted for"
    assert report.refused[0].reason.startswith("lines 2 to ")
    assert cells(store, project) == {("p1.jpg", "dog"): P}


def test_one_of_a_thing_is_said_in_the_singular(load: Callable[..., ImportReport]) -> None:
    assert load("file_name,dog\np0.jpg,1\nx.jpg,1\n", lenient=True).notes == ("1 row was left out.",)
    assert load("file_name,dog\np0.jpg,0\n").notes == (
        "1 cell was already decided otherwise and was kept as it is.",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (coco(images=[{"id": 0}]), 'images[0] has no "file_name"'),
        (coco(categories=[{"id": 1}]), 'categories[0] has no "name"'),
        (
            coco(info={"schema": "coco_partial/1"}, image_labels=[{"image_id": 0, "category_id": 1}]),
            'image_labels[0] has no "state"',
        ),
        (coco(images=[{"id": 0, "file_name": None}]), "images[0].file_name is null, not a text"),
        (coco(annotations=[{"image_id": True, "category_id": 1}]), "annotations[0].image_id is true, not a"),
    ],
)
def test_what_is_missing_is_not_said_to_be_there(
    load: Callable[..., ImportReport], text: str, reason: str
) -> None:
    with pytest.raises(BadFile) as caught:
        load(text)
    assert reason in str(caught.value)


HUGE = "9" * 4_300  # digits that Python still reads, and whose sums it no longer writes


@pytest.mark.parametrize(
    "counts", [f"[{','.join([HUGE] * 20)}]", f"[{HUGE}]", f"[{2**31 + 1}]"], ids=["sum", "one", "just"]
)
def test_run_lengths_beyond_every_picture_are_a_bad_row(
    load: Callable[..., ImportReport], counts: str
) -> None:
    outline = {"size": [2, 2], "counts": "X"}
    entry = {"image_id": 0, "category_id": 1, "segmentation": outline}
    text = coco(annotations=[entry]).replace('"X"', counts)
    (row,) = load(text, lenient=True).refused
    assert "annotations[0].segmentation.counts is [" in row.reason and len(row.reason) < 200


def test_a_number_of_too_many_digits_is_refused_in_plain_words(load: Callable[..., ImportReport]) -> None:
    text = coco(annotations=[{"image_id": "X", "category_id": 1}]).replace('"X"', "9" * 5_000)
    with pytest.raises(BadFile, match=r"^l.txt: one of its numbers has thousands of digits$"):
        load(text, lenient=True)
