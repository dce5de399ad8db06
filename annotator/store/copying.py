"""A copy of one moment of the database that only its reader knows."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from annotator.errors import is_full, no_room
from annotator.store.faults import translate

TEMPORARY: Final = "tmp"  # emptied whenever a server starts
_HANDED = threading.local()  # the copy that this thread is about to read


@contextmanager
def private_copy(engine: Engine, data_dir: Path) -> Iterator[Connection]:
    """A connection to a copy of the database as it is now; the copy is gone afterwards, also after a kill.

    DiskFull when it does not fit, StoreError when the database cannot be read.
    """
    driver: Any = engine.dialect.loaded_dbapi
    copied = _copy(engine, driver, data_dir)
    try:
        _HANDED.connection = copied
        with _copies(driver).connect() as connection:
            yield connection
    finally:
        copied.close()


def _copy(engine: Engine, driver: Any, data_dir: Path) -> Any:
    """A driver connection to a copy whose file has no name any more."""
    path = None
    try:
        (data_dir / TEMPORARY).mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="moment-", suffix=".db", dir=data_dir / TEMPORARY)
        os.close(descriptor)
        path = Path(name)
        _fill(engine, driver, path)
        copied = driver.connect(
            f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        copied.isolation_level = None
        copied.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the file, while it has a name
    except OSError as error:
        if is_full(error):
            raise no_room("A copy to read from could not be made") from error
        raise
    except (driver.Error, DBAPIError) as error:
        raise translate(error, data_dir) from error
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
    return copied


def _fill(engine: Engine, driver: Any, path: Path) -> None:
    target = driver.connect(str(path))
    try:
        target.execute("PRAGMA journal_mode=OFF")
        target.execute("PRAGMA synchronous=OFF")  # nobody reads it after a crash
        with engine.connect() as source:
            original: Any = source.connection.dbapi_connection
            original.backup(target)
    finally:
        target.close()


@cache
def _copies(driver: ModuleType) -> Engine:
    """One engine for all copies: a new one would translate every statement anew, longer than it reads."""
    engine = create_engine("sqlite://", module=driver, creator=lambda: _HANDED.connection, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine
