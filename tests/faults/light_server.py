"""The product's application without page and worker, forked as often as asked by a process that has it.

    python -m tests.faults.light_server

reads lines SAID DATA_DIR [--synchronous NORMAL] [--writer plain|eager] and forks a server for each, whose
output, beginning with its process id and its port, goes to the file SAID. The options make it worse on
purpose, so that a test of durability can be seen to fail: without waiting for the disk, or with a writer that
answers before it commits. A plain writer gives every request its own connection, for `benchmarks/load.py`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from anyio import to_thread
from sqlalchemy import Connection, Engine, event

from annotator.api.app import create_app
from annotator.serving import QuietServer, listening, only_server, port_of
from annotator.settings import Settings
from annotator.store import Store
from db.engine import writing


class PlainWriter:
    """A writer without a queue: each caller opens a transaction on a connection of its own."""

    trouble = ""
    on_trouble: Callable[[str], None] | None = None

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, work: Callable[[Connection], Any], _patience_s: float | None = None) -> Any:
        """Run `work` in a transaction on this thread."""
        with self._engine.begin() as connection:
            return work(connection)

    async def written(self, work: Callable[[Connection], Any], _patience_s: float | None = None) -> Any:
        """The same for an event loop, in a thread of the pool."""
        return await to_thread.run_sync(self.write, work)

    def settle(self) -> None:
        """All that was written is committed."""

    def refuse_new(self) -> None:
        """Nothing is queued that could be refused."""

    def close(self) -> None:
        """Nothing waits."""


class EagerWriter(PlainWriter):
    """A writer that answers at once and commits now and then: what no writer may do."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._lock = threading.Lock()
        self._open = engine.connect()
        threading.Thread(target=self._commit, daemon=True).start()

    def write(self, work: Callable[[Connection], Any], _patience_s: float | None = None) -> Any:
        """Run `work` in a transaction that somebody commits later."""
        with self._lock:
            return work(self._open)

    def _commit(self) -> None:
        while True:
            time.sleep(0.2)
            with self._lock:
                self._open.commit()

    def settle(self) -> None:
        """Commit what waits."""
        with self._lock:
            self._open.commit()

    def close(self) -> None:
        """Commit what waits."""
        self.settle()


WRITERS = {"plain": PlainWriter, "eager": EagerWriter}


def give_up_durability(engine: Engine, level: str) -> None:
    """Let every connection from now on run with another `synchronous` level."""

    @event.listens_for(engine, "connect")
    def weaken(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA synchronous={level}")

    engine.dispose()


def serve(data_dir: Path, *, synchronous: str | None = None, writer: str | None = None) -> None:
    """Serve `data_dir` on a free port until SIGTERM."""
    settings = Settings(data_dir=data_dir, port=0, backbone="tiny")
    store = Store.open(settings)
    if synchronous:
        give_up_durability(store._engine, synchronous)
    if writer:
        store._writer.close()
        store._writer = WRITERS[writer](writing(store._engine))  # type: ignore[assignment]
    with only_server(settings) as lock, listening(settings) as listener:
        lock.check(store)
        app = create_app(store, settings)
        if writer:
            store._writer.settle()  # type: ignore[attr-defined]  # the owner, without whom nobody is let in
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
        QuietServer(
            config, on_ready=lambda: say(f"port {port_of(listener)}"), on_stopping=store.refuse_new
        ).run(sockets=[listener])
    store.close()


def say(line: str) -> None:
    """A line to whoever started this."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def child(*arguments: str) -> None:
    """What a forked process does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--synchronous", choices=("NORMAL", "OFF"))
    parser.add_argument("--writer", choices=sorted(WRITERS))
    serve(**vars(parser.parse_args(arguments)))


def fork_for_every_line(do: Callable[..., None]) -> None:
    """Fork until the input ends; a child does its line, whose first word is the file for what it says."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the dead at once
    for line in sys.stdin:
        if os.fork():
            continue
        said, *arguments = shlex.split(line)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for number in (1, 2):
            os.dup2(output, number)
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        say(f"pid {os.getpid()}")
        do(*arguments)
        return


if __name__ == "__main__":
    fork_for_every_line(child)
