"""The last step of a training: what happens when something else happens at that moment."""

from __future__ import annotations

from typing import Any

import pytest

from annotator.errors import DiskFull
from annotator.records import CellState, GenerationStatus, Job, JobStatus
from annotator.store import generations, jobs
from annotator.store.clock import now_ms
from annotator.worker.facts import end_message
from annotator.worker.lease import Lease
from annotator.worker.loop import Worker
from annotator.worker.tasks import Done
from tests.annotator.worker.drawn import Scenes
from tests.annotator.worker.driving import current, decide, drain, first_training, last, retrain, trained


def test_a_training_cancelled_while_it_is_published_changes_nothing_and_the_worker_lives(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = first_training(scenes, worker)
    retrain(scenes)
    real = end_message

    def cancel_last(*given: Any, **more: Any) -> str:
        scenes.store.write(lambda c: jobs.cancel(c, last(scenes).id, now_ms()))
        return real(*given, **more)

    monkeypatch.setattr("annotator.worker.publishing.end_message", cancel_last)
    drain(worker)
    assert last(scenes).status is JobStatus.CANCELLED
    assert current(scenes) == before
    assert len(list((scenes.settings.data_dir / before.folder).parent.iterdir())) == 1


def test_a_cancel_that_comes_after_the_switch_is_too_late_and_harms_nobody(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = first_training(scenes, worker)
    retrain(scenes)
    real = worker._tasks.run

    def cancel_after(job: Job, lease: Lease) -> Done:
        done = real(job, lease)
        lease.cancelled = True  # asked for in time, heard when all was done
        return done

    monkeypatch.setattr(worker._tasks, "run", cancel_after)
    drain(worker)
    after = current(scenes)
    assert last(scenes).status is JobStatus.DONE and after is not None and after.id > before.id


def test_a_disk_that_is_full_at_the_switch_gets_the_room_of_the_candidate_back(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = first_training(scenes, worker)
    retrain(scenes)

    def full(*_given: Any, **_more: Any) -> None:
        raise DiskFull("The disk is full.")

    monkeypatch.setattr(generations, "publish", full)
    drain(worker)
    assert last(scenes).status is JobStatus.FAILED and current(scenes) == before
    assert len(list((scenes.settings.data_dir / before.folder).parent.iterdir())) == 1


def test_a_training_that_went_on_from_a_generation_rejected_meanwhile_is_not_used(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody goes back from generation 2 to 1 while 3 is trained, which began at the weights of 2."""
    first = first_training(scenes, worker)
    decide(scenes, ["030.jpg"], "red ball", CellState.NEGATIVE)
    second = trained(scenes, worker)
    assert second.metrics["warm_start"] is True
    decide(scenes, ["031.jpg"], "red ball", CellState.NEGATIVE)
    retrain(scenes)
    real = end_message

    def go_back(*given: Any, **more: Any) -> str:
        scenes.store.write(lambda c: generations.switch(c, scenes.project.id, first.id))
        return real(*given, **more)

    monkeypatch.setattr("annotator.worker.publishing.end_message", go_back)
    drain(worker)
    with scenes.store.read() as c:
        newest = generations.history(c, scenes.project.id)[0]
    assert newest.id > second.id and newest.status is GenerationStatus.REJECTED
    job, serves = last(scenes), current(scenes)
    assert job.status is JobStatus.DONE and f"generation {second.id}, which was rejected" in job.message
    assert serves is not None and serves.id == first.id
