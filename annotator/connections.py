"""Connections that ask nothing: how long one may hold its place, and how many places there are."""

from __future__ import annotations

import asyncio
import resource

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20.0  # seconds from a connection's first moment, or first byte of a request, to the end of its head
PLACES = 65_536  # open files: pictures, the database, and one for each connection


class Impatient(H11Protocol):
    """Closes a connection whose request has no complete head in time; uvicorn would wait for ever.

    A body has its own clock (`annotator/api/body.py`), a connection between two requests has uvicorn's.
    """

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first head."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on while no request is being answered; more bytes of the same head win no time."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


def open_files() -> int:
    """Let this process have as many files open as the system allows it, `PLACES` at most; how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = PLACES if hard == resource.RLIM_INFINITY else min(hard, PLACES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft
