"""SQLite engine: which library, which journal, which locks.

Every connection runs with `synchronous=FULL`, foreign keys and a busy timeout. SQLAlchemy sends BEGIN itself
(the driver would send none before a SELECT); `writing(engine)` makes that BEGIN IMMEDIATE, so that a
transaction that reads and then writes never fails half way on another writer. The log is copied back into the
file by whoever writes (`wal_autocheckpoint=0`): SQLite would do it inside a COMMIT and hide its errors.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from db.place import file_system_of, is_network

BUSY_TIMEOUT_MS = 10_000
LOG_LIMIT_BYTES = 64 * 2**20  # a write-ahead log that grew larger is cut to this once it was copied back
FULL = 2  # what `PRAGMA synchronous` answers when every COMMIT waits for the disk


@dataclass(frozen=True, kw_only=True)
class Facts:
    """How an open database really works, asked from a connection of its own."""

    library: str  # version of the SQLite library
    journal: str  # "wal" or "delete"
    synchronous: int
    foreign_keys: bool
    file_system: str  # empty where the system does not say


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
    wal = wal_is_safe(tuple(driver.sqlite_version_info)) and not is_network(file_system_of(path.parent))
    engine = create_engine(
        URL.create("sqlite", database=str(path)), module=driver, pool_size=8, max_overflow=56
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not open or close transactions by itself
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            f"journal_mode={'WAL' if wal else 'DELETE'}",
            f"journal_size_limit={LOG_LIMIT_BYTES}",
            "wal_autocheckpoint=0",
            "synchronous=FULL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "cache_size=-16384",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        mode = options.get("begin_mode", "DEFERRED")
        if mode is None:
            return
        wait_at_most(connection, options.get("busy_timeout_ms", BUSY_TIMEOUT_MS))
        if mode == "DEFERRED":  # takes no lock, so it cannot fail; a statement of ours costs ten times more
            driver: Any = connection.connection.dbapi_connection
            driver.execute("BEGIN")
        else:
            connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def writing(engine: Engine, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Engine:
    """The same engine whose transactions take the write lock at once, waiting so long for another process."""
    return engine.execution_options(begin_mode="IMMEDIATE", busy_timeout_ms=busy_timeout_ms)


def outside_transactions(engine: Engine) -> Engine:
    """The same engine whose statements run each by itself, for what SQLite refuses inside a transaction."""
    return engine.execution_options(begin_mode=None)


def wait_at_most(connection: Connection, wait_ms: int) -> None:
    """Let a connection wait so long for the locks of others; the only place where that is changed.

    It is kept with the driver's connection, which goes back to the pool: whoever gets it next is asked anew.
    """
    if connection.info.get("busy_timeout_ms") != wait_ms:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={wait_ms}")
        connection.info["busy_timeout_ms"] = wait_ms


def facts(engine: Engine) -> Facts:
    """Ask a connection that is set up like every other how it works."""
    with engine.connect() as connection:

        def pragma(name: str) -> Any:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

        return Facts(
            library=str(connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()),
            journal=str(pragma("journal_mode")),
            synchronous=int(pragma("synchronous")),
            foreign_keys=bool(pragma("foreign_keys")),
            file_system=file_system_of(Path(str(engine.url.database)).parent),
        )
