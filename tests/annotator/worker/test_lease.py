from __future__ import annotations

import threading

import pytest

from annotator.records import Job
from annotator.store import Store, jobs
from annotator.store.clock import now_ms
from annotator.worker.lease import Lease
from tests.annotator.worker.drawn import Scenes


@pytest.fixture
def job(scenes: Scenes) -> Job:
    def work(c):  # type: ignore[no-untyped-def]
        while jobs.claim(c, owner="cleaner", lease_ms=10**6, now=now_ms()):
            pass
        jobs.request(c, scenes.project.id, "retrain", wanted_seq=0, now=now_ms())
        return jobs.claim(c, owner="me", lease_ms=60_000, now=now_ms())

    claimed: Job = scenes.store.write(work)
    return claimed


def lease_for(store: Store, job: Job, shutdown: threading.Event | None = None) -> Lease:
    return Lease(store, job, owner="me", lease_s=60, shutdown=shutdown or threading.Event())


def latest(scenes: Scenes) -> Job:
    with scenes.store.read() as c:
        found = jobs.latest(c, scenes.project.id, "retrain")
    assert found is not None
    return found


def test_a_new_stage_and_every_point_of_the_curve_are_stored_at_once(scenes: Scenes, job: Job) -> None:
    with lease_for(scenes.store, job) as lease:
        lease.report("training", total=3)
        lease.report(done=1, total=3, point={"epoch": 1, "loss": 0.5})
        stored = latest(scenes)
    assert (stored.stage, stored.done, stored.total) == ("training", 1, 3)
    assert stored.curves == [{"epoch": 1, "loss": 0.5}]


def test_a_cancelled_job_tells_its_task_to_stop(scenes: Scenes, job: Job) -> None:
    with lease_for(scenes.store, job) as lease:
        assert not lease.should_stop()
        scenes.store.write(lambda c: jobs.cancel(c, job.id, now_ms()))
        lease.report("training")
        assert lease.cancelled and lease.should_stop()


def test_a_job_taken_over_by_another_worker_is_lost_to_the_first(scenes: Scenes, job: Job) -> None:
    with lease_for(scenes.store, job) as lease:
        scenes.store.write(lambda c: jobs.release(c, "me"))
        scenes.store.write(lambda c: jobs.claim(c, owner="other", lease_ms=60_000, now=now_ms() + 1))
        lease.report("training")
        assert lease.lost and lease.should_stop()
    assert latest(scenes).owner == "other"


def test_shutdown_stops_the_task_without_cancelling_the_job(scenes: Scenes, job: Job) -> None:
    shutdown = threading.Event()
    with lease_for(scenes.store, job, shutdown) as lease:
        shutdown.set()
        assert lease.should_stop() and not lease.cancelled
