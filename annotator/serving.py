"""Web server and supervised worker in one command."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from annotator.errors import AnnotatorError, StoreError
from annotator.settings import Settings
from annotator.store import Store
from annotator.worker.supervisor import Supervisor
from dsrb_core.index import faiss_installation_problem

log = logging.getLogger(__name__)

GRACE_S = 3  # seconds that requests under way get at shutdown


def serve(store: Store, settings: Settings, *, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then stop the worker; both end in well under ten seconds.

    Raises AnnotatorError when FAISS is not installed right, the address is taken or another server uses the
    data folder.
    """
    problem = faiss_installation_problem()
    if problem:
        raise AnnotatorError(problem)
    with only_server(settings), listening(settings) as listener:
        from annotator.ui.app import create_site  # Gradio takes seconds to import: refusals come before it

        site = create_site(store, settings)
        config = uvicorn.Config(
            site, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S
        )
        supervisor = Supervisor(settings)
        supervisor.start()
        try:
            lines = greeting(settings, port_of(listener), site.state.first_run_secret)
            QuietServer(config, on_ready=lambda: say("\n".join(lines))).run(sockets=[listener])
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave a worker behind
            supervisor.stop()
    say("Stopped; everything answered is stored.")


class QuietServer(uvicorn.Server):
    """A server that says when it answers, and whose shutdown by a signal is an ordinary end."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then call `on_ready`."""
        await super().startup(sockets=sockets)
        self._on_ready()

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
    lines = [f"Open http://{host}:{port}  (Ctrl-C stops)"]
    if secret:
        lines += [
            f"First run: set the owner's password at http://{host}:{port}/setup with this secret: {secret}",
            "Anyone on the network can read what is sent over plain HTTP: put TLS in front.",
        ]
    return lines


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """A bound socket; AnnotatorError in one sentence when the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
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


@contextmanager
def only_server(settings: Settings) -> Iterator[None]:
    """Hold the data folder's lock; StoreError when another server has it."""
    path = settings.data_dir / "server.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise StoreError(
                f"{settings.data_dir} is in use by another annotator (process {holder}); stop it first."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
