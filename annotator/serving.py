"""Web server and supervised worker in one command."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from annotator.connections import Impatient, open_files
from annotator.errors import AnnotatorError
from annotator.health import make_ballast, secure, start_up_warnings
from annotator.lock import ServerLock, only_server
from annotator.network import scheme, transport
from annotator.settings import Settings
from annotator.store import Store
from annotator.worker.supervisor import Supervisor
from dsrb_core.index import faiss_installation_problem

log = logging.getLogger(__name__)

__all__ = ["QuietServer", "greeting", "listening", "only_server", "port_of", "serve"]

GRACE_S = 3  # seconds that requests under way get at shutdown
LAST_S = 9.0  # seconds after which an end in order is cut short
DRAIN_S = 0.5  # seconds in which who still asks is told that the server stops, before the door is shut


def serve(store: Store, settings: Settings, *, lock: ServerLock, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then stop the worker; both end in well under ten seconds.

    `lock` is held and has checked the store. Raises AnnotatorError when FAISS is not installed right or the
    address is taken.
    """
    problem = faiss_installation_problem()
    if problem:
        raise AnnotatorError(problem)
    assert lock.checked, "the store is checked before it is served"
    with listening(settings) as listener:
        from annotator.ui.app import create_site  # Gradio takes seconds to import: refusals come before it

        open_files()
        site = create_site(store, settings)
        config = uvicorn.Config(
            site,
            http=Impatient,
            log_level="warning",
            access_log=False,
            log_config=None,  # its records go the way of ours, through the one filter
            timeout_graceful_shutdown=GRACE_S,
            **transport(settings),
        )
        supervisor = Supervisor(settings)
        # A disk that failed once is not written to by the worker either.
        store.when_in_trouble(lambda _: _in_the_background(supervisor.stop))
        supervisor.start()
        ended = threading.Event()

        def stopping() -> None:
            store.refuse_new()
            _in_the_background(supervisor.stop)
            _in_the_background(lambda: last_resort(supervisor, ended))

        try:
            lines = greeting(settings, port_of(listener), site.state.first_run_secret)
            lines += preparations(store, settings)
            # What start-up made stays: looking through all of it for rubbish would stop everybody for 0.2 s.
            gc.collect()
            gc.freeze()
            server = QuietServer(config, on_ready=lambda: say("\n".join(lines)), on_stopping=stopping)
            server.run(sockets=[listener])
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave a worker behind
            supervisor.stop()
            ended.set()
    say(store.trouble or "Stopped; everything answered is stored.")


def preparations(store: Store, settings: Settings) -> list[str]:
    """Close the data folder to others, put the ballast aside; what a person should know about the place."""
    said = start_up_warnings(store)
    if secure(settings.data_dir):
        said.append(f"{settings.data_dir} was open to other users of this machine; it is closed now.")
    make_ballast(settings)
    return said


def last_resort(supervisor: Supervisor, ended: threading.Event, seconds: float = LAST_S) -> None:
    """End both processes, whatever still goes on in them, unless serving has `ended` after `seconds`.

    What was answered is on the disk; the lock's file stays as it is: the next start reads the database.
    """
    if ended.wait(seconds):
        return
    log.error("The end in order took more than %g s and is cut short; what was answered is stored.", seconds)
    pid = supervisor.pid
    if pid is not None:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _in_the_background(act: Callable[[], None]) -> None:
    threading.Thread(target=act, daemon=True).start()


class QuietServer(uvicorn.Server):
    """A server that says when it answers and when it stops; its end by a signal is an ordinary one."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        on_ready: Callable[[], None],
        on_stopping: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stopping = on_stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then call `on_ready`."""
        await super().startup(sockets=sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Call `on_stopping`, tell it to whoever still comes, then shut the door."""
        self._on_stopping()
        await asyncio.sleep(DRAIN_S)
        await super().shutdown(sockets=sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM ask for a graceful end while serving; the old handlers come back after."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def port_of(listener: socket.socket) -> int:
    """The port that was taken, also when any free one was asked for."""
    return int(listener.getsockname()[1])


def greeting(settings: Settings, port: int, secret: str | None) -> list[str]:
    """What a person reads in the terminal: the address and, off loopback, the one-time secret."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{scheme(settings)}://{host}:{port}"
    lines = [f"Open {address}  (Ctrl-C stops)"]
    if secret:
        lines.append(f"First run: set the owner's password at {address}/setup with this secret: {secret}")
    return lines


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """A bound socket; AnnotatorError in one sentence when the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; left on, each answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise AnnotatorError(
            f"Cannot listen on {settings.host}:{settings.port} ({error.strerror}); choose another --port."
        ) from error
    try:
        yield listener
    finally:
        listener.close()
