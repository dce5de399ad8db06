"""The worker as a process: low priority, ends with its parent, ends in order on SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import threading

from annotator.settings import Settings
from annotator.store import Store
from annotator.worker.loop import Worker

log = logging.getLogger(__name__)

NICENESS = 10
ORPHAN_GRACE_S = 5.0


def run_worker(settings: Settings, *, with_parent: bool) -> None:
    """Run until SIGTERM, SIGINT or, `with_parent`, the end of the process that started us."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    shutdown = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: shutdown.set())
    if with_parent:
        threading.Thread(target=_watch_parent, args=(os.getppid(), shutdown), daemon=True).start()
    store = Store.open(settings)
    try:
        log.info("worker %s is ready", os.getpid())
        Worker(store, settings, shutdown=shutdown).run()
    finally:
        store.close()


def _watch_parent(parent: int, shutdown: threading.Event) -> None:
    """A killed server leaves no worker behind: end in order, and at the latest after a grace period."""
    while os.getppid() == parent:
        if shutdown.wait(1.0):
            return
    shutdown.set()
    threading.Event().wait(ORPHAN_GRACE_S)
    os._exit(1)
