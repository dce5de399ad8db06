"""The migrations build exactly the schema, once, and refuse what they do not know."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from db.engine import make_engine
from db.migrate import SchemaError, head, revision, upgrade
from db.schema import Base


def test_migrations_build_the_declared_schema(tmp_path: Path) -> None:
    upgrade(tmp_path / "a.db")
    engine = make_engine(tmp_path / "a.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_details_that_comparison_does_not_see_are_migrated_too(tmp_path: Path) -> None:
    upgrade(tmp_path / "migrated.db")
    declared = make_engine(tmp_path / "declared.db")
    Base.metadata.create_all(declared)
    migrated = make_engine(tmp_path / "migrated.db")
    query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%' AND sql IS NOT NULL"
    with declared.connect() as one, migrated.connect() as other:
        tables = dict(one.exec_driver_sql(query).fetchall())
        built = dict(other.exec_driver_sql(query).fetchall())
    declared.dispose()
    migrated.dispose()
    assert tables.keys() == built.keys()
    for name, sql in tables.items():
        for word in ("WITHOUT ROWID", "AUTOINCREMENT", "UNIQUE", "WHERE", "CHECK"):
            assert (word in sql) == (word in built[name]), (name, word)


def test_upgrade_reports_the_head_and_may_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "100% mine.db"
    assert revision(path) is None
    assert not path.exists()
    upgrade(path)
    upgrade(path)
    assert revision(path) == head()


def test_two_processes_may_upgrade_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    code = f"from pathlib import Path; from db.migrate import upgrade; upgrade(Path({str(path)!r}))"
    both = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(2)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in both] == [(b"", 0)] * 2
    assert revision(path) == head()


def test_a_newer_schema_is_refused_in_one_sentence_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    upgrade(path)
    engine = make_engine(path)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(SchemaError, match="schema 9999, which is newer than this program"):
        upgrade(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_failing_migration_leaves_no_half_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    engine = make_engine(path)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE job (surprise TEXT)")
    engine.dispose()
    with pytest.raises(Exception, match="job already exists"):
        upgrade(path)
    engine = make_engine(path)
    with engine.connect() as connection:
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    engine.dispose()
    assert [name for (name,) in names if not name.startswith("sqlite_")] == ["job"]
