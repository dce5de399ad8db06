"""Waiting for states of processes, for the tests of server and supervisor."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the state was never reached"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
