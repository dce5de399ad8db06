"""R-50, R-51: bad rows are named with field and reason; strict stops at one, lenient lists them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotator.errors import BadFile
from annotator.importing import cells as cells_module
from annotator.importing import geometry, import_labels
from annotator.importing.cells import BadRow
from annotator.importing.csv_labels import guessed
from annotator.records import CellState, Image, ImportReport, Project
from annotator.store import Store
from tests.annotator.importing.test_labels import cells, untouched

P, N, U = CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE


@pytest.fixture
def load(
    tmp_path: Path, store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]
) -> Callable[..., ImportReport]:
    """Imports a label file into a project with the pictures p0.jpg ... p5.jpg."""
    add_images(project, 6)

    def loader(content: str | bytes | dict[str, Any], **more: Any) -> ImportReport:
        data = content if isinstance(content, str | bytes) else json.dumps(content)
        path = tmp_path / "l.txt"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return import_labels(store, project.id, path, user_id=user_id, **more)

    return loader


def refused(report: ImportReport) -> list[tuple[str, str]]:
    return [(row.name, row.reason) for row in report.refused]


BAD_CSV = """file_name,dog,cat
p0.jpg,1,0
who.jpg,1,0
p1.jpg,1
p2.jpg,maybe,1
p0.jpg,0,0
p3.jpg,0,?,1
"p4"x.jpg,1,1
p5.jpg,,0
"""


def test_strict_stops_at_the_first_bad_line_and_writes_nothing(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    with pytest.raises(BadFile, match=r'^l.txt: line 3: no picture of the project is named "who.jpg"$'):
        load(BAD_CSV)
    assert untouched(store, project)


def test_lenient_takes_the_good_lines_and_lists_the_bad_ones(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    report = load(BAD_CSV, lenient=True)
    assert cells(store, project) == {("p0.jpg", "dog"): P, ("p0.jpg", "cat"): N, ("p5.jpg", "cat"): N}
    assert refused(report) == [
        ("l.txt, line 3", 'line 3: no picture of the project is named "who.jpg"'),
        ("l.txt, line 4", "line 4 has 2 values, the header has 3"),
        ("l.txt, line 5", 'line 5, column "dog": the value "maybe" is not 1, 0, ? or empty'),
        ("l.txt, line 6", 'line 6: "p0.jpg" was already given in line 2'),
        ("l.txt, line 7", "line 7 has 4 values, the header has 3"),
        ("l.txt, line 8", "line 8 is not CSV (',' expected after '\"')"),
    ]
    assert report.notes == ("6 rows were left out.",)
    assert load(BAD_CSV, lenient=True).cells == 0


def test_a_header_that_cannot_be_used_stops_a_lenient_import_too(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    for header in ("file_name,dog,Dog", "file_name,file_name,dog", "name,dog", "file_name", 'file_name,"dog'):
        with pytest.raises(BadFile, match=r"already named|there twice|no column|no category|not CSV"):
            load(f"{header}\np0.jpg,1,1\n", lenient=True)
    assert untouched(store, project)


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("1", "yes", "YES", "y", "True", " 1 ", "positive"), P),
        (("0", "no", "N", "false", "negative"), N),
        (("?", "unsure", " ? "), U),
        (("", " "), None),
    ],
)
def test_usual_words_for_the_states_are_read_and_blank_stays_unknown(
    store: Store,
    project: Project,
    load: Callable[..., ImportReport],
    words: tuple[str, ...],
    state: CellState | None,
) -> None:
    header = ",".join(f"c{place}" for place in range(len(words)))
    load(f"file_name,{header}\np0.jpg,{','.join(words)}\np1.jpg{',1' * len(words)}\n")
    found = cells(store, project)
    assert [found.get(("p0.jpg", f"c{place}")) for place in range(len(words))] == [state] * len(words)


def test_the_guessed_separator_is_said(load: Callable[..., ImportReport]) -> None:
    assert load("file_name;a\np0.jpg;1\n").notes == ("The values were read as separated by semicolons.",)
    assert load("file_name\tb\np0.jpg\t1\n").notes == ("The values were read as separated by tabs.",)
    assert load("file_name,c\np0.jpg,1\n").notes == ()


@pytest.mark.parametrize(
    ("line", "sign"),
    [
        ('file_name,"a;b"', ","),
        ("file_name;a,b", ";"),
        ('"file_name"\ta,b', "\t"),
        ("dog;file_name", ";"),
        ("dog", ","),
        ("  file_name , a;b", ","),
    ],
)
def test_the_separator_is_what_follows_our_own_column(line: str, sign: str) -> None:
    assert guessed(line) == sign


def test_odd_shapes_of_a_table_are_read(
    store: Store, project: Project, load: Callable[..., ImportReport], add_images: Callable[..., list[Image]]
) -> None:
    add_images(project, 1, "line\nbreak")
    text = '\n\nfile_name,dog\n"line\nbreak0.jpg",1\n\np0.jpg,0\n'
    assert load(text).cells == 2
    assert cells(store, project) == {("line\nbreak0.jpg", "dog"): P, ("p0.jpg", "dog"): N}
    with pytest.raises(BadFile, match=r"^l.txt: line 8: no picture"):
        load(text + "x.jpg,0\n")


def test_ten_thousand_columns_are_read_and_more_than_the_limit_are_not(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    def table(columns: int) -> str:
        header = ",".join(f"c{place}" for place in range(columns))
        return f"file_name,{header}\np0.jpg,1{',' * (columns - 1)}\n"

    assert load(table(10_000)).categories_added == 10_000
    assert cells(store, project) == {("p0.jpg", "c0"): P}
    with pytest.raises(BadFile, match="it has 20001 columns, the limit is 20000"):
        load(table(20_000))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file_name,d\0g\np0.jpg,1\n", "must not contain"),
        ("file_name,dog\np0.jpg,\0\n", "is not 1, 0, [?] or empty"),
        ("file_name,dog\np0\0.jpg,1\n", "no picture of the project is named"),
    ],
)
def test_nul_is_a_value_like_any_other_bad_one(
    load: Callable[..., ImportReport], text: str, reason: str
) -> None:
    with pytest.raises(BadFile, match=reason):
        load(text)


def test_a_line_that_never_ends_is_refused(
    load: Callable[..., ImportReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotator.importing.csv_labels.MAX_LINE", 1_000)
    with pytest.raises(BadFile, match="one of its lines has more than 1000 characters"):
        load("file_name,dog\n" + "x" * 5_000)


def coco(**changes: Any) -> dict[str, Any]:
    top: dict[str, Any] = {
        "images": [{"id": n, "file_name": f"p{n}.jpg", "width": 40, "height": 30} for n in range(4)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 2, 3, 4]} for n in range(4)],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    return {**top, **changes}


def annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 9, "image_id": 0, "category_id": 2, "bbox": [0, 0, 9, 9], **changes}


RLE = {"size": [30, 40], "counts": [0, 1200]}
BAD_GEOMETRY = {
    "negative box": (annotation(bbox=[1, 1, -3, 4]), "bbox is [1, 1, -3, 4]; width and height must not be"),
    "three values": (annotation(bbox=[1, 2, 3]), "bbox is [1, 2, 3], not four numbers"),
    "words": (annotation(bbox=["1", 2, 3, 4]), "not four numbers"),
    "bool": (annotation(bbox=[True, 2, 3, 4]), "not four numbers"),
    "no list": (annotation(bbox=7), "bbox is 7, not four numbers"),
    "outside": (annotation(bbox=[50, 2, 3, 4]), "which lies outside of the picture"),
    "above": (annotation(bbox=[0, -20, 3, 4]), "which lies outside of the picture"),
    "huge whole number": (annotation(bbox=[0, 0, 1, 10**400]), "not four numbers"),
    "odd polygon": (annotation(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "segmentation[0] has 7 numbers"),
    "two points": (annotation(segmentation=[[1, 2, 3, 4]]), "segmentation[0] has 4 numbers"),
    "polygon of words": (annotation(segmentation=[["a"] * 6]), "not a list of numbers"),
    "flat polygon": (annotation(segmentation=[1, 2, 3, 4, 5, 6]), "segmentation[0] is 1, not a list"),
    "outline of text": (annotation(segmentation="x"), "not polygons or run lengths"),
    "RLE 0 x 0": (
        annotation(segmentation={**RLE, "size": [0, 0]}),
        "segmentation.size is [0, 0], not height",
    ),
    "RLE huge": (annotation(segmentation={**RLE, "size": [10**5, 10**5]}), "larger than any picture"),
    "RLE sum": (
        annotation(segmentation={**RLE, "counts": [0, 1201]}),
        "has 1201 pixels in all, its size has 1200",
    ),
    "RLE negative": (annotation(segmentation={**RLE, "counts": [-1, 1201]}), "not run lengths"),
    "RLE characters": (
        annotation(segmentation={**RLE, "counts": "0 \u00e9"}),
        "no part of packed run lengths",
    ),
    "RLE cut": (annotation(segmentation={**RLE, "counts": "P"}), "ends in the middle of a run length"),
    "RLE long": (annotation(segmentation={**RLE, "counts": "o" * 99}), "no part of packed run lengths"),
    "crowd true": (annotation(iscrowd=True), "iscrowd is true, not 0 or 1"),
    "crowd text": (annotation(iscrowd="1"), 'iscrowd is "1", not 0 or 1'),
}


@pytest.mark.parametrize("case", BAD_GEOMETRY)
def test_boxes_and_outlines_that_cannot_be_are_bad_rows(
    store: Store, project: Project, load: Callable[..., ImportReport], case: str
) -> None:
    entry, reason = BAD_GEOMETRY[case]
    content = coco(annotations=[*coco()["annotations"], entry])
    with pytest.raises(BadFile) as caught:
        load(content)
    assert str(caught.value).startswith("l.txt: annotations[4].") and reason in str(caught.value)
    assert len(str(caught.value)) < 300 and untouched(store, project)
    report = load(content, lenient=True)
    assert [name for name, _ in refused(report)] == ["l.txt, annotations[4]"]
    assert cells(store, project) == {(f"p{n}.jpg", "dog"): P for n in range(4)}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("lenient", [False, True])
def test_numbers_without_end_are_never_used(
    store: Store, project: Project, load: Callable[..., ImportReport], number: str, lenient: bool
) -> None:
    text = json.dumps(coco(annotations=[annotation(bbox=[0, 0, 1, "X"])])).replace('"X"', number)
    if lenient and "e" in number:
        assert len(load(text, lenient=True).refused) == 1
        return
    with pytest.raises(BadFile, match=r"not a number of JSON|not four numbers"):
        load(text, lenient=lenient)
    assert untouched(store, project)


def packed(runs: list[int]) -> str:
    """COCO's packed run lengths, written from its description."""
    text = ""
    for place, run in enumerate(runs):
        value = run - (runs[place - 2] if place > 2 else 0)
        while True:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr(bits + (0x20 if more else 0) + 48)
            if not more:
                break
    return text


