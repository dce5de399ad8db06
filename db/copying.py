"""A database file as one thing: read it without touching it, copy it while others write, check it.

A file copy of a database in use is not a database. `copy_online` goes through SQLite's backup API inside one
read transaction, so that the copy is the database of one moment however much is written meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from db.engine import sqlite_module

PAGES_A_STEP = 2_000
CACHE_PRAGMA = "PRAGMA cache_size=-65536"  # 64 MiB: checks of large files are many times faster
MAX_PROBLEMS = 20


class DatabaseFileError(RuntimeError):
    """A database file cannot be read, copied or written; the text is one sentence. `full`: no room."""

    def __init__(self, text: str, *, full: bool = False) -> None:
        super().__init__(text)
        self.full = full


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """A driver connection that cannot write to `path`; DatabaseFileError when that is no database."""
    # A rollback journal that a crash left must be played back, which a read-only connection may not do.
    mode = "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"
    driver = sqlite_module()
    try:
        with closing(
            driver.connect(f"file:{quote(str(path.absolute()))}?mode={mode}", uri=True, isolation_level=None)
        ) as connection:
            connection.execute("PRAGMA busy_timeout=5000")
            yield connection
    except driver.Error as error:
        raise DatabaseFileError(f"The database {path} cannot be read ({error}).") from error


def copy_online(
    source: Path, target: Path, on_progress: Callable[[int, int], None] = lambda _done, _pages: None
) -> None:
    """Copy the database `source`, which may be in use, to the new file `target`, for good when this returns.

    The copy is one file (no WAL beside it), readable by its owner only. `on_progress(done, pages)`.
    DatabaseFileError leaves no target behind.
    """
    driver = sqlite_module()
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with reading(source) as live:
            live.execute("BEGIN")
            live.execute("SELECT count(*) FROM sqlite_master").fetchall()  # pins the moment
            _copy(driver, live, target, on_progress)
        sync(target)
    except DatabaseFileError:
        _remove(target)
        raise
    except (driver.Error, OSError) as error:
        _remove(target)
        raise DatabaseFileError(
            f"The database {source} could not be copied to {target.parent} ({error}).", full=is_full(error)
        ) from error


def _copy(driver: Any, live: Any, target: Path, on_progress: Callable[[int, int], None]) -> None:
    with closing(driver.connect(str(target), isolation_level=None)) as copy:
        try:
            live.backup(
                copy,
                pages=PAGES_A_STEP,
                progress=lambda _status, remaining, pages: on_progress(pages - remaining, pages),
            )
            copy.execute("PRAGMA journal_mode=DELETE").fetchall()
        except driver.Error as error:
            raise DatabaseFileError(
                f"The database could not be copied to {target.parent} ({error}).", full=is_full(error)
            ) from error


def problems(path: Path) -> list[str]:
    """What SQLite finds wrong with a file, in its own words; empty when it is sound.

    Checks every page and index, and every reference between tables.
    """
    with reading(path) as connection:
        connection.execute(CACHE_PRAGMA)
        found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})")]
        if found != ["ok"]:
            return found
        return [
            f"a row of {table} refers to a row of {parent} that is not there"
            for table, _row, parent, _key in connection.execute("PRAGMA foreign_key_check").fetchmany(
                MAX_PROBLEMS
            )
        ]


def is_full(error: BaseException) -> bool:
    """Whether an error of the driver or the system says that there is no room left."""
    return "disk is full" in str(error) or "No space left" in str(error) or "quota exceeded" in str(error)


def sync(path: Path) -> None:
    """Return once a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-journal", f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
