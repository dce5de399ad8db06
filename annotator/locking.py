"""Locks on files and folders; the system lets go of them when a process ends, however it ends.

That somebody else has a lock and that a disk has none are two things: who takes the second for the first
tells people to wait for a process that does not exist.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import IO

from annotator.errors import StoreError

POLL_S = 0.05  # between two tries of somebody who waits
_TAKEN = frozenset({errno.EWOULDBLOCK, errno.EACCES})


def open_private(path: Path) -> IO[str]:
    """A lock's file for reading and appending, made for its owner alone; OSError when that cannot be.

    What a power cut left in it may be anything and can be read all the same.
    """
    return open(path, "a+", encoding="utf-8", errors="replace", opener=_private)


def take(
    file: IO[str] | int,
    place: Path | str,
    *,
    shared: bool = False,
    wait_s: float = 0.0,
    stop: threading.Event | None = None,
) -> bool:
    """Lock an open file or folder, alone or `shared` with others; whether that was done within `wait_s`.

    False also when `stop` is set while somebody else has it. StoreError when nothing can be locked there;
    `place` is what people call it. Once locked, it can be taken again the other way.
    """
    end, pause = time.monotonic() + wait_s, stop or threading.Event()
    while not _locked(file, place, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
        if time.monotonic() >= end or pause.wait(POLL_S):
            return False
    return True


def _locked(file: IO[str] | int, place: Path | str, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise StoreError(
            f"{place} cannot be locked ({error.strerror}), so two programs could write at once; "
            "use a folder on a local disk."
        ) from error
    return True


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
