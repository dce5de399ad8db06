"""One thread that does all writing of a process.

Requests that wait while a transaction is being committed share the next one (group commit): each runs in its
own savepoint, and its caller is answered only after COMMIT has returned. SQLite's own queueing is unfair
(seconds of waiting with fifty writers); one queue is fair and several times faster.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from annotator.errors import StoreError

T = TypeVar("T")
MAX_GROUP = 256
MAX_GROUP_SECONDS = 0.05


class _Carried:
    """Context manager that keeps an error of its block so that another thread can raise it."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        self.error = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return True


class _Request(Generic[T]):
    """A piece of work, and later its result or the error its caller will see."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.result: T | None = None
        self.carried = _Carried()
        self.settled = threading.Event()

    def perform(self, connection: Connection) -> None:
        """Run the work in a savepoint; raise only when the database has dropped the whole transaction."""
        with self.carried, connection.begin_nested():
            self.result = self.work(connection)
        error = self.carried.error
        if isinstance(error, DBAPIError):
            driver: Any = connection.connection.dbapi_connection
            if not driver.in_transaction:  # disk full or I/O error: SQLite rolled everything back by itself
                raise _first(error)
            self.carried.error = StoreError(sentence(error))
            self.carried.error.__cause__ = error


class Writer:
    """Runs callables on one connection, in order, durably."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[_Request[Any] | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._stop_seen = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and return its result after COMMIT, or raise its error."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("write() was called from inside a write; use the connection you were given.")
        request = _Request(work)
        with self._gate:
            if self._closed:
                raise StoreError("The store is closed; start the program again.")
            self._queue.put(request)
        request.settled.wait()
        if request.carried.error is not None:
            raise request.carried.error
        return cast(T, request.result)

    def close(self) -> None:
        """Finish what was accepted, then stop."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._stop_seen:
            request = self._queue.get()
            if request is None:
                return
            group = [request]
            whole = _Carried()
            with whole:
                self._transaction(group)
            for member in group:
                if whole.error is not None:
                    member.carried.error = _as_store_error(whole.error)
                member.settled.set()

    def _transaction(self, group: list[_Request[Any]]) -> None:
        """Run `group`, which grows by whatever waits, and commit."""
        deadline = time.monotonic() + MAX_GROUP_SECONDS
        with self._engine.begin() as connection:
            group[0].perform(connection)
            while len(group) < MAX_GROUP and time.monotonic() < deadline:
                try:
                    request = self._queue.get_nowait()
                except queue.Empty:
                    return
                if request is None:
                    self._stop_seen = True
                    return
                group.append(request)
                request.perform(connection)


def sentence(error: SQLAlchemyError) -> str:
    """A database error for a person."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return f"The database could not be used ({cause}); nothing of this request was saved."


def _first(error: DBAPIError) -> DBAPIError:
    """The error that came first: rolling back what is already gone raises another on top of it."""
    found, earlier = error, error.__context__
    while earlier is not None:
        found = earlier if isinstance(earlier, DBAPIError) else found
        earlier = earlier.__context__
    return found


def _as_store_error(error: BaseException) -> BaseException:
    if not isinstance(error, SQLAlchemyError):
        return error
    wrapped = StoreError(sentence(error))
    wrapped.__cause__ = error
    return wrapped
