"""The worker as a process: low priority, one per data folder, ends with its parent, in order on SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import threading

from annotator import processes
from annotator.keeping import purge
from annotator.records import JobStatus
from annotator.settings import Settings
from annotator.store import LONG_PATIENCE_S, Store, jobs
from annotator.store.clock import now_ms
from annotator.worker.keeping import sweep
from annotator.worker.loop import PAUSES_MS, Worker
from annotator.worker.only_one import only_worker
from annotator.worker.signs import SERVER_PID, Beat

log = logging.getLogger(__name__)

ORPHAN_GRACE_S = 5.0


def run_worker(settings: Settings, *, with_parent: bool) -> None:
    """Run until SIGTERM, SIGINT or, `with_parent`, the end of the process that started us.

    StoreError when the data folder has a worker already.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    shutdown, beat = threading.Event(), Beat()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: shutdown.set())
    server = server_pid() if with_parent else None
    if server is not None:
        threading.Thread(target=_watch_parent, args=(server, shutdown), daemon=True).start()
    with only_worker(settings.data_dir, server=server, stop=shutdown) as alone:
        if not alone:
            return
        store = Store.open(settings, patience_s=LONG_PATIENCE_S)
        processes.stand_back()  # not the store's thread: who holds the database must not be kept waiting
        try:
            take_over(store)
            log.info("worker %s is ready", os.getpid())
            Worker(store, settings, shutdown=shutdown, beat=beat).run()
        finally:
            store.close()


def server_pid() -> int:
    """The server that started us, as it has told us; our parent of now may be who adopted us since."""
    told = os.environ.pop(SERVER_PID, "")
    return int(told) if told.isdigit() else os.getppid()


def take_over(store: Store) -> None:
    """Clear up after a worker that was killed; only for the one that holds the data folder.

    Its jobs rest for a while before the next attempt or, after the last one, have failed; its half-written
    files go.
    """
    for job in store.write(lambda c: jobs.rest_after_crash(c, pauses_ms=PAUSES_MS, now=now_ms())):
        log.warning("job %s: %s", job.id, job.message if job.status is JobStatus.FAILED else job.stage)
    sweep(store)
    purge.sweep(store)


def _watch_parent(parent: int, shutdown: threading.Event) -> None:
    """A killed server leaves no worker behind: end in order, and at the latest after a grace period."""
    while os.getppid() == parent:
        if shutdown.wait(1.0):
            return
    shutdown.set()
    threading.Event().wait(ORPHAN_GRACE_S)
    os._exit(1)
