"""A GPU that was asked for and is not there: the CPU does it, and says so."""

from __future__ import annotations

import pytest
import torch

from annotator.records import JobStatus
from annotator.worker import devices, tasks
from annotator.worker.devices import gpu_failed, usable_device
from annotator.worker.loop import Worker
from dsrb_core.backbones import Backbone
from tests.annotator.worker.drawn import Scenes
from tests.annotator.worker.driving import ANSWERED, current, drain, last, retrain


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize("wanted", ["auto", "cpu", "nonsense"])
def test_what_is_no_gpu_passes_as_it_is(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    assert usable_device(wanted) == (wanted, "")


@pytest.mark.parametrize(
    ("wanted", "count", "there"),
    [("cuda", 0, "no GPU"), ("cuda:1", 0, "no GPU"), ("cuda:1", 1, "1 GPU "), ("cuda:9", 2, "2 GPUs")],
)
def test_a_gpu_that_is_not_there_becomes_the_cpu_and_a_sentence(
    wanted: str, count: int, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, count)
    device, notice = usable_device(wanted)
    assert device == "cpu" and wanted in notice and there in notice


def test_a_gpu_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2)
    assert usable_device("cuda:1") == ("cuda:1", "")


def test_both_jobs_tell_that_they_ran_on_the_cpu(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    settings = scenes.settings.model_copy(
        update={"device": "cuda", "retrain_every": 10**6, "retrain_minutes": 10.0**6, "epochs": 2}
    )
    scenes.answer(ANSWERED)
    retrain(scenes)
    drain(Worker(scenes.store, settings))
    assert current(scenes) is not None
    for kind in ("features", "retrain"):
        job = last(scenes, kind)
        assert job.status is JobStatus.DONE
        assert "It runs on the CPU: the device cuda was asked for, but torch sees no GPU" in job.message


def test_only_errors_of_the_driver_count_as_a_lost_gpu() -> None:
    assert gpu_failed(RuntimeError("CUDA error: unspecified launch failure"))
    assert not gpu_failed(RuntimeError("shapes do not fit")) and not gpu_failed(ValueError("CUDA error"))


def test_a_gpu_that_vanishes_in_a_training_is_replaced_by_the_cpu_once(
    scenes: Scenes, worker: Worker, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.answer(ANSWERED)
    drain(worker)
    worker._tasks._device = "cuda"
    loaded: list[str] = []
    failing = [RuntimeError("CUDA error: the launch timed out and was terminated")]

    def load(_name: str, *, device: str, **_rest: object) -> Backbone:
        loaded.append(device)
        return backbone

    def fit(*given: object, **more: object) -> object:
        if failing:
            raise failing.pop()
        return real(*given, **more)  # type: ignore[arg-type]

    real = tasks.fit
    monkeypatch.setattr(tasks, "load_backbone", load)
    monkeypatch.setattr(tasks, "fit", fit)
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.DONE, job.message
    assert loaded == ["cpu"] and "The GPU failed" in job.message
    failing.append(RuntimeError("CUDA error: again"))
    retrain(scenes)
    drain(worker)
    assert last(scenes).status is JobStatus.FAILED, "on the CPU such an error is what it is"
    assert devices.gpu_failed(RuntimeError("CUDA error: again"))
