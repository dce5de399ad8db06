"""backup, verify, restore, scan, doctor and migrate in the terminal: exit codes, words, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from annotator import cli
from db.engine import sqlite_module
from db.migrate import head, revision
from tests.annotator.keeping.world import World, content, files
from tests.db.released import make

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(
    settings: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Call the command in this process; its exit code and everything it said."""
    monkeypatch.setenv("ANNOTATOR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "400")

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["annotator", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return int(ended.value.code or 0), (said.out + said.err).strip()

    return call


def test_a_backup_is_made_checked_and_brought_back(world: World, run: Run, tmp_path: Path) -> None:
    before = content(world.data_dir)
    code, said = run("backup", tmp_path / "b.tar")
    assert (
        code == 0
        and "2 projects ('birds', 'other'), 6 pictures, 9 answers" in said
        and f"schema {head()}" in said
    )
    code, said = run("verify", tmp_path / "b.tar")
    assert code == 0 and "is whole and sound" in said
    code, said = run("restore", tmp_path / "b.tar")
    assert code == 1 and said.startswith("annotator: ") and "--replace" in said
    world.answer("later", world.ids[4], world.categories[0])
    world.store.close()
    code, said = run("restore", tmp_path / "b.tar", "--replace")
    assert code == 0 and "What was there is kept in" in said
    assert content(world.data_dir) == before
    code, said = run("restore", tmp_path / "b.tar", "--data-dir", tmp_path / "other")
    assert code == 0 and content(tmp_path / "other") == before


def test_a_backup_that_lacks_files_says_which_and_has_an_exit_code_of_its_own(
    world: World, run: Run, tmp_path: Path
) -> None:
    gone = next(name for name in files(world.data_dir) if name.startswith("thumbnails/"))
    (world.data_dir / gone).unlink()
    code, said = run("backup", tmp_path / "b")
    assert code == 2 and f"missing  {gone}" in said and "1 files" in said
    code, said = run("backup", tmp_path / "lean", "--without-pictures")
    assert code == 0 and "(not in it)" in said
    code, said = run("restore", tmp_path / "lean", "--data-dir", tmp_path / "other")
    assert code == 0 and "copy originals" in said


def test_a_damaged_backup_is_one_sentence(world: World, run: Run, tmp_path: Path) -> None:
    run("backup", tmp_path / "b.tar")
    data = bytearray((tmp_path / "b.tar").read_bytes())
    data[5000] ^= 4
    (tmp_path / "b.tar").write_bytes(bytes(data))
    for verb in (("verify",), ("restore", "--data-dir", tmp_path / "other")):
        code, said = run(verb[0], tmp_path / "b.tar", *verb[1:])
        assert code == 1 and said.startswith("annotator: b.tar: ") and len(said.splitlines()) == 1
    assert not (tmp_path / "other").exists()


def test_the_doctor_says_what_is_wrong_and_mends_it(world: World, run: Run) -> None:
    code, said = run("doctor")
    assert code == 0 and said.rstrip().endswith("No problems left.")
    name = next(name for name in files(world.data_dir) if name.startswith("thumbnails/"))
    (world.data_dir / name).unlink()
    world.store.close()
    code, said = run("doctor")
    assert code == 1 and "thumbnails are missing" in said and "1 problem left." in said
    code, said = run("doctor", "--repair")
    assert code == 0 and "repaired" in said and (world.data_dir / name).is_file()
    assert run("doctor", "--deep")[0] == 0


def test_a_scan_marks_and_asks(world: World, run: Run) -> None:
    code, said = run("scan")
    assert code == 0 and "6 pictures looked at; all are marked as they are." in said
    (world.data_dir / "originals").rename(world.data_dir / "away")
    code, said = run("scan", "--deep")
    assert code == 1 and "--accept-missing" in said
    code, said = run("scan", "--accept-missing")
    assert code == 0 and "5 marked missing" in said
    (world.data_dir / "away").rename(world.data_dir / "originals")
    assert "5 marked ready" in run("scan")[1]


def test_migrate_tells_where_the_copy_from_before_is(run: Run, tmp_path: Path) -> None:
    make("0001", tmp_path / "data" / "annotator.db")
    code, said = run("migrate")
    copies = list((tmp_path / "data" / "backups").iterdir())
    assert code == 0 and f"schema {head()}" in said and len(copies) == 1 and str(copies[0]) in said
    assert "copy" not in run("migrate")[1]


@pytest.mark.parametrize(
    "verb", [("migrate",), ("train", "--project", "x"), ("run", "--port", "0"), ("worker",)]
)
def test_a_newer_database_ends_every_verb_with_exit_code_3_and_is_not_touched(
    run: Run, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    path = make("0001", tmp_path / "data" / "annotator.db")
    with closing(sqlite_module().connect(str(path))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("PRAGMA user_version = 9000000")
        connection.commit()
    before = path.read_bytes()
    code, said = run(*verb)
    assert code == 3 and "it needs annotator >= 9.0.0." in said and len(said.splitlines()) == 1
    assert path.read_bytes() == before and revision(path) == "9999"
