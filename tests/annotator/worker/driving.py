"""A worker on the drawn project, and the little it takes to make it train."""

from __future__ import annotations

import numpy as np
import pytest

from annotator import artifacts
from annotator.records import CellState, Generation, Job, JobStatus, NewDecision
from annotator.store import generations, images, jobs
from annotator.store.clock import now_ms
from annotator.worker.loop import Worker
from dsrb_core.backbones import Backbone, load_backbone
from dsrb_core.checkpoint import load_model
from dsrb_core.model import DSRB
from tests.annotator.worker.drawn import Scenes

ANSWERED = [f"{number:03d}.jpg" for number in range(24)]


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """Compiled once: compiling takes longer than everything else here."""
    return load_backbone("tiny", device="cpu", threads=1)


@pytest.fixture
def worker(scenes: Scenes, backbone: Backbone) -> Worker:
    quiet = scenes.settings.model_copy(
        update={"retrain_every": 10**6, "retrain_minutes": 10.0**6, "epochs": 2, "threads": 1}
    )
    made = Worker(scenes.store, quiet)
    made._tasks._backbone = backbone
    return made


def drain(worker: Worker) -> None:
    while worker.step():
        pass


def retrain(scenes: Scenes) -> None:
    head = 10**6
    scenes.store.write(lambda c: jobs.request(c, scenes.project.id, "retrain", wanted_seq=head, now=now_ms()))


def last(scenes: Scenes, kind: str = "retrain") -> Job:
    with scenes.store.read() as c:
        found = jobs.latest(c, scenes.project.id, kind)
    assert found is not None
    return found


def current(scenes: Scenes) -> Generation | None:
    with scenes.store.read() as c:
        return generations.current(c, scenes.project.id)


def trained(scenes: Scenes, worker: Worker) -> Generation:
    retrain(scenes)
    drain(worker)
    job, generation = last(scenes), current(scenes)
    assert job.status is JobStatus.DONE and generation is not None, job.message
    return generation


def manifest_of(scenes: Scenes, generation: Generation) -> dict[str, object]:
    return artifacts.verify(scenes.settings.data_dir / generation.folder, generation.manifest_sha256)


def model_of(scenes: Scenes, generation: Generation) -> tuple[list[int], DSRB]:
    folder = scenes.settings.data_dir / generation.folder
    return np.load(folder / "category_ids.npy").tolist(), load_model(folder / "checkpoint")


def first_training(scenes: Scenes, worker: Worker) -> Generation:
    scenes.answer(ANSWERED)
    generation = trained(scenes, worker)
    assert generation.metrics["warm_start"] is False and "from scratch" in last(scenes).message
    assert manifest_of(scenes, generation)["warm"] == 0
    return generation


def decide(scenes: Scenes, names: list[str], category: str, state: CellState) -> None:
    with scenes.store.read() as c:
        ids = images.name_map(c, scenes.project.id)
    column = scenes.category_ids()[category]
    scenes.decide(
        [
            NewDecision(
                op_id=f"again-{name}-{column}-{state}", image_id=ids[name], category_id=column, state=state
            )
            for name in names
        ]
    )
