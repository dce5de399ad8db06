"""What is due: trainings by count or by time, and features for pictures that have none."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection

from annotator.records import Job, Project
from annotator.settings import Settings
from annotator.store import Store, decisions, generations, images, jobs, projects
from annotator.store.clock import now_ms


class Triggers:
    """Asks for jobs when they are due; asking twice never doubles a job (`jobs.request`)."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._pictures_seen: dict[int, int] = {}  # project -> pictures when features were last asked for

    def fire(self, now: int | None = None) -> list[Job]:
        """Request every job that is due at `now` (ms) and return the new ones."""
        moment = now_ms() if now is None else now
        with self._store.read() as c:
            known = projects.list_all(c)
            # One that was put away had its jobs cancelled: when it is back, its pictures are looked at again.
            self._pictures_seen = {
                one.id: self._pictures_seen[one.id] for one in known if one.id in self._pictures_seen
            }
            wanted = [
                (project.id, kind, seq) for project in known for kind, seq in self._due(c, project, moment)
            ]
        made: list[Job] = []
        for project_id, kind, seq in wanted:
            ask = partial(jobs.request, project_id=project_id, kind=kind, wanted_seq=seq, now=moment)
            job, created = self._store.write(ask)
            made += [job] if created else []
        return made

    def _due(self, c: Connection, project: Project, now: int) -> list[tuple[str, int]]:
        due: list[tuple[str, int]] = []
        head = decisions.head_seq(c, project.id)
        count = images.count(c, project.id)
        if count != self._pictures_seen.get(project.id, 0):
            self._pictures_seen[project.id] = count
            due.append(("features", head))
        if self._training_is_due(c, project, now):
            due.append(("retrain", head))
        return due

    def _training_is_due(self, c: Connection, project: Project, now: int) -> bool:
        if any(job.kind == "retrain" for job in jobs.active(c, project.id)):
            return False
        last = jobs.latest(c, project.id, "retrain")
        current = generations.current(c, project.id)
        # A training that failed or was cancelled counts as tried: it is not repeated until something is new.
        watermark = max(current.up_to_seq if current else 0, (last.reached_seq or 0) if last else 0)
        new = decisions.count_since(c, project.id, watermark)
        if new == 0 or not any(count.positive for count in decisions.counts(c, project.id)):
            return False
        since = last.finished_at if last and last.finished_at else project.created_at
        # a clock that was ahead and is right again must not put the next training off until then
        waited = abs(now - since) >= self._settings.retrain_minutes * 60_000
        return waited or new >= self._settings.retrain_every