@pytest.mark.parametrize(
    "entry",
    [
        annotation(bbox=[0, 0, 0, 0]),
        annotation(bbox=[]),
        annotation(bbox=[38.5, 29.5, 10, 10]),
        annotation(segmentation=[]),
        annotation(segmentation=[[0, 0, 1, 0, 1.5, 1]]),
        annotation(segmentation=[[0.5] * 2_000_000]),
        annotation(segmentation=RLE, iscrowd=1),
        annotation(segmentation={"size": [3, 3], "counts": packed([0, 1, 1, 4, 2, 1])}),
        {"image_id": 0, "category_id": 2},
    ],
    ids=[
        "point",
        "no box",
        "over the edge",
        "no outline",
        "triangle",
        "a million points",
        "runs",
        "packed",
        "bare",
    ],
)
def test_what_coco_files_really_have_is_taken(
    store: Store, project: Project, load: Callable[..., ImportReport], entry: dict[str, Any]
) -> None:
    assert load(coco(annotations=[entry])).cells == 1


@pytest.mark.parametrize("runs", [[0, 9], [1, 2, 3, 4], [5, 100, 7, 3, 2000, 1, 30000, 12], [0, 1] * 40])
def test_packed_run_lengths_are_unpacked(runs: list[int]) -> None:
    assert geometry._unpacked(packed(runs), "x") == runs
    geometry.check({"segmentation": {"size": [1, sum(runs)], "counts": packed(runs)}}, "x", None)
    with pytest.raises(BadRow):
        geometry.check({"segmentation": {"size": [1, sum(runs) + 1], "counts": packed(runs)}}, "x", None)


