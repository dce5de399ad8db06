"""A worker whose main thread hangs stops beating; one that works keeps beating however long a step takes."""

from __future__ import annotations

import threading

import pytest

from annotator.errors import DiskFull
from annotator.records import JobStatus
from annotator.store import jobs
from annotator.worker import loop
from annotator.worker.loop import Worker
from annotator.worker.process import take_over
from annotator.worker.tasks import Done
from tests.annotator.processes import until
from tests.annotator.worker.drawn import Scenes
from tests.annotator.worker.driving import ANSWERED, current, drain, last, retrain


def test_a_hanging_step_stops_the_beat_and_the_next_worker_marks_and_takes_the_job(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.answer(ANSWERED)
    drain(worker)
    retrain(scenes)
    hang, beats = threading.Event(), list[int]()
    hanging = Worker(
        scenes.store,
        worker._settings.model_copy(update={"stall_minutes": 0.02}),
        beat=lambda: beats.append(1),
    )
    hanging._tasks._backbone = worker._tasks._backbone

    def never(*_given: object) -> Done:
        hang.wait()
        return Done("late", 0)

    monkeypatch.setattr(hanging._tasks, "_retrain", never)
    monkeypatch.setattr(hanging.shutdown, "wait", lambda seconds=None: threading.Event().wait(0.05) or False)
    thread = threading.Thread(target=hanging.run, daemon=True)
    thread.start()
    until(lambda: last(scenes).status is JobStatus.RUNNING and beats)
    until(lambda: not hanging._signs.fresh())
    until(lambda: not any(one.name == "pulse" and one.is_alive() for one in threading.enumerate()))
    silent = len(beats)
    threading.Event().wait(0.3)
    assert len(beats) == silent, "no thread of its own speaks for a main thread that hangs"
    take_over(scenes.store)  # the supervisor has killed it and started another one
    rests = last(scenes)
    assert rests.owner is None and rests.stage == "the worker died; attempt 2 follows"
    scenes.store.write(lambda c: jobs.wake(c, rests.id))
    drain(worker)
    assert last(scenes).status is JobStatus.DONE and current(scenes) is not None
    hanging.shutdown.set()
    hang.set()
    thread.join(15)


def test_what_a_task_asks_and_reports_are_signs_of_life(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    monkeypatch.setattr(worker._signs, "leave", lambda: left.append(1))
    scenes.answer(ANSWERED)
    retrain(scenes)
    drain(worker)
    assert last(scenes).status is JobStatus.DONE
    assert len(left) > 20


def test_a_database_that_refuses_makes_the_worker_wait_not_die(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def step() -> bool:
        steps.append("step")
        if len(steps) == 1:
            raise DiskFull("the disk is full")
        worker.shutdown.set()
        return False

    monkeypatch.setattr(loop, "REFUSED_S", 0.01)
    monkeypatch.setattr(worker, "step", step)
    worker.run()
    assert len(steps) == 2


def test_a_full_disk_in_a_training_is_one_sentence(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.answer(ANSWERED)

    def full(*_given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("annotator.worker.tasks_generation.save_model", full)
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.FAILED and "the disk is full" in job.message
    assert "Errno" not in job.message
    home = scenes.settings.data_dir / "projects" / str(scenes.project.id) / "generations"
    assert list(home.iterdir()) == []
