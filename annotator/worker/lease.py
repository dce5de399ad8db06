"""Holding a job: a heartbeat, its progress for the page, and the two reasons to stop early."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from annotator.errors import AnnotatorError, Conflict
from annotator.records import Job
from annotator.store import Store, jobs
from annotator.store.clock import now_ms

log = logging.getLogger(__name__)


@dataclass
class _Progress:
    """What the next heartbeat carries."""

    stage: str = ""
    done: int = 0
    total: int = 0
    message: str = ""
    curves: list[dict[str, Any]] = field(default_factory=list)


class Lease:
    """A job that is ours for as long as we say so.

    A thread renews the lease three times per lease length and carries the progress along, so that a task
    reports as often as it likes without a write each time. When the job was cancelled, taken over by another
    worker or the process shuts down, `should_stop()` turns True and the task ends at its next convenient
    point.
    """

    def __init__(
        self,
        store: Store,
        job: Job,
        *,
        owner: str,
        lease_s: float,
        shutdown: threading.Event,
        sign: Callable[[], None] = lambda: None,
    ) -> None:
        self.job = job
        self.owner = owner
        self._store = store
        self._lease_ms = int(lease_s * 1000)
        self._interval = min(1.0, lease_s / 3)
        self._shutdown = shutdown
        self._sign = sign
        self._closed = threading.Event()
        self._progress = _Progress(stage=job.stage, curves=list(job.curves))
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._beat_forever, name=f"lease-{job.id}", daemon=True)
        self.cancelled = False
        self.lost = False

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()

    @property
    def shutting_down(self) -> bool:
        """True when the process was told to end; the job is to be taken up again at the next start."""
        return self._shutdown.is_set()

    def should_stop(self) -> bool:
        """True when the task should end at its next convenient point; asking is a sign of life."""
        self._sign()
        return self.cancelled or self.lost or self.shutting_down

    def report(
        self,
        stage: str | None = None,
        *,
        done: int = 0,
        total: int = 0,
        message: str = "",
        point: dict[str, Any] | None = None,
    ) -> None:
        """Say where the task is; `point` is one more epoch of the curves. A new stage is written at once."""
        self._sign()
        with self._guard:
            changed = stage is not None and stage != self._progress.stage
            if stage is not None:
                self._progress.stage = stage
            self._progress.done, self._progress.total = done, total
            self._progress.message = message or ("" if changed else self._progress.message)
            if point is not None:
                self._progress.curves = [*self._progress.curves, point]
        if changed or point is not None:
            self._beat()

    def clear_curves(self) -> None:
        """Forget the curves of an earlier attempt that starts over."""
        with self._guard:
            self._progress.curves = []

    def _beat_forever(self) -> None:
        while not self._closed.wait(self._interval):
            self._beat()

    def _beat(self) -> None:
        with self._guard:
            progress = _Progress(**vars(self._progress))
        try:
            if self._store.write(
                lambda c: jobs.beat(
                    c,
                    self.job.id,
                    owner=self.owner,
                    lease_ms=self._lease_ms,
                    now=now_ms(),
                    stage=progress.stage,
                    done=progress.done,
                    total=progress.total,
                    message=progress.message,
                    curves=progress.curves,
                )
            ):
                self.cancelled = True
        except Conflict:
            self.lost = True
        except AnnotatorError:
            # A full disk or a locked database must not kill the task: the lease may run out, no more.
            log.warning("job %s: heartbeat could not be stored", self.job.id, exc_info=True)
            time.sleep(self._interval)
