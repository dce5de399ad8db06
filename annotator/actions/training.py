"""The learning loop as a person sees it: status, train now, cancel."""

from __future__ import annotations

from sqlalchemy import Connection

from annotator.actions.views import Counts, RetrainAnswer, Status, WorkerView
from annotator.records import Job, JobStatus
from annotator.settings import Settings
from annotator.store import Store, categories, decisions, generations, images, jobs, projects, workers
from annotator.store.clock import now_ms

WORKER_ALIVE_MS = 10_000
RETRAIN = "retrain"


def status(c: Connection, project_id: int, *, settings: Settings, now: int, problem: str = "") -> Status:
    """Everything the status line shows; counts come from counters, never from counting rows.

    `problem` says what is wrong with the current generation.
    """
    projects.get(c, project_id)
    new = decisions.count_since(c, project_id, learned_up_to(c, project_id))
    return Status(
        counts=_counts(c, project_id),
        generation=generations.current(c, project_id),
        new_decisions=new,
        trains_after=max(0, settings.retrain_every - new),
        job=_shown_job(c, project_id),
        worker=_worker(c, now),
        problem=problem,
    )


def learned_up_to(c: Connection, project_id: int) -> int:
    """The last decision that a training has used or tried."""
    current = generations.current(c, project_id)
    last = jobs.latest(c, project_id, RETRAIN)
    tried = (last.reached_seq or 0) if last is not None else 0
    return max(current.up_to_seq if current is not None else 0, tried)


def _counts(c: Connection, project_id: int) -> Counts:
    active = {category.id for category in categories.list_active(c, project_id)}
    rows = [count for count in decisions.counts(c, project_id) if count.category_id in active]
    total = images.count(c, project_id)
    positive = sum(count.positive for count in rows)
    negative = sum(count.negative for count in rows)
    unsure = sum(count.unsure for count in rows)
    return Counts(
        images=total,
        decided_images=decisions.decided_images(c, project_id),
        positive=positive,
        negative=negative,
        unsure=unsure,
        unknown=total * len(active) - positive - negative - unsure,
    )


def _shown_job(c: Connection, project_id: int) -> Job | None:
    active = jobs.active(c, project_id)
    for state in (JobStatus.RUNNING, JobStatus.QUEUED):
        found = [job for job in active if job.status is state]
        if found:  # a training matters more than the features that come before it
            return next((job for job in found if job.kind == RETRAIN), found[0])
    # A training that ended tells more than the reading of pictures that every start looks for.
    return jobs.latest(c, project_id, RETRAIN) or jobs.latest(c, project_id, "features")


def _worker(c: Connection, now: int) -> WorkerView:
    beat = workers.latest(c, now=now)
    if beat is None or beat[1] > now + workers.AHEAD_MS:
        return WorkerView()  # never seen, or nobody knows when: the clock was set back
    _, seen_at, doing = beat
    ago = max(0, now - seen_at)
    return WorkerView(alive=ago < WORKER_ALIVE_MS, seen_ms_ago=ago, doing=doing)


def request_retrain(store: Store, project_id: int, *, behind: bool = False) -> RetrainAnswer:
    """Ask for a training; however often it is pressed, at most one runs and one waits.

    `behind` says that the current generation is damaged or lacks pictures, so that the same answers are worth
    training on again.
    """
    return store.write(lambda c: _request(c, project_id, behind=behind, now=now_ms()))


def _request(c: Connection, project_id: int, *, behind: bool, now: int) -> RetrainAnswer:
    projects.get(c, project_id)
    refused = _nothing_to_learn(c, project_id)
    if refused:
        return RetrainAnswer(job=None, created=False, message=refused)
    head = decisions.head_seq(c, project_id)
    active = [job for job in jobs.active(c, project_id) if job.kind == RETRAIN]
    running = next((job for job in active if job.status is JobStatus.RUNNING), None)
    waiting = next((job for job in active if job.status is JobStatus.QUEUED), None)
    if running is not None and jobs.resting(running):
        jobs.wake(c, running.id)
        again = "The worker died during the last attempt; it is tried again now."
        return RetrainAnswer(job=jobs.get(c, running.id), created=False, message=again)
    if (
        running is not None
        and waiting is None
        and running.wanted_seq >= head
        and not running.cancel_requested
    ):
        return RetrainAnswer(
            job=running, created=False, message="Training already runs on everything decided so far."
        )
    if running is None and waiting is None and not behind:
        refused = _nothing_new(c, project_id, head)
        if refused:
            return RetrainAnswer(job=None, created=False, message=refused)
    job, created = jobs.request(c, project_id, RETRAIN, wanted_seq=head, now=now)
    if not created:
        message = "A training is already waiting to start; it will use everything decided so far."
    elif running is not None:
        message = "Training runs; one more with the newer decisions starts right after it."
    else:
        message = "Training is queued and starts as soon as the worker is free."
    return RetrainAnswer(job=job, created=created, message=message)


def _nothing_to_learn(c: Connection, project_id: int) -> str:
    counts = decisions.counts(c, project_id)
    if not any(count.positive + count.negative for count in counts):
        return "Nothing is labelled yet; answer yes or no for a few pictures first, then train."
    if not any(count.positive for count in counts):
        return "There is no yes yet; answer yes for at least one picture first, then train."
    return ""


def _nothing_new(c: Connection, project_id: int, head: int) -> str:
    current = generations.current(c, project_id)
    if current is None or current.up_to_seq < head:
        return ""
    return f"Nothing was decided since generation {current.id}; there is nothing new to learn."


def cancel(store: Store, project_id: int) -> str:
    """Cancel the waiting and the running training and say what that means."""
    return store.write(lambda c: _cancel(c, project_id, now=now_ms()))


def _cancel(c: Connection, project_id: int, *, now: int) -> str:
    projects.get(c, project_id)
    found = [job for job in jobs.active(c, project_id) if job.kind == RETRAIN]
    for job in found:
        jobs.cancel(c, job.id, now=now)
    if any(job.status is JobStatus.RUNNING for job in found):
        return "Training stops at its next step; the suggestions stay as they are."
    return "The waiting training is cancelled." if found else "No training is running or waiting."