def test_a_lenient_import_lists_every_sort_of_bad_row(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    content = coco(
        info={"schema": "coco_partial/1"},
        images=[
            {"id": 0, "file_name": "p0.jpg", "neg_category_ids": [2]},
            {"id": 0, "file_name": "p1.jpg"},
            {"id": 2, "file_name": "p0.jpg"},
            {"id": 3, "file_name": "gone.jpg", "neg_category_ids": [1]},
            "p4.jpg",
            {"id": 5, "file_name": "p5.jpg", "neg_category_ids": [77], "unsure_category_ids": [1]},
            {"id": "6", "file_name": "p3.jpg"},
        ],
        categories=[
            {"id": 1, "name": "dog"},
            {"id": 1, "name": "x"},
            {"id": 2, "name": "cat"},
            {"id": 3, "name": "DOG"},
        ],
        annotations=[
            {"id": 1, "image_id": 0, "category_id": 1},
            {"id": 1, "image_id": 5, "category_id": 2},
            {"id": 2, "image_id": 3, "category_id": 1},
            {"id": 3, "image_id": 99, "category_id": 1},
            {"id": 4, "image_id": 0, "category_id": 99},
            {"id": 5, "image_id": 5, "category_id": 1},
        ],
    )
    report = load(content, lenient=True)
    assert refused(report) == [
        ("l.txt, images[1]", "images[1].id is 0, which another image already has"),
        ("l.txt, images[2]", 'images[2].file_name "p0.jpg" was already given in images[0]'),
        ("l.txt, images[3]", 'images[3].file_name "gone.jpg" is not a picture of the project'),
        ("l.txt, images[4]", 'images[4] is "p4.jpg", not an object'),
        ("l.txt, images[6]", 'images[6].id is "6", not a whole number from 0 to 9007199254740991'),
        ("l.txt, categories[1]", "categories[1].id is 1, which another category already has"),
        ("l.txt, categories[3]", 'categories[3]: the category "DOG" was already named in categories[0]'),
        ("l.txt, annotations[1]", "annotations[1].id is 1, which another annotation already has"),
        ("l.txt, annotations[3]", "annotations[3].image_id is 99, which no image of the file has"),
        ("l.txt, annotations[4]", "annotations[4].category_id is 99, which no category of the file has"),
        ("l.txt, images[5]", "images[5].neg_category_ids has 77, which no category of the file has"),
        ("l.txt, image 5, category 1", "image 5, category 1 is both positive and unsure"),
    ]
    assert cells(store, project) == {("p0.jpg", "dog"): P, ("p0.jpg", "cat"): N}


def test_a_cell_of_which_a_partial_file_says_two_things_stays_unknown(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    content = coco(
        info={"schema": "coco_partial/1"},
        image_labels=[
            {"image_id": 0, "category_id": 1, "state": "positive"},
            {"image_id": 1, "category_id": 1, "state": "negative"},
            {"image_id": 2, "category_id": 2, "state": "unsure"},
            {"image_id": 3, "category_id": 1, "state": "positive"},
        ],
    )
    report = load(content, lenient=True)
    assert [reason for _, reason in refused(report)] == [
        "image 1, category 1 is negative in image_labels and positive elsewhere",
        "image 2, category 1 is unknown in image_labels and positive elsewhere",
        "image 2, category 2 is unsure in image_labels and unknown elsewhere",
    ]
    assert cells(store, project) == {("p0.jpg", "dog"): P, ("p3.jpg", "dog"): P}


def test_absence_means_nothing_where_annotations_were_left_out(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    content = coco(annotations=[annotation(), annotation(id=10, bbox=[1])])
    with pytest.raises(BadFile, match="1 annotation cannot be used, so that none cannot mean negative"):
        load(content, lenient=True, absent="negative")
    assert untouched(store, project)
    load(coco(annotations=[annotation()]), absent="negative")
    assert len(cells(store, project)) == 8


def test_lists_may_come_in_any_order(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    top = coco(info={"schema": "coco_partial/1"})
    load({key: top[key] for key in sorted(top, reverse=True)})
    first = cells(store, project)
    assert len(first) == 4
    load({key: top[key] for key in ("annotations", "categories", "images", "info")})
    assert cells(store, project) == first


def test_more_bad_rows_than_anybody_reads_are_counted(
    load: Callable[..., ImportReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells_module, "LISTED", 3)
    report = load("file_name,dog\np0.jpg,1\n" + "".join(f"x{n}.jpg,1\n" for n in range(10)), lenient=True)
    assert (report.cells, len(report.refused)) == (1, 3)
    assert report.notes == ("10 rows were left out, 7 of them not listed.",)


@pytest.mark.parametrize("kind", ["csv", "coco"])
def test_a_file_with_more_cells_than_memory_should_hold_is_refused(
    store: Store,
    project: Project,
    load: Callable[..., ImportReport],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr(cells_module, "MAX_CELLS", 3)
    with pytest.raises(BadFile, match="it decides 4 cells, the limit is 3"):
        load(coco() if kind == "coco" else "file_name,dog\n" + "".join(f"p{n}.jpg,1\n" for n in range(4)))
    assert untouched(store, project)


@pytest.mark.parametrize("twin", ["Big  Dog", "BIG DOG", "big\u200d dog"])
def test_two_columns_that_would_be_one_category_are_refused(
    store: Store, project: Project, load: Callable[..., ImportReport], twin: str
) -> None:
    with pytest.raises(BadFile, match="was already named in column 2"):
        load(f"file_name,big dog,{twin}\np0.jpg,1,0\n")
    assert untouched(store, project)


def test_names_of_categories_are_texts_and_nothing_else(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    script = "</script><script>alert(1)</script>"
    load(coco(categories=[{"id": 1, "name": script}, {"id": 2, "name": "=cmd|' /C calc'!A0"}]))
    assert ("p0.jpg", script) in cells(store, project)
    with pytest.raises(BadFile, match="at most 200 characters"):
        load(coco(categories=[{"id": 1, "name": "x" * 10_240}]))


def test_a_strict_import_is_one_transaction(
    store: Store, project: Project, load: Callable[..., ImportReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails after the categories were made takes them back with it."""

    def fail(*_args: Any, **_more: Any) -> None:
        raise OSError("no more")

    monkeypatch.setattr("annotator.store.bulk.import_cells", fail)
    with pytest.raises(OSError, match="no more"):
        load(coco())
    assert untouched(store, project)
