"""One worker per data folder: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from annotator.errors import StoreError
from annotator.processes import born

log = logging.getLogger(__name__)

NAME = "worker.lock"
POLL_S = 0.2
WAIT_S = 10.0  # what a supervised worker waits for one whose server was killed; that one ends within 6 s


@contextmanager
def only_worker(data_dir: Path, *, server: int | None, stop: threading.Event) -> Iterator[bool]:
    """Hold the data folder's worker lock; False when `stop` was set while waiting for it.

    A worker of a `server` (its process id; None when started by hand) waits for one whose server was killed,
    and kills it when it does not end by itself.
    StoreError when another worker holds the lock and has a right to.
    """
    wait_s = 0.0 if server is None else WAIT_S
    path = data_dir / NAME
    with path.open("a+", encoding="utf-8") as lock:
        held = _take(lock, wait_s=wait_s, stop=stop)
        if not held and not stop.is_set():
            holder = _holder(lock)
            if not _orphaned(holder):
                known = holder.get("pid", "unknown")
                raise StoreError(f"{data_dir} has a worker already (process {known}); one is enough.")
            log.warning("worker %s has lost its server and does not end; it is killed", holder["pid"])
            os.kill(holder["pid"], signal.SIGKILL)
            held = _take(lock, wait_s=wait_s, stop=stop)
            if not held and not stop.is_set():
                raise StoreError(f"{data_dir} has a worker that cannot be ended (process {holder['pid']}).")
        if held:
            lock.truncate(0)
            json.dump({"pid": os.getpid(), "born": born(os.getpid()), "server": server}, lock)
            lock.flush()
        yield held


def _take(lock: IO[str], *, wait_s: float, stop: threading.Event) -> bool:
    end = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= end or stop.wait(POLL_S):
                return False
        else:
            return True


def _holder(lock: IO[str]) -> dict[str, Any]:
    """What the holder wrote; empty when it cannot be read."""
    lock.seek(0)
    try:
        found = json.loads(lock.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _orphaned(holder: dict[str, Any]) -> bool:
    """True when the process that wrote the lock still is that process and has another parent than its server.

    A worker started by hand has no server and is never an orphan.
    """
    pid, server = holder.get("pid"), holder.get("server")
    if not isinstance(pid, int) or not isinstance(server, int) or born(pid) != holder.get("born"):
        return False
    return _status(pid).get("PPid") != str(server)


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
