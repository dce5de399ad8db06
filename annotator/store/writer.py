"""One thread that does all writing of a process.

Requests that wait while a transaction is being committed share the next one (group commit): each runs in its
own savepoint, and its caller is answered only after COMMIT has returned. SQLite's own queueing is unfair
(seconds of waiting with fifty writers); one queue is fair and several times faster.

Nobody waits longer than his patience for another process to let go of the database: a request that no
transaction has taken up by then leaves the queue and is never performed. A full disk fails the requests of
one transaction; a failing disk ends all writing until the program is started again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from annotator.errors import ReadOnly, StoreBusy, StoreStopping
from annotator.store.checkpoints import Checkpoints
from annotator.store.faults import BUSY_TEXT, STOPPING_TEXT, translate
from db.engine import writing

_log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_GROUP = 256
MAX_GROUP_SECONDS = 0.05
PATIENCE_S = 4.5  # an answer, also "busy", comes within five seconds
LOCK_WAIT_MS = 500  # one try to begin waits so long for another process before patience is looked at again
# The same for a page. In a long wait SQLite looks for the lock ever more seldom, in the end every 100 ms, and
# a process that writes one transaction after the other always comes first; a new try looks every other ms.
HASTY_MS = 5
IDLE_S = 2.0  # quiet time after which a large log is copied back


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
    """A piece of work, and later its result or the error its caller will see.

    `settled` is called once either is there, on the writer's thread.
    """

    def __init__(self, work: Callable[[Connection], T], settled: Callable[[], object]) -> None:
        self.work = work
        self.result: T | None = None
        self.carried = _Carried()
        self.settled = settled
        self._gate = threading.Lock()
        self._owner = ""

    def take(self) -> bool:
        """The writer performs it now; False when its caller has left."""
        return self._decide("writer")

    def leave(self) -> bool:
        """The caller gives up; False when the writer was faster and will settle it."""
        return self._decide("caller")

    @property
    def abandoned(self) -> bool:
        """Whether the caller has left."""
        return self._owner == "caller"

    def outcome(self) -> T:
        """What the work returned, or its error raised; for who was told that it is settled."""
        if self.carried.error is not None:
            raise self.carried.error
        return cast(T, self.result)

    def fail(self, error: BaseException) -> None:
        """Settle it with an error."""
        self.carried.error = error
        self.settled()

    def perform(self, connection: Connection, folder: Path) -> None:
        """Run the work in a savepoint; raise only when the whole transaction is lost with it."""
        with self.carried, connection.begin_nested():
            self.result = self.work(connection)
        error = self.carried.error
        if isinstance(error, DBAPIError):
            driver: Any = connection.connection.dbapi_connection
            if not driver.in_transaction:  # disk full or I/O error: SQLite rolled everything back by itself
                raise _first(error)
            found = translate(error, folder)
            if isinstance(found, ReadOnly):
                raise error
            self.carried.error = found

    def _decide(self, owner: str) -> bool:
        with self._gate:
            self._owner = self._owner or owner
            return self._owner == owner


class Writer:
    """Runs callables on one connection at a time, in order, durably.

    `trouble` is empty, or the sentence that says why nothing is written any more; `on_trouble` hears it once,
    on the writer's thread.
    """

    def __init__(self, engine: Engine, database: Path, *, wal: bool, patience_s: float = PATIENCE_S) -> None:
        # with a rollback journal COMMIT waits for those who read, and is not tried again
        wait_ms = HASTY_MS if wal and patience_s <= PATIENCE_S else LOCK_WAIT_MS
        self._engine = writing(engine, busy_timeout_ms=wait_ms)
        self._folder = database.parent
        self._checkpoints = Checkpoints(engine, database)
        self._patience_s = patience_s
        self._queue: queue.SimpleQueue[_Request[Any] | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._stop_seen = False
        self.asked_at = -math.inf  # when somebody last came to write, on the monotonic clock
        self.trouble = ""
        self.on_trouble: Callable[[str], None] | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def write(self, work: Callable[[Connection], T], patience_s: float | None = None) -> T:
        """Run `work` in a transaction and return its result after COMMIT, or raise its error.

        StoreBusy when no transaction could take it up within `patience_s` seconds.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("write() was called from inside a write; use the connection you were given.")
        settled = threading.Event()
        request = self._put(_Request(work, settled.set))
        waited = settled.wait(self._patience_s if patience_s is None else patience_s)
        if not waited:
            if request.leave():
                raise StoreBusy(BUSY_TEXT)
            settled.wait()
        return request.outcome()

    async def written(self, work: Callable[[Connection], T], patience_s: float | None = None) -> T:
        """`write` for an event loop: a thread per person who waits would compete with the one that writes."""
        loop, settled = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop was closed, so nobody waits for the answer
                loop.call_soon_threadsafe(settled.set)

        request = self._put(_Request(work, tell))
        try:
            async with asyncio.timeout(self._patience_s if patience_s is None else patience_s):
                await settled.wait()
        except TimeoutError:
            if request.leave():
                raise StoreBusy(BUSY_TEXT) from None
            await settled.wait()
        return request.outcome()

    def _put(self, request: _Request[T]) -> _Request[T]:
        with self._gate:
            if self.trouble:
                raise ReadOnly(self.trouble)
            if self._closed:
                raise StoreStopping(STOPPING_TEXT)
            self.asked_at = time.monotonic()
            self._queue.put(request)
        return request

    def refuse_new(self) -> None:
        """Finish what was accepted and answer everything newer with StoreStopping."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def close(self) -> None:
        """Finish what was accepted, then stop."""
        self.refuse_new()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop_seen:
            try:
                request = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                self._tidy(self._checkpoints.idle)
                continue
            if request is None:
                self._stop_seen = True
            else:
                self._serve(request)
        self._drain(StoreStopping(STOPPING_TEXT))

    def _serve(self, first: _Request[Any]) -> None:
        """Commit a group that begins with `first`, and answer its members."""
        group: list[_Request[Any]] = []
        error = self._outcome(first, group)
        while isinstance(error, StoreBusy) and not group and not self._closed:
            if first.abandoned:
                return
            error = self._outcome(first, group)
        if error is None:
            for member in group:
                member.settled()
            self._tidy(self._checkpoints.committed)
            return
        if isinstance(error, ReadOnly):
            self._stop_writing(str(error))
        if not group and first.take():
            group.append(first)
        for member in group:
            member.fail(error)

    def _outcome(self, first: _Request[Any], group: list[_Request[Any]]) -> BaseException | None:
        """Run one transaction; None when it is on the disk, StoreBusy without a group when none began."""
        whole = _Carried()
        with whole:
            self._transaction(first, group)
        return None if whole.error is None else self._for_people(whole.error)

    def _transaction(self, first: _Request[Any], group: list[_Request[Any]]) -> None:
        """Perform `first` and, as `group` tells, whatever waits; then commit."""
        with self._engine.begin() as connection:
            deadline = time.monotonic() + MAX_GROUP_SECONDS
            request: _Request[Any] | None = first
            while request is not None:
                if request.take():
                    group.append(request)
                    request.perform(connection, self._folder)
                request = self._next(group, deadline)

    def _next(self, group: list[_Request[Any]], deadline: float) -> _Request[Any] | None:
        if self._stop_seen or len(group) >= MAX_GROUP or time.monotonic() >= deadline:
            return None
        try:
            request = self._queue.get_nowait()
        except queue.Empty:
            return None
        self._stop_seen = request is None
        return request

    def _tidy(self, step: Callable[[], None]) -> None:
        """Look after the log; nobody waits for it, but a failing disk ends the writing."""
        carried = _Carried()
        with carried:
            step()
        if carried.error is not None:
            error = self._for_people(carried.error)
            _log.error("the log of the database: %s", error)
            if isinstance(error, ReadOnly):
                self._stop_writing(str(error))

    def _stop_writing(self, why: str) -> None:
        """From now on every request is refused; also those that wait."""
        with self._gate:
            first, self.trouble = not self.trouble, self.trouble or why
        self._drain(ReadOnly(why))
        if first:
            _log.critical("%s", why)
            if self.on_trouble is not None:
                self.on_trouble(why)

    def _drain(self, error: BaseException) -> None:
        while True:
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                return
            if request is None:
                self._stop_seen = True
            elif request.take():
                request.fail(error)

    def _for_people(self, error: BaseException) -> BaseException:
        return translate(error, self._folder) if isinstance(error, SQLAlchemyError) else error


def _first(error: DBAPIError) -> DBAPIError:
    """The error that came first: rolling back what is already gone raises another on top of it."""
    found, earlier = error, error.__context__
    while earlier is not None:
        found = earlier if isinstance(earlier, DBAPIError) else found
        earlier = earlier.__context__
    return found
