"""Every released schema becomes this one with all its answers; a copy first; refusals change nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from annotator.settings import Settings
from annotator.store import Store, checks
from db import copying, migrate
from db.contents import Contents, contents
from db.copying import reading
from db.engine import make_engine, sqlite_module
from db.migrate import BACKUPS, KEPT, SINCE, SchemaError, SchemaTooNew, head, revision, upgrade
from db.schema import Base
from tests.db.released import dumps, make, revisions
from tests.faults.claims import Claims

OLD = "0001"


def held(path: Path) -> Contents:
    with reading(path) as connection:
        return contents(connection)


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the first schema's tables, in the columns it had."""
    with reading(path) as connection:
        old: dict[str, list[str]] = {
            table: [column[1] for column in connection.execute(f'PRAGMA table_info("{table}")')]
            for table in ("project", "user", "image", "category", "decision", "label", "category_stat")
        }
        return {
            table: connection.execute(f'SELECT {", ".join(names)} FROM "{table}" ORDER BY 1, 2').fetchall()
            for table, names in old.items()
        }


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm") and path.stat().st_size
    }


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite_module().connect(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_every_migration_has_the_dump_of_the_schema_before_it() -> None:
    before = [older for _, older in revisions() if older is not None]
    assert before, "there is no migration to test"
    assert set(before) <= set(dumps()), "add tests/fixtures/schema/<revision>.sql, see tests/db/released.py"


def test_every_schema_says_which_program_reads_it() -> None:
    assert [name for name, _ in revisions()] == sorted(SINCE)
    versions = [tuple(map(int, SINCE[name].split("."))) for name in sorted(SINCE)]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("name", list(dumps()))
def test_a_dump_is_what_its_name_says_and_holds_rows_of_every_sort(name: str, tmp_path: Path) -> None:
    path = make(name, tmp_path / "a.db")
    assert revision(path) == name
    assert copying.problems(path) == []
    found = rows(path)
    assert all(found.values()), "every table has rows"
    with reading(path) as connection:
        asked = {
            "undone": "SELECT count(*) FROM decision WHERE undo_of IS NOT NULL",
            "cleared": "SELECT count(*) FROM decision WHERE state = 0",
            "archived": "SELECT count(*) FROM category WHERE archived_at IS NOT NULL",
            "generations": "SELECT count(*) FROM generation WHERE status = 'retired'",
            "jobs": "SELECT count(*) FROM job WHERE status = 'running'",
            "sessions": "SELECT count(*) FROM session",
        }
        assert all(connection.execute(query).fetchone()[0] for query in asked.values())


@pytest.mark.parametrize("name", list(dumps()))
def test_a_released_schema_is_upgraded_with_equal_counts_labels_and_rows(
    name: str, tmp_path: Path, claim: Claims
) -> None:
    shown = claim(
        "N-11", "Every released schema is upgraded with equal counts and label digests.", unit="schemas"
    )
    settings = Settings(data_dir=tmp_path / "data")
    path = make(name, settings.database)
    before, old = held(path), rows(path)
    upgrade(path)
    assert revision(path) == head()
    assert held(path) == before and before.counts["label"] == 10 and len(before.heads) == 2
    now = rows(path)
    for table, found in old.items():
        assert [row[: len(found[0])] for row in now[table]] == found, table
    engine = make_engine(path)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
    store = Store.open(settings)
    with store.read() as c:
        assert (checks.wrong_labels(c), checks.wrong_counts(c)) == (0, 0)
    store.close()
    shown.done(1)


def test_a_checked_copy_from_before_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    path = make(OLD, tmp_path / "data" / "a.db")
    before = rows(path)
    kept = upgrade(path)
    assert (
        kept is not None
        and kept.parent == path.parent / BACKUPS
        and kept.name.startswith(f"before-{head()}-")
    )
    assert revision(kept) == OLD and rows(kept) == before and copying.problems(kept) == []
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert [one.name for one in kept.parent.iterdir()] == [kept.name]


def test_what_was_answered_a_moment_ago_is_in_the_copy_and_in_the_result(tmp_path: Path) -> None:
    path = make(OLD, tmp_path / "a.db")
    with closing(sqlite_module().connect(str(path))) as other:  # its answers are in the WAL, not in the file
        other.execute("INSERT INTO project VALUES (7, 'late', 1)")
        other.commit()
        assert path.with_name("a.db-wal").stat().st_size > 0
        kept = upgrade(path)
    assert kept is not None
    assert held(kept).counts["project"] == held(path).counts["project"] == 3


def test_a_second_upgrade_does_nothing_and_a_new_database_needs_no_copy(tmp_path: Path) -> None:
    path = make(OLD, tmp_path / "old" / "a.db")
    upgrade(path)
    before = files(path.parent)
    assert upgrade(path) is None and files(path.parent) == before
    assert upgrade(tmp_path / "new" / "a.db") is None
    assert not (tmp_path / "new" / BACKUPS).exists()
    assert stat.S_IMODE((tmp_path / "new" / "a.db").stat().st_mode) == 0o600


def test_the_newest_copies_stay(tmp_path: Path) -> None:
    path = make(OLD, tmp_path / "a.db")
    folder = path.parent / BACKUPS
    folder.mkdir()
    names = [
        f"before-{rev}-2026{month:02d}01T000000Z.db" for rev, month in (("0009", 1), ("0008", 3), ("0007", 2))
    ]
    for name in names:
        (folder / name).write_bytes(b"")
    (folder / "mine.db").write_bytes(b"")
    kept = upgrade(path)
    assert kept is not None
    left = {one.name for one in folder.iterdir()}
    assert left == {kept.name, "mine.db", names[1], names[2]} and len(left) == KEPT + 1


def test_the_copy_of_this_upgrade_stays_when_the_clock_was_ahead_before(tmp_path: Path) -> None:
    path = make(OLD, tmp_path / "a.db")
    folder = path.parent / BACKUPS
    folder.mkdir()
    for year in (2097, 2098, 2099):
        (folder / f"before-0009-{year}0101T000000Z.db").write_bytes(b"")
    kept = upgrade(path)
    assert kept is not None and kept.is_file() and held(kept) == held(path)
    assert len(list(folder.iterdir())) == KEPT


def test_two_processes_upgrade_an_old_file_once(tmp_path: Path) -> None:
    path = make(OLD, tmp_path / "a.db")
    code = f"from pathlib import Path; from db.migrate import upgrade; print(upgrade(Path({str(path)!r})))"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = sorted(process.communicate(timeout=120)[0].strip() for process in both)
    assert [process.returncode for process in both] == [0, 0]
    copies = list((tmp_path / BACKUPS).iterdir())
    assert said == sorted(["None", str(copies[0])]) and len(copies) == 1 and revision(path) == head()


def test_a_disk_without_locks_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    path = tmp_path / "annotator.db"
    make(OLD, path)
    monkeypatch.setattr(migrate.fcntl, "flock", unable)
    with pytest.raises(SchemaError, match=r"cannot be locked \(No locks available\).*local disk"):
        upgrade(path)
    assert revision(path) == OLD


def test_a_newer_file_names_the_program_it_needs_and_is_not_touched(tmp_path: Path) -> None:
    path = make(OLD, tmp_path / "a.db")
    upgrade(path)
    wal = path.with_name("a.db-wal")
    with closing(sqlite_module().connect(str(path))) as newer:
        newer.execute("PRAGMA user_version = 12003004")
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
        newer.commit()
        before = files(tmp_path)
        assert wal.name in before, "a newer program that was killed leaves its WAL"
        with pytest.raises(SchemaTooNew, match=r"needs annotator >= 12\.3\.4\.$"):
            upgrade(path)
        assert files(tmp_path) == before


def test_an_upgraded_file_tells_older_programs_what_it_needs(tmp_path: Path) -> None:
    path = make(OLD, tmp_path / "a.db")
    upgrade(path)
    with reading(path) as connection:
        told = connection.execute("PRAGMA user_version").fetchone()[0]
    assert f"{told // 10**6}.{told // 1000 % 1000}.{told % 1000}" == SINCE[head()]


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"words, many words" * 1_000)
    with pytest.raises(SchemaError, match=r"^The database .*a\.db cannot be read \(file is not .*\)\.$"):
        upgrade(path)
    assert path.read_bytes() == b"words, many words" * 1_000


