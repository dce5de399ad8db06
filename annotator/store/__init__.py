"""The only room that runs SQL: a module per noun, one durable writer.

Functions of the modules take an open connection: `store.read()` for reading, `store.write(work)` for writing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from annotator.errors import StoreError
from annotator.settings import Settings
from annotator.store.clock import now_ms
from annotator.store.writer import Writer, sentence
from db.engine import make_engine, writing
from db.migrate import SchemaError, check_known, head, revision_of

__all__ = ["Store", "now_ms"]

T = TypeVar("T")


class Store:
    """An open data folder; share one per process between all threads."""

    def __init__(self, engine: Engine, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._engine = engine
        self._writer = Writer(writing(engine))

    @classmethod
    def open(cls, settings: Settings) -> Store:
        """Open the database of `settings`; StoreError when it is missing or not at this program's schema."""
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
        return cls(engine, settings.data_dir)

    def read(self) -> AbstractContextManager[Connection]:
        """A connection whose reads all see one moment; anything written to it is rolled back."""
        return self._reading()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                yield connection
                transaction.rollback()
        except OperationalError as error:
            raise StoreError(sentence(error)) from error

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction; returns its result once it is safely on disk.

        Several callers may share one transaction, each in its own savepoint, so an error of one leaves the
        others alone. StoreError when the database refuses (disk full, I/O error): nothing of it was
        stored then.
        """
        return self._writer.write(work)

    def close(self) -> None:
        """Finish accepted writes and let go of the file."""
        self._writer.close()
        self._engine.dispose()
