"""The terminal: every verb on a real data folder, every refusal one sentence."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from annotator.exporting.reader import cell_states
from annotator.records import CellState
from tests.annotator.terminal import Run, commands

Maker = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command in this process; its exit code and everything it said."""
    return commands(tmp_path / "data", monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path, make_picture: Maker) -> Path:
    pictures = tmp_path / "pictures"
    (pictures / "deep").mkdir(parents=True)
    make_picture(pictures / "a.jpg", seed=1)
    make_picture(pictures / "deep" / "b.png", seed=2)
    return pictures


def labels(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_pictures_and_labels_come_in_and_every_cell_comes_out(run: Run, folder: Path, tmp_path: Path) -> None:
    table = labels(tmp_path / "labels.csv", "file_name,cat,dog", "a.jpg,1,", "deep/b.png,0,1")
    code, said = run("import", folder, "--labels", table, "--project", "pets")
    assert code == 0 and "2 pictures added" in said and "3 cells labelled" in said
    code, said = run("export", tmp_path / "out.json", "--project", "pets")
    assert code == 0 and "3 decided cells" in said
    states = cell_states(json.loads((tmp_path / "out.json").read_text()))
    assert sorted(states.values()) == [CellState.NEGATIVE, CellState.POSITIVE, CellState.POSITIVE]
    assert run("export", tmp_path / "out.csv", "--project", "pets")[0] == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["file_name", "cat", "dog"],
            ["a.jpg", "1", ""],
            ["deep/b.png", "0", "1"],
        ]


def test_importing_again_adds_nothing(run: Run, folder: Path) -> None:
    run("import", folder)
    code, said = run("import", folder)
    assert code == 0 and "0 pictures added, 2 already there" in said


def test_a_refused_file_is_named_with_its_reason_and_the_rest_comes_in(run: Run, folder: Path) -> None:
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("not a picture")
    code, said = run("import", folder)
    assert code == 0 and "2 pictures added" in said
    for name in ("empty.jpg", "notes.txt"):
        assert any(line.split()[:2] == ["refused", f"{name}:"] for line in said.splitlines())


@pytest.mark.parametrize("content", [{}, {"a.txt": "words", "b.md": "more"}])
def test_a_folder_without_pictures_is_one_sentence(run: Run, tmp_path: Path, content: dict[str, str]) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name, text in content.items():
        (bare / name).write_text(text)
    refused_in_one_sentence(run("import", bare), "bare")


@pytest.mark.parametrize(
    ("row", "named"),
    [("lost.jpg,1", "lost.jpg"), ("a.jpg,maybe", "maybe"), ("a.jpg,2", "2"), ("a.jpg,1,1", "labels.csv")],
)
def test_a_wrong_label_file_is_one_sentence_and_stores_nothing(
    run: Run, folder: Path, tmp_path: Path, row: str, named: str
) -> None:
    run("import", folder)
    table = labels(tmp_path / "labels.csv", "file_name,cat", "deep/b.png,1", row)
    refused_in_one_sentence(run("import", "--labels", table), named)
    assert "0 decided cells" in run("export", tmp_path / "out.json")[1]


def test_a_bad_row_that_is_left_out_is_told_with_its_line_once(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    run("import", folder)
    table = labels(tmp_path / "labels.csv", "file_name,cat", "gone.png,1", "a.jpg,1")
    code, said = run("import", "--labels", table, "--lenient")
    assert code == 0 and "refused  labels.csv, line 2: no picture of the project is named" in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("export", "out.json", "--project", "birds"), "birds"),
        (("export", "out.xml"), "out.xml"),
        (("import",), "--labels"),
        (("import", "nowhere"), "nowhere"),
        (("train", "--project", "birds"), "birds"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    run: Run, arguments: tuple[str, ...], named: str
) -> None:
    run("migrate")
    refused_in_one_sentence(run(*arguments), named)


def test_a_wrong_setting_is_named_with_its_value(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNOTATOR_RETRAIN_EVERY", "often")
    refused_in_one_sentence(run("migrate"), "retrain_every")
    monkeypatch.delenv("ANNOTATOR_RETRAIN_EVERY")
    monkeypatch.setenv("ANNOTATOR_CATEGORY_VECTORS", "glove.txt")
    refused_in_one_sentence(run("migrate"), "category_vectors")


def test_training_without_an_answer_says_what_to_do(run: Run, folder: Path) -> None:
    run("import", folder)
    code, said = run("train")
    assert code == 0 and "yes" in said


def test_the_schema_is_told(run: Run) -> None:
    code, said = run("migrate")
    assert code == 0 and "schema" in said


def refused_in_one_sentence(outcome: tuple[int, str], named: str) -> None:
    code, said = outcome
    words = [line for line in said.splitlines() if line.strip()]
    assert code == 1 and len(words) == 1, said
    assert words[0].startswith("annotator: ") and named in words[0] and "Traceback" not in said
