"""The worker on a real database with real training (the `tiny` backbone)."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from annotator import artifacts
from annotator.actions import Actions
from annotator.records import CellState, ImageState, Job, JobStatus, NewDecision
from annotator.store import images, jobs
from annotator.store.clock import now_ms
from annotator.suggesting import Suggester
from annotator.worker.loop import MAX_ATTEMPTS, Worker
from dsrb_core.crossfit import fit_mix
from tests.annotator.worker.drawn import CATEGORIES, Scenes
from tests.annotator.worker.driving import ANSWERED, current, drain, last, retrain


def test_the_main_job_publishes_a_generation_that_suggests_the_hidden_cells(
    scenes: Scenes, worker: Worker
) -> None:
    scenes.answer(ANSWERED)
    retrain(scenes)
    drain(worker)
    job, generation = last(scenes), current(scenes)
    assert (job.status, generation is not None) == (JobStatus.DONE, True), job.message
    assert generation is not None
    folder = scenes.settings.data_dir / generation.folder
    manifest = artifacts.verify(folder, generation.manifest_sha256)
    assert {"logits.npy", "instances.npy", "attention.npy", "combiner.json", "judged.npz"} <= set(
        manifest["files"]
    )
    assert job.curves and {"loss", "heldout_map", "floor_map"} <= set(job.curves[0])
    scores = hidden_scores(scenes)
    present = [score for score, truth in scores if truth]
    absent = [score for score, truth in scores if not truth]
    assert all(0 <= score <= 1 for score, _ in scores)
    assert np.mean(present) > np.mean(absent) + 0.2, "suggestions must know what is drawn"


def test_similar_pictures_correct_the_scores_that_are_written(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.answer(ANSWERED)
    written = []
    for weight in (0.0, 1.0):
        monkeypatch.setattr(
            "annotator.worker.tasks_generation.fit_mix",
            lambda *given, weight=weight, **more: replace(fit_mix(*given, **more), propagation=weight),
        )
        retrain(scenes)
        drain(worker)
        generation = current(scenes)
        assert generation is not None and generation.metrics["propagation"] == weight
        written.append(np.load(scenes.settings.data_dir / generation.folder / "logits.npy"))
    assert written[0].shape == written[1].shape and not np.allclose(*written, atol=0.05)


def hidden_scores(scenes: Scenes) -> list[tuple[float, bool]]:
    names = {identifier: name for name, identifier in scenes.category_ids().items()}
    suggester = Suggester(scenes.store, scenes.settings)
    scores = []
    with scenes.store.read() as c:
        for name, identifier in images.name_map(c, scenes.project.id).items():
            if name not in ANSWERED:
                listed = suggester.for_image(c, scenes.project.id, identifier, len(CATEGORIES))
                assert {one.basis for one in listed.suggestions} == {"model+neighbours"}
                scores += [
                    (one.probability, names[one.category_id] in scenes.truth[name])
                    for one in listed.suggestions
                ]
    assert len(scores) == (40 - len(ANSWERED)) * len(CATEGORIES)
    return scores


def test_features_are_extracted_before_anything_is_labelled(scenes: Scenes, worker: Worker) -> None:
    drain(worker)
    assert last(scenes, "features").status is JobStatus.DONE
    assert "40 pictures" in last(scenes, "features").message


def test_a_picture_that_vanished_is_marked_and_the_rest_goes_on(scenes: Scenes, worker: Worker) -> None:
    with scenes.store.read() as c:
        victim = images.page(c, scenes.project.id, limit=1)[0]
    (scenes.settings.data_dir / victim.canonical).unlink()
    scenes.answer(ANSWERED)
    retrain(scenes)
    drain(worker)
    with scenes.store.read() as c:
        assert images.get(c, victim.id).state is ImageState.MISSING
    assert last(scenes).status is JobStatus.DONE


@pytest.mark.parametrize(
    ("states", "sentence"),
    [([], "Nothing is decided yet"), ([CellState.NEGATIVE] * 5, "Every answer so far is no")],
)
def test_too_few_labels_fail_in_one_sentence_and_change_nothing(
    scenes: Scenes, worker: Worker, states: list[CellState], sentence: str
) -> None:
    with scenes.store.read() as c:
        ids = images.ids(c, scenes.project.id)
    category = scenes.category_ids()["red ball"]
    scenes.decide(
        [
            NewDecision(op_id=f"only-{n}-0", image_id=ids[n], category_id=category, state=state)
            for n, state in enumerate(states)
        ]
    )
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.FAILED and sentence in job.message
    assert current(scenes) is None


def test_one_positive_in_a_category_is_enough_to_train(scenes: Scenes, worker: Worker) -> None:
    name = next(name for name, drawn in scenes.truth.items() if "red ball" in drawn)
    scenes.answer([name], ("red ball",))
    retrain(scenes)
    drain(worker)
    assert last(scenes).status is JobStatus.DONE, last(scenes).message
    assert "suggestions for red ball: there is a single yes" in last(scenes).message


def test_a_backbone_that_cannot_be_had_fails_in_one_sentence(scenes: Scenes) -> None:
    worker = Worker(scenes.store, scenes.settings.model_copy(update={"backbone": "resnet9000"}))
    drain(worker)
    job = last(scenes, "features")
    assert job.status is JobStatus.FAILED and "resnet9000" in job.message
    assert "Error" not in job.message


def test_a_category_added_during_training_stays_unknown_and_is_suggested_by_neighbours(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.answer(ANSWERED)
    actions = Actions(scenes.store, scenes.settings)
    real = worker._tasks._train

    def add_while_training(*args: object) -> object:
        actions.add_category(scenes.project.id, "late")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(worker._tasks, "_train", add_while_training)
    retrain(scenes)
    drain(worker)
    assert last(scenes).status is JobStatus.DONE
    assert "1 categories were added meanwhile" in last(scenes).message
    late = scenes.category_ids()["late"]
    suggester = Suggester(scenes.store, scenes.settings)
    with scenes.store.read() as c:
        first, unanswered = (
            images.name_map(c, scenes.project.id)["038.jpg"],
            images.ids(c, scenes.project.id)[-1],
        )
        before = suggester.for_image(c, scenes.project.id, unanswered, 10)
    assert late not in {one.category_id for one in before.suggestions}, "nothing is known of it yet"
    assert {one.basis for one in before.suggestions} == {"model+neighbours"}
    yes = NewDecision(op_id="late-yes", image_id=first, category_id=late, state=CellState.POSITIVE)
    scenes.decide([yes])
    with scenes.store.read() as c:
        after = suggester.for_image(c, scenes.project.id, unanswered, 10)
    assert {one.category_id: one.basis for one in after.suggestions}[late] == "neighbours"


def test_a_cancelled_training_keeps_the_old_generation(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.answer(ANSWERED)
    retrain(scenes)
    drain(worker)
    before = current(scenes)
    retrain(scenes)
    real = worker._tasks._train

    def cancel_first(job: Job, *rest: object) -> object:
        scenes.store.write(lambda c: jobs.cancel(c, job.id, now_ms()))
        return real(job, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(worker._tasks, "_train", cancel_first)
    drain(worker)
    assert last(scenes).status is JobStatus.CANCELLED
    assert before is not None and current(scenes) == before


def test_a_job_of_a_killed_worker_is_taken_up_again(scenes: Scenes, worker: Worker) -> None:
    scenes.answer(ANSWERED)
    drain(worker)
    retrain(scenes)
    scenes.store.write(lambda c: jobs.claim(c, owner="dead", lease_ms=1, now=now_ms() - 10))
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.DONE and job.owner == worker.owner


def test_a_job_that_keeps_killing_its_worker_fails_in_words(scenes: Scenes, worker: Worker) -> None:
    drain(worker)
    retrain(scenes)
    for _ in range(MAX_ATTEMPTS):
        scenes.store.write(lambda c: jobs.claim(c, owner="dead", lease_ms=1, now=now_ms() - 10))
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.FAILED and f"died {MAX_ATTEMPTS} times" in job.message


def test_a_broken_task_fails_its_job_and_the_worker_lives(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain(worker)
    monkeypatch.setattr(worker._tasks, "_retrain", lambda *_: 1 / 0)
    retrain(scenes)
    drain(worker)
    assert last(scenes).status is JobStatus.FAILED and "ZeroDivisionError" in last(scenes).message


def test_shutdown_hands_the_job_back_and_leaves_no_half_generation(scenes: Scenes, worker: Worker) -> None:
    scenes.answer(ANSWERED)
    drain(worker)
    retrain(scenes)
    worker.shutdown.set()
    worker.step()
    assert last(scenes).status is JobStatus.RUNNING
    assert current(scenes) is None
    successor = Worker(scenes.store, worker._settings, shutdown=threading.Event())
    scenes.store.write(lambda c: jobs.release(c, worker.owner))
    drain(successor)
    assert last(scenes).status is JobStatus.DONE
    assert leftovers(scenes.settings.data_dir) == []


def leftovers(data_dir: Path) -> list[str]:
    known = {path.name for path in (data_dir / "projects").glob("*/generations/*") if path.name.isdigit()}
    return [path.name for path in (data_dir / "projects").glob("*/generations/*") if path.name not in known]
