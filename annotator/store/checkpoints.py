"""When the write-ahead log goes back into the database file.

SQLite would do this inside some COMMIT and swallow its errors. Here the writer's thread does it between two
transactions, after the callers were answered, so that nobody waits for it and a failing disk is noticed.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from annotator.errors import ReadOnly
from annotator.store.faults import translate
from db.engine import outside_transactions, wait_at_most

_log = logging.getLogger(__name__)

COMMITS: Final = 200  # transactions after which the log is copied back
GROWTH: Final = 4 * 2**20  # bytes of growth of the log file after which it is
SMALL: Final = 4 * 2**20  # a log file of up to this size may stay when nobody writes


class Checkpoints:
    """Keeps the log small; used by the writer's thread alone. ReadOnly when the disk failed."""

    def __init__(self, engine: Engine, database: Path) -> None:
        self._engine = outside_transactions(engine)
        self._folder = database.parent
        self._log_file = database.with_name(database.name + "-wal")
        self._commits = 0
        self._seen = 0

    def committed(self) -> None:
        """Call after every transaction."""
        self._commits += 1
        if self._commits >= COMMITS or self._size() - self._seen >= GROWTH:
            self._copy_back("PASSIVE")

    def idle(self) -> None:
        """Call when nobody has asked for a while: a large log file is emptied where no reader needs it."""
        if self._size() > SMALL and self._copy_back("PASSIVE"):
            self._copy_back("TRUNCATE")

    def _copy_back(self, mode: str) -> bool:
        """Run one checkpoint; whether all of the log is in the database file now."""
        self._commits = 0
        try:
            with self._engine.connect() as connection:
                wait_at_most(connection, 0)  # never wait for a reader
                busy, pages, copied = connection.exec_driver_sql(f"PRAGMA wal_checkpoint({mode})").one()
        except DBAPIError as error:
            found = translate(error, self._folder)
            if isinstance(found, ReadOnly):
                raise found from error
            _log.warning("The log of the database could not be copied back: %s", found)
            return False
        finally:
            self._seen = self._size()
        return not busy and pages == copied

    def _size(self) -> int:
        try:
            return self._log_file.stat().st_size
        except FileNotFoundError:  # a rollback journal is in use
            return 0
