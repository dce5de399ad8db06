"""Durability settings hold on every connection, and BEGIN is sent where SQLAlchemy says so."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from db.engine import make_engine, sqlite_module, wal_is_safe, writing


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 4), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_is_used_only_on_libraries_without_the_reset_race(version: tuple[int, ...], safe: bool) -> None:
    assert wal_is_safe(version) is safe


def pragma(path: Path, name: str, module: Any = None) -> Any:
    engine = make_engine(path, module=module)
    try:
        with engine.connect() as connection:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
    finally:
        engine.dispose()


def test_every_connection_is_durable_and_checks_foreign_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    assert pragma(path, "synchronous") == 2
    assert pragma(path, "foreign_keys") == 1
    assert pragma(path, "busy_timeout") == 10_000
    expected = "wal" if wal_is_safe(tuple(sqlite_module().sqlite_version_info)) else "delete"
    assert pragma(path, "journal_mode") == expected


def test_an_affected_library_falls_back_to_the_rollback_journal(tmp_path: Path) -> None:
    names = {name: getattr(sqlite3, name) for name in dir(sqlite3) if not name.startswith("__")}
    affected = SimpleNamespace(**{**names, "sqlite_version_info": (3, 40, 1)})
    assert pragma(tmp_path / "a.db", "journal_mode", affected) == "delete"
    assert pragma(tmp_path / "a.db", "synchronous", affected) == 2


def test_a_reading_transaction_sees_one_moment(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "a.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
    with engine.connect() as reader:
        assert reader.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 0
        with writing(engine).begin() as writer:
            writer.exec_driver_sql("INSERT INTO t VALUES (1)")
        assert reader.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 0
    with engine.connect() as reader:
        assert reader.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 1
    engine.dispose()


def test_a_writing_transaction_takes_the_lock_at_begin(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "a.db")
    with writing(engine).connect() as first, writing(engine, busy_timeout_ms=1).connect() as second:
        first.begin()
        with pytest.raises(OperationalError, match="locked"):
            second.begin()
    engine.dispose()


def test_a_savepoint_rolls_back_alone(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "a.db")
    with writing(engine).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        nested = connection.begin_nested()
        connection.exec_driver_sql("INSERT INTO t VALUES (2)")
        nested.rollback()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT x FROM t").scalars().all() == [1]
    engine.dispose()
