"""Signs of life: the main thread leaves them as it works, the supervisor hears them through a pipe.

A heartbeat that a thread of its own sends says nothing about a main thread that hangs. So the heartbeat goes
out only while the last sign of the main thread is young enough.
"""

from __future__ import annotations

import os
import time

BEAT_FD = "ANNOTATOR_BEAT_FD"  # number of the pipe's end that a supervised worker writes to
SERVER_PID = "ANNOTATOR_SERVER_PID"  # the server may be gone before its worker can ask for its parent


class Signs:
    """When the main thread last did something. Thread-safe."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._last = time.monotonic()

    def leave(self) -> None:
        """The main thread does something."""
        self._last = time.monotonic()

    def fresh(self) -> bool:
        """False when the main thread has done nothing for longer than any step takes."""
        return time.monotonic() - self._last < self._stall_s


class Beat:
    """The worker's end of the supervisor's pipe; says nothing where there is none."""

    def __init__(self) -> None:
        number = os.environ.pop(BEAT_FD, "")
        self._pipe = int(number) if number.isdigit() else None
        if self._pipe is not None:
            os.set_inheritable(self._pipe, False)
            os.set_blocking(self._pipe, False)

    def __call__(self) -> None:
        """One heartbeat."""
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, b".")
        except BlockingIOError:
            return  # the supervisor has enough unread ones
        except OSError:
            self._pipe = None  # the supervisor is gone; watching the parent ends us
