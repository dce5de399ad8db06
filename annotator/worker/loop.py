"""The worker's loop: one step at a time, until told to stop."""

from __future__ import annotations

import logging
import os
import threading
import uuid

from annotator.errors import AnnotatorError
from annotator.records import Job, JobStatus
from annotator.settings import Settings
from annotator.store import Store, jobs, workers
from annotator.store.clock import now_ms
from annotator.worker.lease import Lease
from annotator.worker.tasks import Tasks
from annotator.worker.triggers import Triggers

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
IDLE_S = 0.5


class Worker:
    """Takes due jobs one after the other.

    `step()` is the whole behaviour and takes no time of its own, so tests call it without threads or sleeps.
    """

    def __init__(self, store: Store, settings: Settings, *, shutdown: threading.Event | None = None) -> None:
        self.owner = f"worker-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.shutdown = shutdown or threading.Event()
        self._store = store
        self._settings = settings
        self._triggers = Triggers(store, settings)
        self._tasks = Tasks(store, settings)
        self._doing = "idle"

    def run(self) -> None:
        """Step until `shutdown` is set; a thread says all the while that we live and what we do."""
        pulse = threading.Thread(target=self._pulse, name="pulse", daemon=True)
        pulse.start()
        while not self.shutdown.is_set():
            if not self.step():
                self.shutdown.wait(IDLE_S)
        self._store.write(lambda c: jobs.release(c, self.owner, now_ms()))
        pulse.join()

    def step(self) -> bool:
        """Ask for what is due, take one job and do it; False when there was nothing to do."""
        self._triggers.fire()
        lease_ms = int(self._settings.lease_s * 1000)
        job = self._store.write(lambda c: jobs.claim(c, owner=self.owner, lease_ms=lease_ms, now=now_ms()))
        if job is None:
            return False
        self._do(job)
        return True

    def _do(self, job: Job) -> None:
        if job.attempts > MAX_ATTEMPTS:
            reason = f"The worker died {MAX_ATTEMPTS} times doing this; it is not tried again by itself."
            self._finish(job, JobStatus.FAILED, reason, job.wanted_seq)
            return
        lease = Lease(
            self._store, job, owner=self.owner, lease_s=self._settings.lease_s, shutdown=self.shutdown
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
        except AnnotatorError as error:
            return JobStatus.FAILED, str(error), job.wanted_seq
        except Exception as error:
            log.exception("job %s (%s) failed", job.id, job.kind)
            return JobStatus.FAILED, f"{job.kind} failed: {type(error).__name__}: {error}", job.wanted_seq
        if lease.cancelled:
            return JobStatus.CANCELLED, "Cancelled; nothing was changed.", job.wanted_seq
        if lease.should_stop():
            return None, "", job.wanted_seq
        return (None if done.finished else JobStatus.DONE), done.message, done.reached_seq

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
            try:
                self._store.write(lambda c: workers.beat(c, self.owner, doing=self._doing, now=now_ms()))
            except AnnotatorError:
                log.warning("the worker's sign of life could not be stored", exc_info=True)
            if self.shutdown.wait(2.0):
                return
