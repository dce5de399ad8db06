"""Jobs: what is due, who does it, and how far it is.

A job belongs to the worker that claimed it until its lease ends; every heartbeat extends the lease.
`attempts` counts claims, the first one included. A running job without an owner rests after a crash of its
worker: the end of its lease is the moment of the next attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, insert, or_, select, update
from sqlalchemy.orm import aliased

from annotator.errors import BadInput, Conflict, NotFound
from annotator.records import Job, JobStatus
from annotator.store import projects
from annotator.store.rows import fields, known_id
from db import schema

_TABLE = schema.Job
_COLUMNS = (
    _TABLE.id,
    _TABLE.project_id,
    _TABLE.kind,
    _TABLE.status,
    _TABLE.wanted_seq,
    _TABLE.reached_seq,
    _TABLE.owner,
    _TABLE.lease_until,
    _TABLE.heartbeat_at,
    _TABLE.attempts,
    _TABLE.stage,
    _TABLE.done,
    _TABLE.total,
    _TABLE.message,
    _TABLE.cancel_requested,
    _TABLE.curves,
    _TABLE.created_at,
    _TABLE.started_at,
    _TABLE.finished_at,
)
KINDS = ("features", "retrain")  # in the order they are worked on
LONGEST_REST_MS = 30 * 60_000  # after a crash
_ENDED = 0  # end of a lease that is over whatever the clock says
_QUEUED = JobStatus.QUEUED.value
_RUNNING = JobStatus.RUNNING.value


def request(c: Connection, project_id: int, kind: str, *, wanted_seq: int, now: int) -> tuple[Job, bool]:
    """Queue a job; one already queued is returned instead, its `wanted_seq` raised, and False."""
    if kind not in KINDS:
        raise BadInput(f'"{kind}" is not a kind of job; there are {" and ".join(KINDS)}.')
    projects.get(c, project_id)
    queued = and_(_TABLE.project_id == project_id, _TABLE.kind == kind, _TABLE.status == _QUEUED)
    found = c.execute(select(_TABLE.id, _TABLE.wanted_seq).where(queued)).one_or_none()
    if found is not None:
        c.execute(
            update(_TABLE).where(_TABLE.id == found.id).values(wanted_seq=max(found.wanted_seq, wanted_seq))
        )
        return get(c, found.id), False
    values = {
        "project_id": project_id,
        "kind": kind,
        "status": _QUEUED,
        "wanted_seq": wanted_seq,
        "created_at": now,
    }
    return get(c, c.execute(insert(_TABLE).values(values).returning(_TABLE.id)).scalar_one()), True


def get(c: Connection, job_id: int) -> Job:
    """The job with this id, or NotFound."""
    row = c.execute(select(*_COLUMNS).where(_TABLE.id == known_id(job_id, "job"))).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return _job(row)


def claim(c: Connection, *, owner: str, lease_ms: int, now: int) -> Job | None:
    """Take the next due job: queued, or running with a lease that has ended; features before retrain.

    A job stays queued while another of its project and kind is running, or its project is archived. A lease
    that ends later than any can is of a clock that was wrong then, and counts as ended.
    """
    other = aliased(_TABLE)
    latest_end = now + max(lease_ms, LONGEST_REST_MS)
    busy = (
        select(other.id)
        .where(
            other.project_id == _TABLE.project_id,
            other.kind == _TABLE.kind,
            other.status == _RUNNING,
            other.lease_until.between(now, latest_end),
        )
        .exists()
    )
    due = or_(
        and_(_TABLE.status == _QUEUED, ~busy),
        and_(_TABLE.status == _RUNNING, ~_TABLE.lease_until.between(now, latest_end)),
    )
    archived = select(schema.Project.id).where(schema.Project.archived_at.is_not(None))
    order = case({kind: place for place, kind in enumerate(KINDS)}, value=_TABLE.kind, else_=len(KINDS))
    due = and_(due, _TABLE.project_id.not_in(archived))
    chosen = select(_TABLE.id).where(due).order_by(order, _TABLE.id).limit(1).scalar_subquery()
    statement = (
        update(_TABLE)
        .where(_TABLE.id == chosen)
        .values(
            status=_RUNNING,
            owner=owner,
            lease_until=now + lease_ms,
            heartbeat_at=now,
            started_at=now,
            attempts=_TABLE.attempts + 1,
            stage="",
            done=0,
            total=0,
        )
        .returning(_TABLE.id)
    )
    taken = c.execute(statement).scalar_one_or_none()
    return None if taken is None else get(c, taken)


def beat(
    c: Connection,
    job_id: int,
    *,
    owner: str,
    lease_ms: int,
    now: int,
    stage: str | None = None,
    done: int | None = None,
    total: int | None = None,
    message: str | None = None,
    curves: Sequence[dict[str, Any]] | None = None,
) -> bool:
    """Extend the lease and note progress; says whether a person asked to cancel. Conflict when taken over."""
    given = {"stage": stage, "done": done, "total": total, "message": message}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if curves is not None:
        values["curves"] = list(curves)
    values.update(lease_until=now + lease_ms, heartbeat_at=now)
    statement = update(_TABLE).where(_owned(job_id, owner)).values(values).returning(_TABLE.cancel_requested)
    asked = c.execute(statement).scalar_one_or_none()
    if asked is None:
        raise Conflict(f"Job {job_id} is no longer run by {owner}.")
    return bool(asked)


def finish(
    c: Connection,
    job_id: int,
    *,
    owner: str,
    status: JobStatus,
    message: str,
    reached_seq: int | None = None,
    now: int,
) -> Job:
    """End a job as done, failed or cancelled. Conflict when another worker has taken it over."""
    if status in (JobStatus.QUEUED, JobStatus.RUNNING):
        raise ValueError(f"A job cannot be finished as {status.value}.")
    values = {
        "status": status.value,
        "message": message,
        "reached_seq": reached_seq,
        "lease_until": None,
        "finished_at": now,
    }
    changed = c.execute(update(_TABLE).where(_owned(job_id, owner)).values(values).returning(_TABLE.id))
    if changed.scalar_one_or_none() is None:
        raise Conflict(f"Job {job_id} is no longer run by {owner}.")
    return get(c, job_id)


def cancel(c: Connection, job_id: int, now: int) -> Job:
    """Cancel a queued job at once, ask a running one to stop; a finished job stays as it is."""
    job = get(c, job_id)
    if job.status is JobStatus.QUEUED or resting(job):
        values = {"status": JobStatus.CANCELLED.value, "finished_at": now, "cancel_requested": True}
        c.execute(update(_TABLE).where(_TABLE.id == job_id).values(values))
    elif job.status is JobStatus.RUNNING:
        c.execute(update(_TABLE).where(_TABLE.id == job_id).values(cancel_requested=True))
    return get(c, job_id)


def active(c: Connection, project_id: int) -> list[Job]:
    """Queued and running jobs of a project, running ones first."""
    query = (
        select(*_COLUMNS)
        .where(_TABLE.project_id == project_id, _TABLE.status.in_((_QUEUED, _RUNNING)))
        .order_by(case((_TABLE.status == _RUNNING, 0), else_=1), _TABLE.id)
    )
    return [_job(row) for row in c.execute(query)]


def latest(c: Connection, project_id: int, kind: str) -> Job | None:
    """The newest job of a kind, whatever became of it."""
    query = select(*_COLUMNS).where(_TABLE.project_id == project_id, _TABLE.kind == kind)
    row = c.execute(query.order_by(_TABLE.id.desc()).limit(1)).one_or_none()
    return None if row is None else _job(row)


def release(c: Connection, owner: str) -> int:
    """Hand back the jobs of a worker that ends in order, so that they are due now; returns how many.

    Ending in order is no failed attempt: the claim is taken back from `attempts`.
    """
    mine = and_(_TABLE.owner == owner, _TABLE.status == _RUNNING)
    values = {"lease_until": _ENDED, "attempts": _TABLE.attempts - 1, "owner": None}
    return int(c.execute(update(_TABLE).where(mine).values(values)).rowcount)


def resting(job: Job) -> bool:
    """True for a job whose worker crashed and that waits for its next attempt."""
    return job.status is JobStatus.RUNNING and job.owner is None


def rest_after_crash(c: Connection, *, pauses_ms: Sequence[int], now: int) -> list[Job]:
    """Take every running job from its owner, who is dead: for the only worker there is, at its start.

    After its n-th attempt a job rests for the n-th pause, so that a job that kills its worker does not do so
    in a loop; after as many attempts as pauses and one more it has failed.
    """
    query = select(*_COLUMNS).where(_TABLE.status == _RUNNING, _TABLE.owner.is_not(None))
    found = [_job(row) for row in c.execute(query)]
    for job in found:
        values: dict[str, Any] = {"owner": None, "done": 0, "total": 0}
        if job.attempts > len(pauses_ms):
            values |= {
                "status": JobStatus.FAILED.value,
                "message": died(job.attempts),
                "reached_seq": job.wanted_seq,
                "lease_until": None,
                "finished_at": now,
            }
        else:
            rest = pauses_ms[max(job.attempts, 1) - 1]
            attempt = f"the worker died; attempt {job.attempts + 1} follows"
            values |= {"lease_until": now + rest, "stage": attempt}
        c.execute(update(_TABLE).where(_TABLE.id == job.id).values(values))
    return [get(c, job.id) for job in found]


def died(attempts: int) -> str:
    """What is told of a job that was given up."""
    return f"The worker died {attempts} times doing this; it is not tried again by itself."


def wake(c: Connection, job_id: int) -> None:
    """End the rest of a job after a crash: a person asked for it now."""
    resting_job = and_(_TABLE.id == job_id, _TABLE.status == _RUNNING, _TABLE.owner.is_(None))
    c.execute(update(_TABLE).where(resting_job).values(lease_until=_ENDED))


def _owned(job_id: int, owner: str) -> Any:
    return and_(_TABLE.id == known_id(job_id, "job"), _TABLE.owner == owner, _TABLE.status == _RUNNING)


def _job(row: Any) -> Job:
    values = fields(row)
    return Job(**{**values, "status": JobStatus(values["status"])})
