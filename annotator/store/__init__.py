"""The only room that runs SQL: a module per noun, one durable writer.

Functions of the modules take an open connection: `store.read()` for reading, `store.write(work)` for writing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, DBAPIError

from annotator.errors import StoreError
from annotator.settings import Settings
from annotator.store.clock import now_ms
from annotator.store.copying import private_copy
from annotator.store.faults import translate
from annotator.store.opening import assert_durable, damage
from annotator.store.writer import PATIENCE_S, Writer
from db.engine import Facts, make_engine
from db.migrate import SchemaError, check_known, head, revision_of

__all__ = ["LONG_PATIENCE_S", "Store", "now_ms"]

T = TypeVar("T")
LONG_PATIENCE_S = 60.0  # for work that nobody waits for at a page


class Store:
    """An open data folder; share one per process between all threads."""

    def __init__(self, engine: Engine, settings: Settings, *, patience_s: float = PATIENCE_S) -> None:
        self.data_dir = settings.data_dir
        self._engine = engine
        self.facts: Facts = assert_durable(engine)
        self._writer = Writer(
            engine, settings.database, wal=self.facts.journal == "wal", patience_s=patience_s
        )

    @classmethod
    def open(cls, settings: Settings, *, patience_s: float = PATIENCE_S) -> Store:
        """Open the database of `settings`; StoreError when it is missing or not at this program's schema.

        `patience_s` is how long a write waits for another process that holds the database: a person's page
        wants an answer within five seconds, a worker has time.
        """
        path = settings.database
        if not path.is_file():
            raise StoreError(f"There is no database at {path}; run `annotator migrate` to create it.")
        engine = make_engine(path)
        try:
            with engine.connect() as connection:
                found = revision_of(connection)
            check_known(found, path)
        except DBAPIError as error:
            engine.dispose()
            raise StoreError(f"The database {path} cannot be opened ({error.orig}).") from error
        except SchemaError as error:
            engine.dispose()
            raise StoreError(str(error)) from error
        if found != head():
            engine.dispose()
            raise StoreError(
                f"The database {path} has schema {found}, this program needs {head()}; "
                "run `annotator migrate`."
            )
        try:
            return cls(engine, settings, patience_s=patience_s)
        except StoreError:
            engine.dispose()
            raise

    def read(self) -> AbstractContextManager[Connection]:
        """A connection whose reads all see one moment; anything written to it is rolled back."""
        return self._reading()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                yield connection
                transaction.rollback()
        except DatabaseError as error:
            raise translate(error, self.data_dir) from error

    def frozen(self) -> AbstractContextManager[Connection]:
        """A private copy of one moment, for reading that takes long.

        A long `read()` would keep the write-ahead log from being copied back, so that it grows with every
        answer. DiskFull when the copy does not fit.
        """
        return private_copy(self._engine, self.data_dir)

    def write(self, work: Callable[[Connection], T], *, patience_s: float | None = None) -> T:
        """Run `work` in a transaction; returns its result once it is safely on disk.

        Several callers may share one transaction, each in its own savepoint, so an error of one leaves the
        others alone. Nothing of it was stored when it raises StoreBusy (another process held the database for
        `patience_s` seconds, by default the store's), DiskFull or StoreStopping. After ReadOnly (the disk
        failed, now or earlier) nothing is promised but that nothing was acknowledged.
        """
        return self._writer.write(work, patience_s)

    async def written(self, work: Callable[[Connection], T], *, patience_s: float | None = None) -> T:
        """`write` for an event loop: no thread waits meanwhile. The same errors."""
        return await self._writer.written(work, patience_s)

    @property
    def unasked_s(self) -> float:
        """Seconds since somebody in this process last came to write; without end before the first."""
        return time.monotonic() - self._writer.asked_at

    @property
    def trouble(self) -> str:
        """Why nothing is written any more, in one sentence; empty when all is well."""
        return self._writer.trouble

    def when_in_trouble(self, tell: Callable[[str], None]) -> None:
        """Call `tell` with that sentence when it comes to it; it must not take long."""
        self._writer.on_trouble = tell

    def damage(self) -> str:
        """Read the whole database file; what is wrong with it in one sentence, empty when nothing is."""
        return damage(self._engine)

    def refuse_new(self) -> None:
        """Finish accepted writes and answer newer ones with StoreStopping; reading goes on."""
        self._writer.refuse_new()

    def close(self) -> None:
        """Finish accepted writes and let go of the file."""
        self._writer.close()
        self._engine.dispose()
