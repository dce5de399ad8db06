"""A few decoding processes, started when they are needed; what kills one costs its picture only."""

from __future__ import annotations

import atexit
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from annotator.decoding import wire
from annotator.decoding.child import TOO_MUCH_MEMORY
from annotator.decoding.formats import KINDS
from annotator.decoding.limits import Limits
from annotator.decoding.pixels import Normalised
from annotator.errors import BadFile, StoreError, TypeNotAccepted

T = TypeVar("T")
LARGEST_ANSWER = 2**30
MAX_PROCESSES = 8
START_S = 60.0
END_S = 5.0
_ROOT = Path(__file__).parents[2]  # where the child finds this package, whatever its working folder


class Gone(Exception):
    """The decoding process ended; `code` as subprocess gives it, `overdue` when we ended it."""

    def __init__(self, code: int, *, overdue: bool) -> None:
        super().__init__(code)
        self.code = code
        self.overdue = overdue


class Decoders:
    """At most `size` decoding processes; `decode` may be called on any thread and waits for a free one."""

    def __init__(self, size: int, limits: Limits | None = None, *, idle_s: float = 30.0) -> None:
        self.size = size
        self._limits = limits or Limits()
        self._idle_s = idle_s  # processes without work end by themselves after so long
        self._slots = threading.BoundedSemaphore(size)
        self._free: queue.LifoQueue[_Process] = queue.LifoQueue()
        self._closed = False

    def decode(self, data: bytes, name: str, max_pixels: int) -> Normalised:
        """As `pixels.probe_and_normalise`, elsewhere; BadFile also when the process does not survive it.

        StoreError when no process can be started.
        """
        request = {
            "max_pixels": max_pixels,
            "cpu_s": self._limits.cpu_s,
            "cpu_s_mp": self._limits.cpu_s_per_megapixel,
            "memory": self._limits.memory,
        }
        with self._slots:
            head, blocks = self._ask(request, data, name)
        return _normalised(head, blocks, name)

    def close(self) -> None:
        """End all processes that are idle; those busy end with their picture."""
        self._closed = True
        while not self._free.empty():
            self._free.get().end()

    def _ask(self, request: dict[str, Any], data: bytes, name: str) -> tuple[dict[str, Any], list[bytes]]:
        while True:
            fresh = self._free.empty()
            process = _Process(self._idle_s) if fresh else self._free.get()
            try:
                answer = process.ask(request, data, self._limits.wall_s)
            except Gone as gone:
                if gone.code == 0 and not fresh:  # it had ended for want of work: not this picture's doing
                    continue
                raise BadFile(name, _why(gone, self._limits)) from gone
            if self._closed:
                process.end()
            else:
                self._free.put(process)
            return answer


class _Process:
    """One decoding process, used by one thread at a time."""

    def __init__(self, idle_s: float) -> None:
        self._overdue = False
        command = [sys.executable, "-P", "-m", "annotator.decoding.child", str(idle_s)]
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {name: value for name, value in os.environ.items() if not name.startswith("ANNOTATOR_")}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment = {**own, **threads, "PYTHONPATH": os.pathsep.join(paths)}
        try:
            # a session of its own: Ctrl-C in the terminal reaches the server alone
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=environment,
                start_new_session=True,
            )
            self._within(START_S, lambda: wire.receive(self._popen.stdout, 0))  # type: ignore[arg-type]
        except (OSError, Gone) as error:
            why = f"exit status {error.code}" if isinstance(error, Gone) else str(error)
            raise StoreError(f"Pictures cannot be checked: no decoding process starts ({why}).") from error

    def ask(self, request: dict[str, Any], data: bytes, wall_s: float) -> tuple[dict[str, Any], list[bytes]]:
        """The answer about one picture; Gone when the process ended instead."""

        def talk() -> tuple[dict[str, Any], list[bytes]]:
            assert self._popen.stdin is not None and self._popen.stdout is not None
            wire.send(cast(Any, self._popen.stdin), request, [data])
            return wire.receive(cast(Any, self._popen.stdout), LARGEST_ANSWER)

        return self._within(wall_s, talk)

    def end(self) -> None:
        """Close its input, which ends it; kill it when that does not."""
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                stream.close()
        try:
            self._popen.wait(END_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _within(self, seconds: float, talk: Callable[[], T]) -> T:
        """What `talk` returns; Gone when the process ends in it or has to be ended after `seconds`."""
        watch = threading.Timer(seconds, self._kill_overdue)
        watch.daemon = True
        watch.start()
        try:
            return talk()
        except (OSError, EOFError, wire.Broken) as error:
            watch.cancel()
            self.end()
            raise Gone(self._popen.returncode, overdue=self._overdue) from error
        finally:
            watch.cancel()

    def _kill_overdue(self) -> None:
        self._overdue = True
        self._popen.kill()


@functools.cache
def shared() -> Decoders:
    """The decoders of this process: one for each core, so that several imports at once stay bounded."""
    made = Decoders(max(2, min(MAX_PROCESSES, os.cpu_count() or 1)))
    atexit.register(made.close)
    return made


def _why(gone: Gone, limits: Limits) -> str:
    if gone.overdue:
        return f"it could not be decoded within {limits.wall_s:g} seconds"
    if gone.code == -signal.SIGPROF:
        return f"decoding it takes too long (limit: {limits.cpu_s:g} s and more for large pictures)"
    if gone.code == -signal.SIGKILL:
        return TOO_MUCH_MEMORY.format(limits.memory >> 20) + ", or its decoder was stopped"
    how = signal.strsignal(-gone.code) if gone.code < 0 else None
    return f"its decoder crashed ({how or f'exit status {gone.code}'})"


def _normalised(head: dict[str, Any], blocks: list[bytes], name: str) -> Normalised:
    """The answer as a record; BadFile for a refusal, and for an answer no decoder of ours gives."""
    outcome, reason = head.get("outcome"), _clean(head.get("reason"))
    if outcome == "type":
        raise TypeNotAccepted(name, reason)
    if outcome == "bad":
        raise BadFile(name, reason)
    kind, sides = KINDS.get(str(head.get("ext"))), (head.get("width"), head.get("height"))
    width, height = (side if type(side) is int and side > 0 else 0 for side in sides)
    ext = str(head.get("canonical_ext"))
    good = outcome == "good" and len(blocks) == 2 and width and height and ext in KINDS
    if kind is None or not good:
        raise BadFile(name, "its decoder gave a senseless answer")
    return Normalised(
        media_type=kind.media_type,
        ext=kind.ext,
        width=width,
        height=height,
        canonical=None if head.get("as_is") is True else blocks[1],
        canonical_ext=ext,
        thumbnail=blocks[0],
        note=_clean(head.get("note")),
    )


def _clean(text: object) -> str:
    return " ".join(str(text or "").split())[:300]
