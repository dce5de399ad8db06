"""The worker's loop: one step at a time, until told to stop."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable

from annotator.errors import AnnotatorError, Conflict, Gone, ReadOnly, StoreError, is_full, no_room
from annotator.health import room
from annotator.keeping import purge
from annotator.records import Job, JobStatus
from annotator.settings import Settings
from annotator.store import Store, jobs, projects, workers
from annotator.store.clock import now_ms
from annotator.worker.keeping import Keeper
from annotator.worker.lease import Lease
from annotator.worker.memory import out_of_memory, short_of_memory
from annotator.worker.names import Names
from annotator.worker.signs import Signs
from annotator.worker.tasks import Tasks
from annotator.worker.triggers import Triggers

log = logging.getLogger(__name__)

PAUSES_MS = (60_000, 5 * 60_000, jobs.LONGEST_REST_MS)  # before the next attempt at a job whose worker died
MAX_ATTEMPTS = len(PAUSES_MS) + 1
IDLE_S = 0.5
REFUSED_S = 5.0
TIDY_S = 60.0  # between two looks for generations that are too many
PURGE_S = 60.0  # between two looks for projects that are being removed
WORK = {"retrain": "this training", "features": "reading these pictures"}


class Worker:
    """Takes due jobs one after the other.

    `step()` is the whole behaviour and takes no time of its own, so tests call it without threads or sleeps.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        shutdown: threading.Event | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.owner = f"worker-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.shutdown = shutdown or threading.Event()
        self._store = store
        self._settings = settings
        self._triggers = Triggers(store, settings)
        self._tasks = Tasks(store, settings)
        self._keeper = Keeper(store, settings)
        self._names = Names(store, settings)
        self._tidied = self._purged = float("-inf")
        self._signs = Signs(settings.stall_minutes * 60)
        self._beat = beat
        self._doing = "idle"

    def run(self) -> None:
        """Step until `shutdown` is set; a thread says all the while that we live and what we do."""
        pulse = threading.Thread(target=self._pulse, name="pulse", daemon=True)
        pulse.start()
        while not self.shutdown.is_set():
            if not self._stepped():
                self.shutdown.wait(IDLE_S)
        self._store.write(lambda c: jobs.release(c, self.owner))
        pulse.join()

    def _stepped(self) -> bool:
        """A step; while the database refuses (full disk, busy) the worker waits instead of dying."""
        try:
            return self.step()
        except ReadOnly:
            raise  # this process never writes again; the next one may
        except StoreError as error:
            log.warning("the worker waits %g s: %s", REFUSED_S, error)
            self.shutdown.wait(REFUSED_S)
            return False

    def step(self) -> bool:
        """Ask for what is due, take one job and do it; False when there was nothing to do."""
        self._signs.leave()
        self._tidy()
        self._triggers.fire()
        self._doing = "waits for room on the disk" if room(self._settings).low else "idle"
        if self._doing != "idle":
            return self._purge()  # which makes room
        lease_ms = int(self._settings.lease_s * 1000)
        job = self._store.write(lambda c: jobs.claim(c, owner=self.owner, lease_ms=lease_ms, now=now_ms()))
        if job is None:
            return self._purge() or self._names.refresh()
        self._do(job)
        return True

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied < TIDY_S:
            return
        self._tidied = time.monotonic()
        with self._store.read() as c:
            known = projects.list_all(c)
        for project in known:
            self._keeper.prune(project.id, now_ms())

    def _purge(self) -> bool:
        """Go on with removals of projects; True when something was removed."""
        if time.monotonic() - self._purged < PURGE_S:
            return False
        self._purged = time.monotonic()
        return bool(purge.due(self._store, self._settings, self._removed_some))

    def _removed_some(self, *_: object) -> None:
        """After each step of a removal; Conflict, with which it stops there, when the worker is to end."""
        self._signs.leave()
        if self.shutdown.is_set():
            raise Conflict("the worker ends; the next one goes on")

    def _do(self, job: Job) -> None:
        if job.attempts > MAX_ATTEMPTS:
            self._finish(job, JobStatus.FAILED, jobs.died(MAX_ATTEMPTS), job.wanted_seq)
            return
        lease = Lease(
            self._store,
            job,
            owner=self.owner,
            lease_s=self._settings.lease_s,
            shutdown=self.shutdown,
            sign=self._signs.leave,
        )
        with lease:
            self._doing = job.kind
            status, message, reached = self._outcome(job, lease)
        self._doing = "idle"
        if status is not None and not lease.lost:
            self._finish(job, status, message, reached)

    def _outcome(self, job: Job, lease: Lease) -> tuple[JobStatus | None, str, int]:
        """Run the task; the status is None when it finished the job itself or must be taken up again."""
        try:
            done = self._tasks.run(job, lease)
        except Gone as error:
            return JobStatus.CANCELLED, str(error), job.wanted_seq
        except AnnotatorError as error:
            return JobStatus.FAILED, str(error), job.wanted_seq
        except Exception as error:
            if out_of_memory(error):
                log.warning("job %s (%s) ran out of memory: %s", job.id, job.kind, error)
                return JobStatus.FAILED, short_of_memory(WORK[job.kind]), job.wanted_seq
            if is_full(error):
                return JobStatus.FAILED, str(no_room(f"{WORK[job.kind].capitalize()} failed")), job.wanted_seq
            log.exception("job %s (%s) failed", job.id, job.kind)
            return JobStatus.FAILED, f"{job.kind} failed: {type(error).__name__}: {error}", job.wanted_seq
        if done.finished:
            return None, done.message, done.reached_seq
        if lease.cancelled:
            return JobStatus.CANCELLED, "Cancelled; nothing was changed.", job.wanted_seq
        if lease.should_stop():
            return None, "", job.wanted_seq
        return JobStatus.DONE, done.message, done.reached_seq

    def _finish(self, job: Job, status: JobStatus, message: str, reached: int) -> None:
        self._store.write(
            lambda c: jobs.finish(
                c,
                job.id,
                owner=self.owner,
                status=status,
                message=message,
                reached_seq=reached,
                now=now_ms(),
            )
        )

    def _pulse(self) -> None:
        while True:
            if not self._signs.fresh():
                log.error("the worker has done nothing for %g minutes", self._settings.stall_minutes)
                return  # no heartbeat any more: the supervisor kills and restarts
            self._beat()
            try:
                self._store.write(lambda c: workers.beat(c, self.owner, doing=self._doing, now=now_ms()))
            except AnnotatorError:
                log.warning("the worker's sign of life could not be stored", exc_info=True)
            if self.shutdown.wait(2.0):
                return
