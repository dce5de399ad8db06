"""R-51: what a label file was read as and what it would do, before anything is stored."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from annotator import cli
from annotator.actions import Actions
from annotator.api.app import create_app
from annotator.errors import BadFile, BadInput, NotFound
from annotator.importing import import_labels, preview_labels
from annotator.previews import LabelPreview
from annotator.records import CellState, Image, NewDecision, Project
from annotator.settings import Settings
from annotator.store import Store, bulk, categories, images
from annotator.ui import label_preview
from annotator.ui.door import Here
from annotator.ui.import_tab import preview_labels as on_page
from db.schema import Base
from tests.faults.claims import Claims

P, N, U, X = CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE, CellState.UNKNOWN
TABLE = 'dog;file_name;"wild; cat"\n1;p0.jpg;?\n0;p1.jpg;\n;p2.jpg;\n1;who.jpg;1\nmaybe;p3.jpg;1\n1;p3.jpg\n'
BAD = [
    'line 5: no picture of the project is named "who.jpg"',
    'line 6, column "dog": the value "maybe" is not 1, 0, ? or empty',
    "line 7 has 2 values, the header has 3",
]


@pytest.fixture
def write(tmp_path: Path, project: Project, add_images: Callable[..., list[Image]]) -> Callable[..., Path]:
    """Writes a label file for the pictures p0.jpg ... p9.jpg."""
    add_images(project, 10)

    def writer(content: str | bytes | dict[str, Any], name: str = "labels.csv") -> Path:
        data = content if isinstance(content, str | bytes) else json.dumps(content)
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return writer


def rows(store: Store) -> list[object]:
    """Every row of every table."""
    with store.read() as c:
        return [tuple(map(tuple, c.execute(select(table)))) for table in Base.metadata.sorted_tables]


def named(found: LabelPreview) -> dict[str, str]:
    return {column.name: column.meaning for column in found.columns}


def test_it_tells_how_the_file_was_read(store: Store, project: Project, write: Callable[..., Path]) -> None:
    store.write(lambda c: categories.add(c, project.id, "Dog", now=1))
    found = preview_labels(store, project.id, write("\ufeff" + TABLE))
    dialect = found.dialect
    assert (dialect.form, dialect.separator, dialect.quoted) == ("CSV", "semicolons", True)
    assert dialect.encoding == "UTF-8 with a byte order mark"
    assert named(found) == {"dog": "category", "file_name": "picture", "wild; cat": "new category"}
    assert list(named(found)) == ["dog", "file_name", "wild; cat"], "in the order of the file"
    assert [(row.where, row.image, row.cells, row.unknown) for row in found.first] == [
        ("line 2", "p0.jpg", (("dog", P), ("wild; cat", U)), 0),
        ("line 3", "p1.jpg", (("dog", N),), 1),
        ("line 4", "p2.jpg", (), 2),
    ]
    assert (found.known_rows, found.unknown_rows, found.bad_rows) == (2, 1, 3)
    assert [row.reason for row in found.bad] == BAD
    assert found.cells == {P: 1, N: 1, U: 1, X: 3}, "unknown stays unknown, never negative"
    assert (found.new, found.categories_new) == (3, 1)


@pytest.mark.parametrize(
    ("content", "separator"),
    [("file_name,a\np0.jpg,1\n", "commas"), ("file_name\ta\np0.jpg\t1\n", "tabs")],
)
def test_a_plain_dialect(
    store: Store, project: Project, write: Callable[..., Path], content: str, separator: str
) -> None:
    dialect = preview_labels(store, project.id, write(content)).dialect
    assert (dialect.separator, dialect.quoted, dialect.encoding) == (separator, False, "UTF-8")


@pytest.mark.parametrize("lenient", [True, False])
def test_an_import_then_does_what_was_said(
    store: Store,
    project: Project,
    user_id: int,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    lenient: bool,
) -> None:
    monkeypatch.setattr("annotator.importing.preview.CHUNK", 2)
    good = TABLE if lenient else "".join(TABLE.splitlines(keepends=True)[:4])
    actions = Actions(store, Settings(data_dir=store.data_dir))
    dog = actions.add_category(project.id, "dog").id
    with store.read() as c:
        ids = images.name_map(c, project.id)
    given = [("p0.jpg", P), ("p1.jpg", P)]
    actions.decide(
        project.id,
        [
            NewDecision(op_id=f"own-{name}", image_id=ids[name], category_id=dog, state=state)
            for name, state in given
        ],
    )
    path = write(good)
    said = preview_labels(store, project.id, path)
    assert (said.new, said.same, said.kept, said.cleared) == (1, 1, 1, 0)
    report = import_labels(store, project.id, path, user_id=user_id, lenient=lenient)
    assert (report.cells, report.cells_known, report.categories_added) == (
        said.new,
        said.same + said.kept,
        said.categories_new,
    )
    assert report.refused == said.bad
    again = preview_labels(store, project.id, path)
    assert (again.new, again.same, again.kept, again.categories_new) == (0, 2, 1, 0)
    (cat,) = [view.category.id for view in actions.categories(project.id) if view.category.id != dog]
    cleared = NewDecision(op_id="clear", image_id=ids["p0.jpg"], category_id=cat, state=X)
    actions.decide(project.id, [cleared])
    last = preview_labels(store, project.id, path)
    assert (last.new, last.cleared) == (0, 1)


def test_nothing_is_stored_anywhere(
    store: Store,
    settings: Settings,
    project: Project,
    user_id: int,
    write: Callable[..., Path],
    claim: Claims,
) -> None:
    made = claim("R-51", "A preview of a label file leaves every row of the database as it was.", unit="ways")
    before, path = rows(store), write(TABLE)
    preview_labels(store, project.id, path)
    ask(store, settings, project, path)
    on_page(lambda: Here(Actions(store, settings), user_id, project.id), str(path))
    assert rows(store) == before
    made.done(3)


def ask(store: Store, settings: Settings, project: Project, path: Path) -> dict[str, Any]:
    with TestClient(create_app(store, settings), base_url="http://127.0.0.1:7860") as client:
        answer = client.post(
            f"/api/projects/{project.id}/labels?preview=true",
            files={"file": (path.name, path.read_bytes())},
        )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_plain_route(
    store: Store, settings: Settings, project: Project, write: Callable[..., Path]
) -> None:
    found = ask(store, settings, project, write(TABLE))
    assert (found["form"], found["encoding"], found["separator"], found["quoted"]) == (
        "CSV",
        "UTF-8",
        "semicolons",
        True,
    )
    assert found["rows"] == {"known": 2, "unknown": 1, "bad": 3}
    assert found["cells"] == {"positive": 1, "negative": 1, "unsure": 1, "unknown": 3}
    assert found["would"] == {"store": 3, "same": 0, "kept": 0, "stay_cleared": 0}
    assert found["first"][1] == {
        "where": "line 3",
        "image": "p1.jpg",
        "cells": [{"category": "dog", "state": "negative"}],
        "decided": 1,
        "unknown": 1,
    }
    assert [row["reason"] for row in found["bad"]] == BAD
    assert (found["columns_in_all"], found["categories_new"]) == (3, 2)


def test_the_terminal(
    store: Store,
    settings: Settings,
    project: Project,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(TABLE)
    before = rows(store)
    monkeypatch.setattr("annotator.cli.out.width", 200, raising=False)
    command = ["annotator", "import", "--labels", str(path), "--preview", "--project", project.name]
    monkeypatch.setattr(sys, "argv", [*command, "--data-dir", str(settings.data_dir)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = " ".join(capsys.readouterr().out.split())
    assert not ended.value.code and rows(store) == before
    for words in ("nothing is stored", "separated by semicolons", "3 stay unknown", "3 bad", *BAD):
        assert words in said, words


def test_a_preview_of_pictures_is_no_thing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["annotator", "import", str(tmp_path), "--preview"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1 and "give it with --labels alone" in capsys.readouterr().err
    assert not settings.data_dir.exists()


def test_the_page_escapes_what_the_file_says(
    store: Store, settings: Settings, project: Project, write: Callable[..., Path]
) -> None:
    content = "file_name,<b>dog</b>\np0.jpg,1\n<script>.jpg,1\n"
    html = on_page(lambda: Here(Actions(store, settings), 1, project.id), str(write(content)))
    assert "<script>" not in html and "<b>dog</b>" not in html
    assert "&lt;b&gt;dog&lt;/b&gt;" in html and "&lt;script&gt;.jpg" in html
    assert "nothing is stored yet" in html


def test_very_many_columns_are_cut_short_on_the_page(
    store: Store, project: Project, write: Callable[..., Path]
) -> None:
    names = [f"c{number}" for number in range(500)]
    content = f"file_name,{','.join(names)}\np0.jpg,{','.join('1' * 500)}\n"
    found = preview_labels(store, project.id, write(content))
    html = label_preview.shown(found)
    assert "and 470 more" in html and "and 492 more" in html and len(html) < 4_000
    assert found.cells[P] == 500 and named(found)["c499"] == "new category"


def test_only_the_first_rows_and_bad_rows_are_shown(
    store: Store, project: Project, write: Callable[..., Path]
) -> None:
    good = "".join(f"p{number}.jpg,{number % 2}\n" for number in range(10))
    bad = "".join(f"no{number}.jpg,1\n" for number in range(1_200))
    found = preview_labels(store, project.id, write(f"file_name,a\n{good}{bad}"))
    assert [row.where for row in found.first] == [f"line {number}" for number in range(2, 10)]
    assert (found.known_rows, found.bad_rows, len(found.bad)) == (10, 1_200, 1_000)
    assert "and 1,190 more" in label_preview.shown(found)


COCO = {
    "images": [
        {"id": 7, "file_name": "p1.jpg"},
        {"id": 3, "file_name": "p0.jpg"},
        {"id": 9, "file_name": "x"},
    ],
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 2}],
}


def test_a_plain_coco_file(store: Store, project: Project, write: Callable[..., Path]) -> None:
    found = preview_labels(store, project.id, write(COCO, "labels.json"))
    assert (found.dialect.form, found.dialect.separator) == ("COCO", "")
    assert named(found) == {"dog": "new category", "cat": "new category"}
    assert found.cells == {P: 1, N: 0, U: 0, X: 3}, "no annotation is unknown, not negative"
    assert [(row.where, row.image, row.cells, row.unknown) for row in found.first] == [
        ("images[0]", "p1.jpg", (("cat", P),), 1),
        ("images[1]", "p0.jpg", (), 2),
    ]
    assert (found.known_rows, found.unknown_rows, found.bad_rows, found.new) == (1, 1, 1, 1)
    assert "No annotation was read as unknown." in found.notes


def test_our_own_coco_file(
    store: Store, project: Project, write: Callable[..., Path], tmp_path: Path, settings: Settings
) -> None:
    actions = Actions(store, settings)
    actions.import_labels(project.id, write("file_name,a,b\np0.jpg,1,0\np1.jpg,?,\n"))
    actions.export_coco(project.id, tmp_path / "out.json")
    found = preview_labels(store, project.id, tmp_path / "out.json")
    assert found.dialect.form == "coco_partial/1"
    assert (found.cells[P], found.cells[N], found.cells[U]) == (1, 1, 1)
    assert (found.new, found.same, found.bad_rows) == (0, 3, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name,a\np0.jpg,1\n".encode("utf-16"), "UTF-16"),
        ("file_name,Käfer\np0.jpg,1\n".encode("latin-1"), "it may be Latin-1"),
        (b"name;a\np0.jpg;1\n", 'no column "file_name"'),
        (b"", "empty"),
    ],
)
def test_what_cannot_be_read_as_a_whole_is_the_same_sentence_as_at_the_import(
    store: Store, project: Project, user_id: int, write: Callable[..., Path], content: bytes, words: str
) -> None:
    path = write(content)
    with pytest.raises(BadFile, match=words) as said:
        preview_labels(store, project.id, path)
    with pytest.raises(BadFile) as at_import:
        import_labels(store, project.id, path, user_id=user_id)
    assert str(said.value) == str(at_import.value)


def test_no_file_and_no_project(store: Store, project: Project, write: Callable[..., Path]) -> None:
    path = write("file_name,a\n")
    with pytest.raises(BadInput, match="There is no file"):
        preview_labels(store, project.id, path.with_name("none.csv"))
    with pytest.raises(NotFound):
        preview_labels(store, 999_999, path)


def test_a_comparison_leaves_nothing_behind_on_its_connection(store: Store, project: Project) -> None:
    with store.read() as c:
        for _ in range(2):
            assert bulk.compare_cells(c, []) == bulk.ImportedCells()
