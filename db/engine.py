"""SQLite engine: which library, which journal, which locks.

Every connection runs with `synchronous=FULL`, foreign keys and a busy timeout. SQLAlchemy sends BEGIN itself
(the driver would send none before a SELECT); `writing(engine)` makes that BEGIN IMMEDIATE, so that a
transaction that reads and then writes never fails half way on another writer.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

BUSY_TIMEOUT_MS = 10_000


def sqlite_module() -> ModuleType:
    """The SQLite driver: `pysqlite3` with its own recent library where installed, else the standard one."""
    name = "pysqlite3.dbapi2" if importlib.util.find_spec("pysqlite3") else "sqlite3"
    return importlib.import_module(name)


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Whether a SQLite library is free of the WAL-reset race that can corrupt a file with two connections."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def make_engine(path: Path, *, module: ModuleType | None = None) -> Engine:
    """Engine on the SQLite file at `path` (created when missing, its folder must exist)."""
    driver = module or sqlite_module()
    engine = create_engine(
        URL.create("sqlite", database=str(path)), module=driver, pool_size=8, max_overflow=56
    )
    journal = "WAL" if wal_is_safe(tuple(driver.sqlite_version_info)) else "DELETE"

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not open or close transactions by itself
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            f"journal_mode={journal}",
            "synchronous=FULL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "cache_size=-16384",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("begin_mode", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def writing(engine: Engine) -> Engine:
    """The same engine whose transactions take the write lock at once."""
    return engine.execution_options(begin_mode="IMMEDIATE")
