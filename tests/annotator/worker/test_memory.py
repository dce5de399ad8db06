"""Running out of memory: half the batch, at most three times, then one sentence."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from annotator.errors import NothingToLearn
from annotator.records import JobStatus
from annotator.worker import tasks
from annotator.worker.loop import Worker
from annotator.worker.memory import HALVINGS, fit_in_memory, out_of_memory, smaller
from dsrb_core.config import TrainConfig
from dsrb_core.trainer import fit
from tests.annotator.worker.drawn import Scenes
from tests.annotator.worker.driving import ANSWERED, current, drain, first_training, last, retrain


class Hungry:
    """A training that fits into memory from the `enough`-th try on."""

    def __init__(self, enough: int, error: BaseException) -> None:
        self.enough, self.error = enough, error
        self.batches: list[int] = []

    def __call__(self, training: TrainConfig) -> object:
        self.batches.append(training.batch_size)
        if len(self.batches) < self.enough:
            raise self.error
        return "fitted"


ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("std::bad_alloc"),
    OSError(12, "Cannot allocate memory"),
    ImportError("libfaiss.so: failed to map segment from shared object"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_running_out_of_memory_looks_like(error: BaseException) -> None:
    assert out_of_memory(error)


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), RuntimeError("shape mismatch"), OSError(28, "No space left")]
)
def test_what_it_does_not_look_like(error: BaseException) -> None:
    assert not out_of_memory(error)


def test_the_batch_is_halved_until_it_fits_and_that_is_told() -> None:
    run = Hungry(3, MemoryError())
    result, told = fit_in_memory(run, TrainConfig(batch_size=64))  # type: ignore[arg-type]
    assert (result, run.batches) == ("fitted", [64, 32, 16])
    assert "batches of 16" in told


def test_a_first_try_that_fits_is_not_spoken_of() -> None:
    assert fit_in_memory(Hungry(1, MemoryError()), TrainConfig())[1] == ""  # type: ignore[arg-type]


def test_after_three_halvings_it_is_given_up_in_a_sentence() -> None:
    run = Hungry(99, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(NothingToLearn, match=r"memory .* is not enough .* 8 times smaller"):
        fit_in_memory(run, TrainConfig(batch_size=64))  # type: ignore[arg-type]
    assert len(run.batches) == HALVINGS + 1


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        fit_in_memory(Hungry(9, RuntimeError("shape")), TrainConfig())  # type: ignore[arg-type]


def test_a_smaller_training_keeps_everything_but_what_needs_memory() -> None:
    before, after = TrainConfig(seed=4, epochs=3), smaller(TrainConfig(seed=4, epochs=3))
    assert (after.seed, after.epochs, after.learning_rate) == (4, 3, before.learning_rate)
    assert after.batch_size * 2 == before.batch_size and after.memory_bytes < before.memory_bytes
    assert smaller(TrainConfig(batch_size=1)).batch_size == 1


def test_a_training_that_needs_smaller_batches_still_ends_with_a_generation(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.answer(ANSWERED)
    batches: list[int] = []

    def hungry(source, labels, *, training, **rest):  # type: ignore[no-untyped-def]
        batches.append(training.batch_size)
        if len(batches) < 3:
            raise MemoryError
        return fit(source, labels, training=training, **rest)

    monkeypatch.setattr(tasks, "fit", hungry)
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.DONE and current(scenes) is not None, job.message
    assert batches == [64, 32, 16] and "Memory was short: it learned in batches of 16." in job.message


def test_a_job_without_enough_memory_fails_in_words_and_changes_nothing(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = first_training(scenes, worker)

    def full(*_given: object, **_more: object) -> object:
        raise MemoryError

    monkeypatch.setattr(tasks, "publish_generation", full)
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.FAILED and current(scenes) == before
    assert "memory of this machine is not enough for this training" in job.message
    assert "Error" not in job.message


LIMITED = """
import resource, sys
from pathlib import Path
import faiss, numpy, openvino, torch
from annotator.settings import Settings
from annotator.store import Store
from annotator.worker import tasks
from annotator.worker.loop import Worker
from dsrb_core.backbones import load_backbone

data_dir, limit, each = Path(sys.argv[1]), int(sys.argv[2]) << 20, int(sys.argv[3]) << 20
quiet = {"retrain_every": 10**6, "retrain_minutes": 10.0**6}
settings = Settings(data_dir=data_dir, backbone="tiny", threads=1, **quiet)
store = Store.open(settings)
worker = Worker(store, settings)
worker._tasks._backbone = load_backbone("tiny", device="cpu", threads=1)
real = tasks.fit

def hungry(source, labels, *, training, **rest):
    numpy.ones(training.batch_size * each, numpy.uint8)  # what big pictures would need for a batch
    return real(source, labels, training=training, **rest)

tasks.fit = hungry
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + limit, resource.RLIM_INFINITY))
while worker.step():
    pass
store.close()
"""


@pytest.mark.parametrize(
    ("each_mb", "status", "told"),
    [
        (16, JobStatus.DONE, "it learned in batches of 32"),
        (128, JobStatus.FAILED, "The memory of this machine is not enough for this training"),
    ],
)
def test_a_real_limit_of_memory_ends_in_words_not_in_a_dead_worker(
    scenes: Scenes, worker: Worker, each_mb: int, status: JobStatus, told: str
) -> None:
    """RLIMIT_AS 768 MiB above what the loaded program has: batches of 64 never fit."""
    drain(worker)
    scenes.answer(ANSWERED)
    retrain(scenes)
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(scenes.settings.data_dir), "768", str(each_mb)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    job = last(scenes)
    assert job.status is status and told in job.message, job.message
    assert (current(scenes) is not None) == (status is JobStatus.DONE)
