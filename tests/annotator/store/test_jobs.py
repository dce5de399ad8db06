"""Jobs are done once, by one worker at a time, and taken over from the dead."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import IntegrityError

from annotator.errors import BadInput, Conflict, NotFound, StoreError
from annotator.records import Job, JobStatus, Project
from annotator.store import Store, jobs


def request(store: Store, project: Project, kind: str = "retrain", seq: int = 1) -> tuple[Job, bool]:
    return store.write(lambda c: jobs.request(c, project.id, kind, wanted_seq=seq, now=10))


def claim(store: Store, owner: str = "w", now: int = 100) -> Job | None:
    return store.write(lambda c: jobs.claim(c, owner=owner, lease_ms=50, now=now))


def test_a_queued_job_is_not_doubled_but_raised(store: Store, project: Project) -> None:
    first, created = request(store, project, seq=5)
    assert created and first.status is JobStatus.QUEUED
    again, created = request(store, project, seq=9)
    assert (again.id, created, again.wanted_seq) == (first.id, False, 9)
    assert request(store, project, seq=2)[0].wanted_seq == 9


def test_the_database_itself_refuses_a_second_queued_job(store: Store, project: Project) -> None:
    request(store, project)
    with pytest.raises((StoreError, IntegrityError), match="UNIQUE"):
        store.write(
            lambda c: (
                c.exec_driver_sql(
                    "INSERT INTO job (project_id, kind, status, wanted_seq, attempts, stage, done, total,"
                    " message, cancel_requested, curves, created_at)"
                    " VALUES (?, 'retrain', 'queued', 1, 0, '', 0, 0, '', 0, '[]', 1)",
                    (project.id,),
                ).rowcount
            )
        )


def test_one_may_be_queued_while_one_runs_and_waits_for_it(store: Store, project: Project) -> None:
    first = request(store, project)[0]
    running = claim(store)
    assert running is not None
    assert (running.id, running.status, running.owner) == (first.id, JobStatus.RUNNING, "w")
    assert (running.attempts, running.lease_until, running.started_at) == (1, 150, 100)
    queued, created = request(store, project)
    assert created and queued.id != first.id
    assert claim(store, "other", now=120) is None
    with store.read() as c:
        assert [job.id for job in jobs.active(c, project.id)] == [first.id, queued.id]
    store.write(lambda c: jobs.finish(c, first.id, owner="w", status=JobStatus.DONE, message="", now=130))
    taken = claim(store, "other", now=131)
    assert taken is not None and taken.id == queued.id


def test_features_come_before_retraining(store: Store, project: Project) -> None:
    request(store, project, "retrain")
    features = request(store, project, "features")[0]
    taken = claim(store)
    assert taken is not None and taken.id == features.id


def test_a_job_is_claimed_by_exactly_one_of_many_workers(store: Store, project: Project) -> None:
    request(store, project)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: claim(store, f"w{n}"), range(16)))
    assert sum(job is not None for job in taken) == 1


def test_a_job_of_a_dead_worker_is_taken_over_after_its_lease(store: Store, project: Project) -> None:
    request(store, project)
    claim(store, "dead", now=100)
    assert claim(store, "next", now=150) is None
    taken = claim(store, "next", now=151)
    assert taken is not None and (taken.owner, taken.attempts) == ("next", 2)
    for late in (
        lambda c: jobs.beat(c, taken.id, owner="dead", lease_ms=50, now=152),
        lambda c: jobs.finish(c, taken.id, owner="dead", status=JobStatus.DONE, message="", now=152),
    ):
        with pytest.raises(Conflict, match="no longer run by dead"):
            store.write(late)


def test_a_heartbeat_extends_the_lease_and_shows_progress(store: Store, project: Project) -> None:
    job = request(store, project)[0]
    claim(store, now=100)

    def beat(now: int, **progress: object) -> bool:
        return store.write(lambda c: jobs.beat(c, job.id, owner="w", lease_ms=50, now=now, **progress))  # type: ignore[arg-type]

    assert beat(140, stage="training", done=3, total=12, message="epoch 3", curves=[{"epoch": 3}]) is False
    assert beat(180) is False
    assert claim(store, "other", now=200) is None
    with store.read() as c:
        shown = jobs.get(c, job.id)
    assert (shown.stage, shown.done, shown.total, shown.message) == ("training", 3, 12, "epoch 3")
    assert (shown.curves, shown.heartbeat_at, shown.lease_until) == ([{"epoch": 3}], 180, 230)


def test_releasing_a_dead_owner_makes_its_jobs_due_at_once(store: Store, project: Project) -> None:
    request(store, project)
    claim(store, "dead", now=100)
    assert store.write(lambda c: jobs.release(c, "dead")) == 1
    with store.read() as c:
        assert jobs.active(c, project.id)[0].attempts == 0, "ending in order is no failed attempt"
    taken = claim(store, "next", now=110)
    assert taken is not None and taken.owner == "next"


def test_cancelling_a_queued_job_is_immediate(store: Store, project: Project) -> None:
    job = request(store, project)[0]
    assert store.write(lambda c: jobs.cancel(c, job.id, 20)).status is JobStatus.CANCELLED
    assert claim(store) is None
    assert request(store, project)[1] is True


def test_cancelling_a_running_job_asks_its_worker(store: Store, project: Project) -> None:
    job = request(store, project)[0]
    claim(store)
    asked = store.write(lambda c: jobs.cancel(c, job.id, 20))
    assert (asked.status, asked.cancel_requested) == (JobStatus.RUNNING, True)
    assert store.write(lambda c: jobs.beat(c, job.id, owner="w", lease_ms=50, now=120)) is True
    done = store.write(
        lambda c: jobs.finish(c, job.id, owner="w", status=JobStatus.CANCELLED, message="stopped", now=121)
    )
    assert (done.status, done.finished_at, done.lease_until) == (JobStatus.CANCELLED, 121, None)
    assert store.write(lambda c: jobs.cancel(c, job.id, 130)) == done


def test_finishing_notes_what_was_reached(store: Store, project: Project) -> None:
    job = request(store, project, seq=4)[0]
    claim(store)
    done = store.write(
        lambda c: jobs.finish(
            c, job.id, owner="w", status=JobStatus.DONE, message="ok", reached_seq=7, now=120
        )
    )
    assert (done.reached_seq, done.message) == (7, "ok")
    with store.read() as c:
        assert jobs.latest(c, project.id, "retrain") == done
        assert jobs.latest(c, project.id, "features") is None
        assert jobs.active(c, project.id) == []


def test_requests_that_make_no_sense_are_refused(store: Store, project: Project) -> None:
    with pytest.raises(BadInput, match='"dance" is not a kind of job'):
        request(store, project, "dance")
    with pytest.raises(NotFound, match="no project 99"):
        store.write(lambda c: jobs.request(c, 99, "retrain", wanted_seq=1, now=1))
    with pytest.raises(NotFound, match="no job 99"):
        store.write(lambda c: jobs.cancel(c, 99, 1))
    with pytest.raises(ValueError, match="cannot be finished as running"):
        store.write(lambda c: jobs.finish(c, 1, owner="w", status=JobStatus.RUNNING, message="", now=1))


PAUSES = (60, 300, 1800)


def crash(store: Store, now: int) -> list[Job]:
    """The only worker starts and finds what a killed one left."""
    return store.write(lambda c: jobs.rest_after_crash(c, pauses_ms=PAUSES, now=now))


def test_a_job_rests_longer_after_every_crash_and_a_queued_one_does_not_overtake_it(
    store: Store, project: Project
) -> None:
    first = request(store, project)[0]
    assert claim(store, "one", now=0) is not None
    now = 0
    for attempt, pause in ((1, 60), (2, 300), (3, 1800)):
        (rests,) = crash(store, now)
        assert (rests.id, rests.owner, rests.lease_until) == (first.id, None, now + pause)
        assert rests.stage == f"the worker died; attempt {attempt + 1} follows"
        request(store, project)
        assert claim(store, "two", now=now + pause) is None, "it rests, and the queued one waits for it"
        now += pause + 1
        again = claim(store, "two", now=now)
        assert again is not None and (again.id, again.attempts) == (first.id, attempt + 1)


def test_a_job_has_failed_at_once_when_its_last_attempt_has_killed_the_worker(
    store: Store, project: Project
) -> None:
    first = request(store, project)[0]
    now = 0
    for _ in PAUSES:
        assert claim(store, "one", now=now) is not None
        crash(store, now)
        now += max(PAUSES) + 1
    assert claim(store, "one", now=now) is not None
    (ended,) = crash(store, now)
    assert (ended.id, ended.status, ended.finished_at) == (first.id, JobStatus.FAILED, now)
    assert ended.message == "The worker died 4 times doing this; it is not tried again by itself."
    assert "follows" not in ended.stage and ended.reached_seq == first.wanted_seq
    assert claim(store, "two", now=now + 10**9) is None, "nobody takes it up again"
    another, created = request(store, project)
    assert created and another.id != first.id, "a person can ask for a new one"


def test_a_resting_job_is_not_put_to_rest_again_by_the_next_start(store: Store, project: Project) -> None:
    request(store, project)
    claim(store, "one", now=0)
    crash(store, 10)
    assert crash(store, 40) == []
    assert claim(store, "two", now=71) is not None


def test_a_person_wakes_a_resting_job_or_cancels_it_at_once(store: Store, project: Project) -> None:
    job = request(store, project)[0]
    claim(store, "one", now=0)
    crash(store, 10)
    store.write(lambda c: jobs.wake(c, job.id))
    woken = claim(store, "two", now=20)
    assert woken is not None and woken.id == job.id
    store.write(lambda c: jobs.wake(c, job.id))
    assert claim(store, "three", now=31) is None, "a job at work is not woken"
    crash(store, 40)
    assert store.write(lambda c: jobs.cancel(c, job.id, now=41)).status is JobStatus.CANCELLED


def test_a_job_that_a_worker_hands_back_in_order_is_due_at_once(store: Store, project: Project) -> None:
    request(store, project)
    claim(store, "one", now=0)
    store.write(lambda c: jobs.release(c, "one"))
    assert crash(store, 6) == []
    again = claim(store, "two", now=6)
    assert again is not None and again.attempts == 1


LONG_AGO = 365 * 86_400_000  # ms that the clock was ahead before somebody set it right


def test_a_job_that_rests_until_a_time_of_a_wrong_clock_does_not_rest_that_long(
    store: Store, project: Project
) -> None:
    for kind in jobs.KINDS:
        request(store, project, kind)
        claim(store, "one", now=LONG_AGO)
    crash(store, LONG_AGO)
    newer = request(store, project)[0]
    found = [claim(store, "two", now=100), claim(store, "two", now=100)]
    assert [job.kind for job in found if job is not None] == list(jobs.KINDS)
    assert newer.id not in {job.id for job in found if job is not None}, "one training at a time all the same"


def test_what_was_handed_back_or_woken_is_due_whatever_the_clock_says(store: Store, project: Project) -> None:
    job = request(store, project)[0]
    claim(store, "one", now=10_000)
    store.write(lambda c: jobs.release(c, "one"))
    assert claim(store, "two", now=9_000) is not None, "the clock went back by a second"
    crash(store, 10_000)
    store.write(lambda c: jobs.wake(c, job.id))
    assert claim(store, "three", now=9_000) is not None
