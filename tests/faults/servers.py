"""Starting, stopping and killing real servers in processes of their own."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from annotator.processes import born

ROOT = Path(__file__).resolve().parents[2]
QUIET_WORKER = {
    "ANNOTATOR_BACKBONE": "tiny",
    "ANNOTATOR_THREADS": "1",
    "ANNOTATOR_RETRAIN_EVERY": "1000000",  # trainings start when a test asks for them
    "ANNOTATOR_RETRAIN_MINUTES": "1000000",
    "ANNOTATOR_LEASE_S": "2",
    "ANNOTATOR_BALLAST_BYTES": "1048576",
}
START_S = 90.0
END_S = 30.0
_PORT = re.compile(r"^port (\d+)$|Open http://[^:]+:(\d+)", re.MULTILINE)
_PID = re.compile(r"^pid (\d+)$", re.MULTILINE)


class Server:
    """A server process that answers on `port`; `said` is the file its output goes to."""

    def __init__(self, said: Path, *, living: Callable[[], bool]) -> None:
        self._said = said
        self._living = living
        self.pid = 0
        self.port = 0

    def ready(self, pid: int) -> None:
        """Wait until it has said its port."""
        self.pid = pid
        found = self.heard(_PORT)
        self.port = int(found[1] or found[2])

    def heard(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Wait until it has said something that matches."""
        for _ in ticks(START_S):
            if found := pattern.search(self.output()):
                return found
            if self.pid and not self._living():
                break
        self.kill()
        raise AssertionError("the server did not start:\n" + self.output())

    def gone(self) -> bool:
        """Whether the process has ended."""
        return not self._living()

    def output(self) -> str:
        """What it has said so far."""
        return self._said.read_text(encoding="utf-8", errors="replace") if self._said.exists() else ""

    def kill(self) -> None:
        """SIGKILL to the server alone: what a crash does; a worker beside it has to notice by itself."""
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and wait until the process is gone."""
        if not self.pid:
            return
        if self._living():
            os.kill(self.pid, number)
        for _ in ticks(END_S):
            if not self._living():
                return
        raise AssertionError(f"the server did not end within {END_S:g} s of {number.name}")


class Mother:
    """A process that has a program loaded and forks a child whenever one is asked for.

    A start takes a tenth of a second then, so that hundreds of crashes fit into minutes. The program reads a
    line for each child, the file for its output first, and the child begins by saying its process id.
    """

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, **QUIET_WORKER},
            cwd=ROOT,
            start_new_session=True,
        )

    def fork(self, said: Path, *arguments: str) -> Server:
        """A new child; its `pid` is known, its `port` is not yet."""
        said.unlink(missing_ok=True)
        assert self._process.stdin is not None
        self._process.stdin.write(shlex.join([str(said), *arguments]) + "\n")
        self._process.stdin.flush()
        # Nobody of ours waits for it: its process id may be somebody else's by the time it is killed.
        child = Server(said, living=lambda: bool(birth) and born(child.pid) == birth)
        child.pid = int(child.heard(_PID)[1])
        birth = born(child.pid)
        return child

    def close(self) -> None:
        """End the mother; her children have ended before."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(END_S)


class Nursery(Mother):
    """Forks servers: the product's application without page and worker, see `light_server`."""

    def __init__(self) -> None:
        super().__init__("tests.faults.light_server")

    @contextmanager
    def __call__(self, data_dir: Path, *options: str) -> Iterator[Server]:
        """A running server on `data_dir`, killed at the end if it still runs."""
        server = self.fork(beside(data_dir), str(data_dir), *options)
        try:
            server.ready(server.pid)
            yield server
        finally:
            server.kill()


Start = Callable[..., AbstractContextManager[Server]]


@contextmanager
def whole(data_dir: Path, **environment: str) -> Iterator[Server]:
    """`annotator run` with page and worker, killed at the end if it still runs."""
    said = beside(data_dir)
    command = [sys.executable, "-m", "annotator", "run", "--port", "0", "--data-dir", str(data_dir)]
    with said.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **QUIET_WORKER, **environment},
            cwd=ROOT,
            start_new_session=True,
        )
    server = Server(said, living=lambda: process.poll() is None)
    server.ready(process.pid)
    try:
        yield server
    finally:
        server.kill()


def beside(data_dir: Path) -> Path:
    """The file that takes the output of a server on `data_dir`."""
    return data_dir.with_name(f"{data_dir.name}.said.txt")


def ticks(seconds: float, pause: float = 0.01) -> Iterator[int]:
    """Count while waiting `pause` seconds each time, for at least `seconds` altogether."""
    clock = threading.Event()
    for tick in range(int(seconds / pause)):
        yield tick
        clock.wait(pause)
