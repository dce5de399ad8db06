"""Label files: what is wrong is one sentence and nothing is written; what is right is written once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotator.errors import BadFile, BadInput
from annotator.importing import import_labels
from annotator.records import CellState, Image, ImportReport, NewDecision, Project, Source
from annotator.store import Store, categories, decisions

P, N, U = CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE


@pytest.fixture
def load(
    tmp_path: Path,
    store: Store,
    project: Project,
    user_id: int,
    add_images: Callable[..., list[Image]],
) -> Callable[..., ImportReport]:
    """Imports a label file into a project with the pictures p0.jpg ... p3.jpg and sub/q0.jpg."""
    add_images(project, 4)
    add_images(project, 1, "sub/q")

    def loader(content: str | bytes | dict[str, Any], **more: Any) -> ImportReport:
        data = content if isinstance(content, str | bytes) else json.dumps(content)
        path = tmp_path / "l.txt"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return import_labels(store, project.id, path, user_id=user_id, **more)

    return loader


def cells(store: Store, project: Project) -> dict[tuple[str, str], CellState]:
    from annotator.store import images

    with store.read() as c:
        names = {key: name for name, key in images.name_map(c, project.id).items()}
        return {
            (names[label.image_id], categories.get(c, label.category_id).name): label.state
            for label in decisions.labelled_pairs(c, project.id)
        }


def untouched(store: Store, project: Project) -> bool:
    with store.read() as c:
        return not categories.list_active(c, project.id) and not decisions.head_seq(c, project.id)


def test_a_wide_csv_gives_its_cells_and_leaves_the_rest_unknown(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    report = load("file_name,dog,cat\np0.jpg,1,0\np1.jpg,,?\nsub/q0.jpg, 0 ,\n")
    assert report == ImportReport(cells=4, categories_added=2)
    assert cells(store, project) == {
        ("p0.jpg", "dog"): P,
        ("p0.jpg", "cat"): N,
        ("p1.jpg", "cat"): U,
        ("sub/q0.jpg", "dog"): N,
    }
    with store.read() as c:
        labels = list(decisions.labelled_pairs(c, project.id))
    assert {label.source for label in labels} == {Source.IMPORTED}


@pytest.mark.parametrize(
    "text",
    [
        "\ufefffile_name;dog;cat\r\np0.jpg;1;0\r\n",
        "file_name\tdog\tcat\np0.jpg\t1\t0\n",
        '\n"file_name","dog","cat"\n\n"p0.jpg","1","0"\n\n',
        "dog,file_name,cat\n1,p0.jpg,0",
        "file_name,dog,cat\n./p0.jpg,1,0\n",
        'file_name;dog;"cat"\n"p0.jpg";1;0\n',
    ],
)
def test_usual_dialects_are_read(
    store: Store, project: Project, load: Callable[..., ImportReport], text: str
) -> None:
    load(text)
    assert cells(store, project) == {("p0.jpg", "dog"): P, ("p0.jpg", "cat"): N}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "l.txt: the file is empty"),
        (" \n\n", "l.txt: the file is empty"),
        (b"\xff\xfef\0i\0l\0e\0", "l.txt: it is written in UTF-16, save it as UTF-8"),
        (b"file_name,caf\xe9\n", "l.txt: it is not UTF-8 text (byte 14)"),
        (b"PK\x03\x04....", "l.txt: it is a ZIP archive or a spreadsheet, not CSV or JSON"),
        ("name,dog\np0.jpg,1\n", 'the header has no column "file_name" (its first column is "name")'),
        ("file_name\np0.jpg\n", 'there is no category column beside "file_name"'),
        ("file_name,file_name,dog\n", 'the column "file_name" is there twice (columns 1 and 2)'),
        ("file_name,dog,Dog\n", 'column 3: the category "Dog" was already named in column 2'),
        ("file_name,dog,\n", "column 3: The name of a category must not be empty."),
        (f"file_name,{'x' * 201}\n", "column 2: The name of a category has at most 200 characters"),
        (
            'file_name,"a\nb"\n',
            "column 2: The name of a category must not contain the invisible character U+000A.",
        ),
        ("file_name,dog\np0.jpg,1\nwho.jpg,1\n", 'line 3: no picture of the project is named "who.jpg"'),
        ("file_name,dog\np0.jpg,1\np0.jpg,1\n", 'line 3: "p0.jpg" was already given in line 2'),
        ("file_name,dog\np0.jpg,1\n./p0.jpg,0\n", 'line 3: "./p0.jpg" was already given in line 2'),
        ("file_name,dog\np0.jpg,maybe\n", 'line 2, column "dog": the value "maybe" is not 1, 0, ? or empty'),
        ("file_name,dog\np0.jpg,2\n", 'line 2, column "dog": the value "2" is not'),
        ("file_name,dog\np0.jpg,-1\n", 'the value "-1" is not'),
        ("file_name,dog\np0.jpg,nan\n", 'the value "nan" is not'),
        ("file_name,dog\np0.jpg," + "9" * 400 + "\n", "99... is not 1, 0, ? or empty"),
        ("file_name,dog,cat\np0.jpg,1\n", "line 2 has 2 values, the header has 3"),
        ("file_name,dog\np0.jpg,1,0\n", "line 2 has 3 values, the header has 2"),
        ('file_name,dog\n"p0.jpg,1\n', "is not CSV"),
        ("file_name,dog\n" + "x" * 200_000 + ",1\n", "line 2 is not CSV (field larger"),
    ],
)
def test_a_bad_csv_is_one_sentence_and_writes_nothing(
    store: Store,
    project: Project,
    load: Callable[..., ImportReport],
    content: str | bytes,
    sentence: str,
) -> None:
    with pytest.raises(BadFile) as caught:
        load(content)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert untouched(store, project)


def coco(**changes: Any) -> dict[str, Any]:
    top: dict[str, Any] = {
        "info": {"schema": "coco_partial/1", "label_semantics": "partial"},
        "images": [
            {"id": 10, "file_name": "p0.jpg", "neg_category_ids": [2], "unsure_category_ids": []},
            {"id": 11, "file_name": "sub\\q0.jpg", "neg_category_ids": [], "unsure_category_ids": [1]},
        ],
        "annotations": [{"id": 1, "image_id": 10, "category_id": 1}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    return {**top, **changes}


def test_a_partial_coco_file_gives_its_cells(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    report = load(coco(), absent="negative")
    assert (report.cells, report.categories_added, report.notes) == (3, 2, ())
    assert cells(store, project) == {
        ("p0.jpg", "dog"): P,
        ("p0.jpg", "cat"): N,
        ("sub/q0.jpg", "dog"): U,
    }


def test_plain_coco_leaves_what_is_absent_unknown_unless_told_otherwise(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    plain = {
        "images": [{"id": 0, "file_name": "p0.jpg"}, {"id": 1, "file_name": "p1.jpg"}],
        "annotations": [
            {"image_id": 0, "category_id": 0, "bbox": [1, 2, 3, 4]},
            {"image_id": 0, "category_id": 0, "bbox": [5, 5, 1, 1]},
        ],
        "categories": [{"id": 0, "name": "dog"}, {"id": 7, "name": "cat"}],
    }
    report = load(plain)
    assert (report.cells, report.notes) == (1, ("No annotation was read as unknown.",))
    assert cells(store, project) == {("p0.jpg", "dog"): P}
    report = load(plain, absent="negative")
    assert (report.cells, report.cells_known) == (3, 1)
    assert cells(store, project) == {
        ("p0.jpg", "dog"): P,
        ("p0.jpg", "cat"): N,
        ("p1.jpg", "dog"): N,
        ("p1.jpg", "cat"): N,
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """The partial file with one value replaced; `path` is like images.0.id, and None removes."""
    top = json.loads(json.dumps(coco()))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    holder = top
    for part in parents:
        holder = holder[part]
    if value is None:
        del holder[last]
    elif last == "+":
        holder.append(value)
    else:
        holder[last] = value
    return top


LABELS = [
    {"image_id": 10, "category_id": 1, "state": "positive"},
    {"image_id": 10, "category_id": 2, "state": "negative"},
    {"image_id": 11, "category_id": 1, "state": "unsure"},
]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "it is not valid JSON"),
        ("[]", "the top level must be an object"),
        ('{"x": [1,]}', "it is not valid JSON (Illegal trailing comma at character 10)"),
        ('{"images": [NaN]}', "NaN is not a number of JSON"),
        ('{"images": [-Infinity]}', "-Infinity is not a number of JSON"),
        ('{"images": [1e999]}', "images[0] is Infinity, not an object"),
        ('{"images": ' + "9" * 5000 + "}", "one of its numbers has thousands of digits"),
        ('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}", "it is nested too deeply"),
        ({}, 'has no "categories"'),
        (changed("images", None), 'has no "images"'),
        (changed("images", {}), "images is {}, not a list"),
        (changed("annotations", 3), "annotations is 3, not a list"),
        (changed("images.0", "p0.jpg"), 'images[0] is "p0.jpg", not an object'),
        (changed("info", []), "info is a list, not an object"),
        (changed("info", 3), "info is 3, not an object"),
        (changed("info.schema", "coco_partial/2"), 'its schema is "coco_partial/2", this program reads'),
        (changed("images.0.id", None), 'images[0] has no "id"'),
        (changed("images.0.id", "10"), 'images[0].id is "10", not a whole number'),
        (changed("images.0.id", 10.0), "images[0].id is 10.0, not a whole number"),
        (changed("images.0.id", True), "images[0].id is true, not a whole number"),
        (changed("images.0.id", -1), "images[0].id is -1, not a whole number"),
        (changed("images.0.id", 2**53), "images[0].id is 9007199254740992, not a whole number"),
        (changed("images.0.id", 10**400), "000..., not a whole"),
        (changed("images.0.id", 11), "images[1].id is 11, which another image already has"),
        (changed("images.0.file_name", None), 'images[0] has no "file_name"'),
        (changed("images.0.file_name", 7), "images[0].file_name is 7, not a text"),
        (
            changed("images.1.file_name", "p0.jpg"),
            'images[1].file_name "p0.jpg" was already given in images[0]',
        ),
        (
            changed("images.0.file_name", "x.jpg"),
            'images[0].file_name "x.jpg" is not a picture of the project',
        ),
        (changed("categories.0.id", 2), "categories[1].id is 2, which another category already has"),
        (changed("categories.0.name", ""), "categories[0]: The name of a category must not be empty."),
        (changed("categories.0.name", "CAT"), 'categories[1]: the category "cat" was already named'),
        (changed("categories.0.name", "x" * 10_000), "at most 200 characters"),
        (
            changed("annotations.0.image_id", 99),
            "annotations[0].image_id is 99, which no image of the file has",
        ),
        (changed("annotations.0.category_id", 9), "annotations[0].category_id is 9, which no category"),
        (changed("annotations.0.category_id", None), 'annotations[0] has no "category_id"'),
        (
            changed("annotations.+", {"id": 1, "image_id": 11, "category_id": 2}),
            "annotations[1].id is 1, which another annotation already has",
        ),
        (changed("images.0.neg_category_ids", [9]), "images[0].neg_category_ids has 9, which no category"),
        (changed("images.0.neg_category_ids", ["2"]), 'images[0].neg_category_ids[0] is "2", not a whole'),
        (changed("images.0.neg_category_ids", 2), "images[0].neg_category_ids is 2, not a list"),
        (changed("images.0.neg_category_ids", [1]), "image 10, category 1 is both positive and negative"),
        (changed("images.0.unsure_category_ids", [2]), "image 10, category 2 is both negative and unsure"),
        (
            changed("image_labels", LABELS[:2]),
            "image 11, category 1 is unknown in image_labels and unsure elsewhere",
        ),
        (
            changed("image_labels", [*LABELS, {"image_id": 11, "category_id": 2, "state": "negative"}]),
            "image 11, category 2 is negative in image_labels and unknown elsewhere",
        ),
        (
            changed("image_labels", [{**LABELS[0], "state": "negative"}, *LABELS[1:]]),
            "image 10, category 1 is negative in image_labels and positive elsewhere",
        ),
        (changed("image_labels", [{**LABELS[0], "state": 1}]), "image_labels[0].state is 1, not a text"),
        (
            changed("image_labels", [{**LABELS[0], "state": "yes"}]),
            'image_labels[0].state is "yes", not positive',
        ),
        (
            changed("image_labels", [LABELS[0], {**LABELS[0], "state": "unsure"}]),
            "image 10, category 1 is both positive and unsure",
        ),
    ],
)
def test_a_bad_coco_file_is_one_sentence_and_writes_nothing(
    store: Store, project: Project, load: Callable[..., ImportReport], content: Any, sentence: str
) -> None:
    with pytest.raises(BadFile) as caught:
        load(content)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("l.txt: ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert untouched(store, project)


def test_image_labels_that_agree_are_accepted(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    assert load(changed("image_labels", LABELS)).cells == 3


def test_importing_again_doubles_nothing(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    text = "file_name,dog\np0.jpg,1\np1.jpg,0\n"
    load(text)
    again = load(text)
    assert again == ImportReport(cells_known=2)
    with store.read() as c:
        assert decisions.count_since(c, project.id, 0) == 2


def test_what_a_person_decided_is_never_overwritten(
    store: Store, project: Project, user_id: int, load: Callable[..., ImportReport]
) -> None:
    from annotator.store import images

    text = "file_name,dog\np0.jpg,1\np1.jpg,1\np2.jpg,1\n"
    load(text)

    def decide(c: Any) -> None:
        dog = categories.list_active(c, project.id)[0]
        names = images.name_map(c, project.id)
        new = [
            NewDecision(op_id="a", image_id=names["p0.jpg"], category_id=dog.id, state=N),
            NewDecision(op_id="b", image_id=names["p1.jpg"], category_id=dog.id, state=CellState.UNKNOWN),
        ]
        decisions.record(c, project.id, new, user_id=user_id, now=1)

    store.write(decide)
    report = load(text)
    assert (report.cells, report.cells_known) == (0, 2)
    assert report.notes == (
        "1 cell was already decided otherwise and was kept as it is.",
        "1 cell was cleared since this file was imported and stays cleared.",
    )
    assert cells(store, project) == {("p0.jpg", "dog"): N, ("p2.jpg", "dog"): P}


def test_an_import_that_stopped_half_way_is_finished_by_running_it_again(
    store: Store,
    project: Project,
    load: Callable[..., ImportReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("annotator.importing.labels.CHUNK", 2)
    monkeypatch.setattr("annotator.importing.labels.ONE_TRANSACTION", 5)
    text = "file_name,dog,cat\np0.jpg,1,1\np1.jpg,1,0\np2.jpg,0,0\n"

    class Stop(Exception):
        pass

    seen: list[tuple[int, int | None]] = []

    def stop(done: int, total: int | None, name: str) -> None:
        seen.append((done, total))
        if len(seen) == 2:
            raise Stop

    with pytest.raises(Stop):
        load(text, on_progress=stop)
    assert seen == [(2, 6), (4, 6)]
    report = load(text)
    assert (report.cells, report.cells_known) == (2, 4)
    assert len(cells(store, project)) == 6


def test_categories_already_there_are_used_whatever_the_case(
    store: Store, project: Project, load: Callable[..., ImportReport]
) -> None:
    store.write(lambda c: categories.add(c, project.id, "Dog", now=1))
    assert load("file_name,dog,cat\np0.jpg,1,1\n").categories_added == 1
    assert cells(store, project) == {("p0.jpg", "Dog"): P, ("p0.jpg", "cat"): P}


def test_a_file_that_is_not_there_is_said(
    tmp_path: Path, store: Store, project: Project, user_id: int
) -> None:
    with pytest.raises(BadInput, match="There is no file"):
        import_labels(store, project.id, tmp_path / "no.csv", user_id=user_id)
    with pytest.raises(BadFile, match="it cannot be read"):
        import_labels(store, project.id, tmp_path, user_id=user_id)
