"""Every cell that was decided can be read back from an export, by us and by pycocotools."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotator.errors import BadInput, NotFound, StoreError
from annotator.exporting import cell_states, export_coco, export_csv
from annotator.exporting.wide_csv import _value, escape
from annotator.importing import import_labels
from annotator.importing.csv_labels import unescape
from annotator.records import Category, CellState, Image, NewDecision, Project, Source
from annotator.store import Store, categories, decisions, images, projects, users
from annotator.store.names import tidy_name, twin_key
from tests.conftest import NOW, new_image

P, N, U = CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE
counter = itertools.count()


@pytest.fixture
def labelled(
    store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]
) -> tuple[list[Image], list[Category]]:
    """Three pictures by three categories: one cell of each state, the rest unknown; one category archived."""
    pictures = add_images(project, 3)
    made = store.write(lambda c: categories.ensure(c, project.id, ["dog", "cat", "gone"], now=NOW)[0])
    dog, cat, gone = (category.id for category in made)
    given_cells = [
        (pictures[0].id, dog, P),
        (pictures[0].id, cat, N),
        (pictures[1].id, dog, U),
        (pictures[2].id, dog, P),
        (pictures[2].id, gone, P),
    ]

    def work(c: Any) -> None:
        new = [
            NewDecision(
                op_id=f"op{place}",
                image_id=image,
                category_id=category,
                state=state,
                generation_id=12 if place == 1 else None,
                score=0.21 if place == 1 else None,
                source=Source.GROUP if place == 1 else Source.HUMAN,
            )
            for place, (image, category, state) in enumerate(given_cells)
        ]
        decisions.record(c, project.id, new, user_id=user_id, now=NOW)
        categories.archive(c, gone, now=NOW)

    store.write(work)
    return pictures, made


def test_the_coco_export_follows_the_schema(
    tmp_path: Path, store: Store, project: Project, labelled: Any
) -> None:
    (one, _, three), (dog, cat, _) = labelled
    report = export_coco(store, project.id, tmp_path / "out" / "labels.json", now=NOW)
    data = (tmp_path / "out" / "labels.json").read_bytes()
    top = json.loads(data)
    assert (report.images, report.annotations, report.cells) == (3, 2, 4)
    assert report.sha256 == hashlib.sha256(data).hexdigest()
    assert list(top) == ["info", "licenses", "images", "annotations", "categories", "image_labels"]
    info = top["info"]
    assert (info["label_semantics"], info["schema"], info["description"]) == (
        "partial",
        "coco_partial/1",
        "holiday",
    )
    assert info["snapshot"].startswith("sha256:") and len(info["snapshot"]) == 71
    assert (info["date_created"], info["year"]) == ("2026-09-21T14:13:20.000Z", 2026)
    assert top["licenses"] == [{"id": 0, "name": "", "url": ""}]
    assert top["images"][0] == {
        "id": one.id,
        "file_name": "p0.jpg",
        "width": 40,
        "height": 30,
        "license": 0,
        "neg_category_ids": [cat.id],
        "not_exhaustive_category_ids": [dog.id],
        "unsure_category_ids": [],
    }
    assert top["images"][1]["unsure_category_ids"] == [dog.id]
    assert top["images"][1]["neg_category_ids"] == top["images"][1]["not_exhaustive_category_ids"] == []
    assert top["annotations"] == [
        {
            "id": place,
            "image_id": image.id,
            "category_id": dog.id,
            "bbox": [0, 0, 40, 30],
            "area": 1200,
            "iscrowd": 0,
            "segmentation": [],
            "attributes": {"scope": "image", "source": "human"},
        }
        for place, image in ((1, one), (2, three))
    ]
    assert top["categories"][0] == {
        "id": dog.id,
        "name": "dog",
        "supercategory": "",
        "frequency": "r",
        "synset": "",
        "synonyms": ["dog"],
        "image_count": 2,
        "instance_count": 2,
    }
    assert [category["name"] for category in top["categories"]] == ["dog", "cat"]
    assert top["image_labels"][1] == {
        "image_id": one.id,
        "category_id": cat.id,
        "state": "negative",
        "source": "group",
        "annotator": "owner",
        "decided_at": "2026-09-21T14:13:20.000Z",
        "run": "g12",
        "score": 0.21,
    }
    assert [label["state"] for label in top["image_labels"]] == ["positive", "negative", "unsure", "positive"]


def test_the_reference_reader_recovers_every_cell(
    tmp_path: Path, store: Store, project: Project, labelled: Any
) -> None:
    (one, two, three), (dog, cat, _) = labelled
    export_coco(store, project.id, tmp_path / "a.json", now=NOW)
    assert cell_states(json.loads((tmp_path / "a.json").read_text())) == {
        (one.id, dog.id): P,
        (one.id, cat.id): N,
        (two.id, dog.id): U,
        (three.id, dog.id): P,
    }


def test_the_reference_reader_refuses_a_cell_with_two_states() -> None:
    with pytest.raises(ValueError, match="image 1, category 2: two states"):
        cell_states(
            {
                "annotations": [{"image_id": 1, "category_id": 2}],
                "images": [{"id": 1, "neg_category_ids": [2]}],
            }
        )


def test_pycocotools_loads_filters_and_scores_the_export(
    tmp_path: Path, store: Store, project: Project, labelled: Any
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    (one, _, three), (dog, cat, _) = labelled
    export_coco(store, project.id, tmp_path / "a.json", now=NOW)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        truth = coco.COCO(str(tmp_path / "a.json"))
        answers = [
            {"image_id": image.id, "category_id": dog.id, "bbox": [0, 0, 40, 30], "score": 0.9}
            for image in (one, three)
        ]
        scored = cocoeval.COCOeval(truth, truth.loadRes(answers), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert "index created" in said.getvalue()
    assert scored.stats[0] == pytest.approx(1.0)
    assert sorted(truth.getImgIds(catIds=[dog.id])) == [one.id, three.id]
    assert truth.getImgIds(catIds=[cat.id]) == []
    assert len(truth.getAnnIds(areaRng=[0, 1e9], iscrowd=False)) == 2
    assert truth.loadCats(truth.getCatIds(catNms=["cat"]))[0]["id"] == cat.id
    assert truth.loadImgs([one.id])[0]["neg_category_ids"] == [cat.id]


def test_the_same_snapshot_gives_the_same_bytes(
    tmp_path: Path, store: Store, project: Project, labelled: Any
) -> None:
    first = export_coco(store, project.id, tmp_path / "a.json", now=NOW)
    again = export_coco(store, project.id, tmp_path / "b.json", now=NOW + 999_999)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert first.sha256 == again.sha256
    with store.read() as c:
        assert c.exec_driver_sql("SELECT count(*) FROM snapshot").scalar_one() == 1
    (one, *_), (_, cat, _) = labelled
    new = NewDecision(op_id="later", image_id=one.id, category_id=cat.id, state=P)
    store.write(lambda c: decisions.record(c, project.id, [new], user_id=1, now=NOW + 1))
    assert export_coco(store, project.id, tmp_path / "b.json", now=NOW).sha256 != first.sha256


def test_an_empty_project_exports_to_valid_files(tmp_path: Path, store: Store, project: Project) -> None:
    report = export_coco(store, project.id, tmp_path / "a.json", now=NOW)
    top = json.loads((tmp_path / "a.json").read_text())
    assert (report.images, report.cells, top["images"], top["annotations"]) == (0, 0, [], [])
    export_csv(store, project.id, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "file_name\n"


def test_a_failing_export_keeps_the_old_file(
    tmp_path: Path, store: Store, project: Project, labelled: Any
) -> None:
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(NotFound):
        export_coco(store, 99, tmp_path / "a.json", now=NOW)
    with pytest.raises(NotFound):
        export_csv(store, 99, tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == "old"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("x")
    with pytest.raises(StoreError, match="could not be written"):
        export_coco(store, project.id, tmp_path / "folder", now=NOW)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "data") == ["a.json", "folder"]


def test_the_csv_has_a_row_per_picture_and_a_column_per_category(
    tmp_path: Path, store: Store, project: Project, labelled: Any
) -> None:
    report = export_csv(store, project.id, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "file_name,dog,cat\np0.jpg,1,0\np1.jpg,?,\np2.jpg,1,\n"
    assert (report.images, report.annotations, report.cells) == (3, 2, 4)
    assert report.sha256 == hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "+x",
        "-x",
        "@x",
        "\tx",
        "'=x",
        "''@x",
        "file_name",
        "'file_name",
        "\n=x",
        "＝1",
        "＋",
        "－1",
        "＠x",
    ],
)
def test_texts_that_would_be_formulas_are_protected_and_come_back(name: str) -> None:
    assert escape(name) == f"'{name}"
    assert unescape(escape(name)) == name


@given(st.text(alphabet="'=+-@\t\r\n＝＋－＠ab", max_size=6))
def test_protection_is_always_undone(text: str) -> None:
    assert unescape(escape(text)) == text
    assert not escape(text).startswith(tuple("=+-@\t\r\n＝＋－＠"))


def usable(name: str) -> bool:
    """Whether a category may be called so."""
    try:
        return tidy_name(name, "category") == unicodedata.normalize("NFC", name)
    except BadInput:
        return False


@pytest.mark.parametrize("name", ["a;=1+1", "a\t=1+1", 'say "hi"', " a", "a\r=1"])
def test_no_separator_of_another_spreadsheet_begins_a_cell(name: str) -> None:
    """A-34: where semicolons separate, `a;=1+1` would be two cells, the second a formula."""
    assert _value(name) == '"' + name.replace('"', '""') + '"'
    assert next(csv.reader([_value(name)], strict=True)) == [name]


NAMES = (
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
    .map(lambda name: unicodedata.normalize("NFC", name).strip())  # as every name is when it comes in
    .filter(usable)
)
SPECIAL = st.sampled_from(
    ["=SUM(A1)", "+1", "-", "@me", "file_name", "'=x", "a,b;c", 'say "hi"', "犬", "0", "?"]
)
PROJECTS = st.tuples(
    st.lists(st.one_of(NAMES, SPECIAL), min_size=1, max_size=4),
    st.lists(st.one_of(NAMES, SPECIAL), min_size=1, max_size=4),
    st.lists(st.sampled_from([P, N, U, None]), min_size=16, max_size=16),
)


@pytest.mark.parametrize("kind", ["coco", "csv"])
@given(content=PROJECTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_export_and_import_into_an_empty_project_give_equal_cells(
    store: Store, tmp_path: Path, kind: str, content: Any
) -> None:
    run = next(counter)
    file_names, category_names, states = content

    def prepare(c: Any) -> tuple[int, int]:
        users.owner(c, now=1)
        first, second = (projects.create(c, name, now=1).id for name in (f"first {run}", f"second {run}"))
        unique = list({twin_key(name): name for name in category_names}.values())
        made = categories.ensure(c, first, unique, now=1)[0]
        new = []
        for row, name in enumerate(dict.fromkeys(file_names)):
            picture = new_image(name, f"{row:064}")
            image = images.add(c, first, picture, now=1)[0]
            images.add(c, second, picture, now=1)
            for column, category in enumerate(made):
                state = states[(row * 4 + column) % 16]
                if state is not None:
                    op = f"{run}-{row}-{column}"
                    new.append(NewDecision(op_id=op, image_id=image.id, category_id=category.id, state=state))
        decisions.record(c, first, new, user_id=1, now=1)
        return first, second

    def cells(c: Any, project_id: int) -> dict[tuple[str, str], CellState]:
        names = {key: name for name, key in images.name_map(c, project_id).items()}
        found = decisions.labelled_pairs(c, project_id)
        return {(names[x.image_id], categories.get(c, x.category_id).name): x.state for x in found}

    first, second = store.write(prepare)
    if kind == "coco":
        export_coco(store, first, tmp_path / "out", now=5)
    else:
        export_csv(store, first, tmp_path / "out")
    import_labels(store, second, tmp_path / "out", user_id=1)
    with store.read() as c:
        assert cells(c, second) == cells(c, first)
        shown = [[x.name for x in categories.list_active(c, p)] for p in (first, second)]
    assert shown[0] == shown[1]