def test_a_damaged_file_is_not_upgraded(tmp_path: Path) -> None:
    path = make(OLD, tmp_path / "a.db")
    execute(path, "PRAGMA foreign_keys=OFF", "DELETE FROM image WHERE id = 1")
    before = files(tmp_path)
    with pytest.raises(SchemaError, match=r"is damaged \(a row of \w+ refers to a row of image that is not"):
        upgrade(path)
    assert revision(path) == OLD and files(tmp_path) == before


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM label WHERE image_id = 1",
        "UPDATE label SET state = 1 WHERE image_id = 1 AND category_id = 2",
        "INSERT INTO project (id, name, created_at) VALUES (77, 'x', 1)",
        "UPDATE category SET project_id = 99 WHERE id = 6",
    ],
    ids=["label lost", "label changed", "row added", "reference lost"],
)
def test_an_upgrade_that_would_change_answers_is_rolled_back(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(OLD, tmp_path / "a.db")
    before = rows(path)
    real: Callable[..., None] = migrate.command.upgrade

    def harmful(config: Any, to: str) -> None:
        connection = config.attributes["connection"]
        real(config, to)
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        connection.exec_driver_sql(harm)

    monkeypatch.setattr(migrate.command, "upgrade", harmful)
    with pytest.raises(SchemaError, match="was not upgraded because"):
        upgrade(path)
    assert revision(path) == OLD and rows(path) == before
    assert list((tmp_path / BACKUPS).iterdir()) == [], "a start that fails for ever must not fill the disk"
    monkeypatch.undo()
    upgrade(path)
    assert revision(path) == head()


def test_leftovers_of_a_killed_upgrade_are_swept(tmp_path: Path) -> None:
    path = make(OLD, tmp_path / "a.db")
    folder = tmp_path / BACKUPS
    folder.mkdir()
    for name in (".before-0002-1.db.tmp", ".before-0002-1.db.tmp-journal"):
        (folder / name).write_bytes(b"half")
    kept = upgrade(path)
    assert kept is not None and [one.name for one in folder.iterdir()] == [kept.name]


def test_migrations_need_no_other_part_of_the_program() -> None:
    code = "import sys, db.migrate; sys.exit(any(name.split('.')[0] == 'annotator' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ}, check=False).returncode == 0
