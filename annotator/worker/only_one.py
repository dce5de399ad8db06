"""One worker per data folder: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from annotator import locking
from annotator.errors import StoreError
from annotator.processes import born

log = logging.getLogger(__name__)

NAME = "worker.lock"
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
    with locking.open_private(path) as lock:
        held = locking.take(lock, data_dir, wait_s=wait_s, stop=stop)
        if not held and not stop.is_set():
            holder = _holder(lock)
            if not _orphaned(holder):
                raise StoreError(f"{data_dir} {_in_use(holder)}")
            log.warning("worker %s has lost its server and does not end; it is killed", holder["pid"])
            with suppress(ProcessLookupError):  # it has ended at last
                os.kill(holder["pid"], signal.SIGKILL)
            held = locking.take(lock, data_dir, wait_s=wait_s, stop=stop)
            if not held and not stop.is_set():
                raise StoreError(f"{data_dir} has a worker that cannot be ended (process {holder['pid']}).")
        if held:
            lock.truncate(0)
            json.dump({"pid": os.getpid(), "born": born(os.getpid()), "server": server}, lock)
            lock.flush()
        try:
            yield held
        finally:
            if held:
                lock.truncate(0)  # nobody is told of a worker that has ended


def _holder(lock: IO[str]) -> dict[str, Any]:
    """What the holder wrote; empty when it cannot be read."""
    lock.seek(0)
    try:
        found = json.loads(lock.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _in_use(holder: dict[str, Any]) -> str:
    """Who has the lock: a worker writes its name down, a restore, a repair and an upgrade do not."""
    pid = holder.get("pid")
    if isinstance(pid, int) and born(pid) == holder.get("born"):
        return f"has a worker already (process {pid}); one is enough."
    return "has a worker already, or is being restored, repaired or upgraded; try again when that is done."


def _orphaned(holder: dict[str, Any]) -> bool:
    """True when the process that wrote the lock still is that process and has another parent than its server.

    A worker started by hand has no server and is never an orphan, nor is one of which nothing can be known.
    """
    pid, server, birth = holder.get("pid"), holder.get("server"), holder.get("born")
    if not isinstance(pid, int) or not isinstance(server, int) or not birth or born(pid) != birth:
        return False
    return _status(pid).get("PPid") != str(server)


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
