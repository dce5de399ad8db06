"""A candidate takes the place of the current generation only when it is finite and not clearly worse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sqlalchemy import update

from annotator import artifacts
from annotator.records import CellState, Generation, GenerationStatus, JobStatus
from annotator.snapshotting import freeze
from annotator.store import generations, projects
from annotator.store.clock import now_ms
from annotator.suggesting import Suggester
from annotator.worker import gate, publishing, tasks_generation
from annotator.worker.gate import LEAST_CELLS, Verdict, judge
from annotator.worker.loop import Worker
from db import schema
from dsrb_core.crossfit import fit_mix
from dsrb_core.reports import Holdout
from tests.annotator.worker.drawn import Scenes
from tests.annotator.worker.driving import (
    ANSWERED,
    current,
    decide,
    drain,
    first_training,
    last,
    manifest_of,
    retrain,
)

MORE = [f"{number:03d}.jpg" for number in range(24, 27)]


def cells(pictures: int, categories: int, *, seed: int = 0) -> tuple[Holdout, np.ndarray]:
    """Held-out cells of all pictures and categories whose logits follow the labels, and the same again."""
    rng = np.random.default_rng(seed)
    rows, columns = np.divmod(np.arange(pictures * categories), categories)
    labels = rng.choice(np.array([-1, 1], np.int8), len(rows))
    logits = (labels + rng.normal(scale=0.7, size=len(rows))).astype(np.float32)
    return Holdout(rows, columns, labels, logits, logits), logits


def worse_by_noise(holdout: Holdout, share: float) -> Holdout:
    """The same cells ranked by noise, mixed in at `share`."""
    noise = np.random.default_rng(1).normal(size=len(holdout.labels)).astype(np.float32)
    mixed = (1 - share) * holdout.model_logits + share * 3 * noise
    return Holdout(holdout.rows, holdout.columns, holdout.labels, mixed, mixed)


def test_equal_scores_are_no_difference() -> None:
    holdout, honest = cells(60, 3)
    verdict = judge(7, holdout, honest)
    assert verdict is not None
    assert (verdict.candidate, verdict.error, verdict.cells) == (verdict.current, 0.0, 180)
    assert not verdict.worse(0.0)


def test_noise_in_place_of_a_model_is_worse_and_a_better_model_is_not() -> None:
    holdout, honest = cells(60, 3)
    bad = judge(7, worse_by_noise(holdout, 1.0), honest)
    good = judge(7, holdout, worse_by_noise(holdout, 1.0).model_logits)
    assert bad is not None and bad.worse(0.02) and bad.candidate < bad.current
    assert good is not None and not good.worse(0.0)


def test_one_category_is_enough_to_judge_by() -> None:
    holdout, honest = cells(120, 1)
    verdict = judge(7, worse_by_noise(holdout, 1.0), honest)
    assert verdict is not None and verdict.error > 0 and verdict.worse(0.02)


def test_only_what_is_beyond_tolerance_and_error_counts() -> None:
    verdict = Verdict(current_id=1, candidate=0.70, current=0.75, error=0.01, cells=100)
    assert verdict.worse(0.029) and not verdict.worse(0.031)
    unsure = Verdict(current_id=1, candidate=0.70, current=0.75, error=0.03, cells=100)
    assert not unsure.worse(0.0)


def test_too_few_answers_or_one_kind_of_them_say_nothing() -> None:
    holdout, honest = cells(LEAST_CELLS - 1, 1)
    assert judge(7, holdout, honest) is None
    holdout, honest = cells(60, 1)
    honest[LEAST_CELLS - 1 :] = np.nan
    assert judge(7, holdout, honest) is None, "answers that one of the two has learned do not count"
    yes = Holdout(holdout.rows, holdout.columns, np.ones(60, np.int8), holdout.model_logits, honest)
    assert judge(7, yes, holdout.model_logits) is None


def spoil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next candidate a bad one: its scores say the opposite, on held-out cells too."""
    real = publishing.write_files

    def opposite(folder, settings, training, lease):  # type: ignore[no-untyped-def]
        facts = real(folder, settings, training, lease)
        held = training.result.holdout
        object.__setattr__(held, "model_logits", -held.model_logits)
        return facts

    monkeypatch.setattr(publishing, "write_files", opposite)


def suggestions_of(scenes: Scenes) -> int | None:
    suggester = Suggester(scenes.store, scenes.settings)
    with scenes.store.read() as c:
        from annotator.store import images

        unanswered = images.ids(c, scenes.project.id)[-1]
        return suggester.for_image(c, scenes.project.id, unanswered, 3).generation_id


def test_a_worse_candidate_is_kept_but_not_used(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = first_training(scenes, worker)
    scenes.answer(MORE)
    spoil(monkeypatch)
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.DONE and current(scenes) == before
    with scenes.store.read() as c:
        candidate = generations.history(c, scenes.project.id)[0]
    assert candidate.status is GenerationStatus.REJECTED and candidate.id != before.id
    compared = candidate.metrics["compared"]
    assert compared["rejected"] and compared["map"] < compared["current_map"]
    assert compared["cells"] >= LEAST_CELLS and compared["generation"] == before.id
    assert f"Generation {candidate.id} was made but is not used" in job.message
    assert f"generation {before.id}" in job.message
    artifacts.verify(scenes.settings.data_dir / candidate.folder, candidate.manifest_sha256)
    assert suggestions_of(scenes) == before.id


def test_the_next_training_goes_on_from_the_generation_in_use_not_from_the_rejected_one(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = first_training(scenes, worker)
    scenes.answer(MORE)
    with monkeypatch.context() as patch:
        spoil(patch)
        retrain(scenes)
        drain(worker)
    retrain(scenes)
    drain(worker)
    after = current(scenes)
    assert after is not None and after.id == before.id + 2
    assert manifest_of(scenes, after)["warm"] == 1, "one warm start after the first, not two"
    assert after.metrics["compared"]["generation"] == before.id
    assert not after.metrics["compared"]["rejected"]


def test_a_wide_tolerance_lets_the_same_candidate_pass(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = first_training(scenes, worker)
    scenes.answer(MORE)
    spoil(monkeypatch)
    tolerant = Worker(scenes.store, worker._settings.model_copy(update={"gate_tolerance": 100.0}))
    tolerant._tasks._backbone = worker._tasks._backbone
    retrain(scenes)
    drain(tolerant)
    after = current(scenes)
    assert after is not None and after.id != before.id
    assert after.metrics["compared"]["map"] < after.metrics["compared"]["current_map"]


def test_another_backbone_is_somebodys_wish_and_not_compared(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = first_training(scenes, worker)
    scenes.store.write(lambda c: c.execute(update(schema.Generation).values(backbone="resnet101")))
    scenes.answer(MORE)
    spoil(monkeypatch)
    retrain(scenes)
    drain(worker)
    after = current(scenes)
    assert after is not None and after.id != before.id
    assert "compared" not in after.metrics


def test_the_current_generation_is_judged_on_answers_it_has_not_learned(
    scenes: Scenes, worker: Worker
) -> None:
    """Each held-out cell of the candidate is one that the current one held out too, or that is new since."""
    before = first_training(scenes, worker)
    folder = scenes.settings.data_dir / before.folder
    scenes.answer(MORE)
    asked: list[np.ndarray] = []
    with pytest.MonkeyPatch.context() as patch:
        real = gate.honest_scores

        def listen(*given):  # type: ignore[no-untyped-def]
            found = real(*given)
            asked.append(found)
            held, frozen = given[4], given[3]
            kept = np.load(folder / "heldout.npz")
            known = set(zip(kept["image_ids"].tolist(), kept["category_ids"].tolist(), strict=True))
            images = frozen.image_ids[held.rows].tolist()
            categories = frozen.category_ids[held.columns].tolist()
            new = {scenes_image(scenes, name) for name in MORE}
            for image, category, score in zip(images, categories, found.tolist(), strict=True):
                assert np.isfinite(score) == ((image, category) in known or image in new)
            return found

        patch.setattr(gate, "honest_scores", listen)
        retrain(scenes)
        drain(worker)
    assert asked and np.isfinite(asked[0]).any()


def test_new_answers_are_compared_by_the_model_alone_in_both(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Similar pictures add points to stored scores that no candidate's held-out scores have."""

    def compared(weight: float) -> np.ndarray:
        monkeypatch.setattr(
            tasks_generation,
            "fit_mix",
            lambda *given, **more: replace(fit_mix(*given, **more), propagation=weight),
        )
        retrain(scenes)
        drain(worker)
        generation = current(scenes)
        assert generation is not None and generation.metrics["propagation"] == weight
        frozen = freeze(scenes.store, scenes.project.id)
        cells = np.stack(np.nonzero(frozen.labels), axis=1)
        nothing = np.zeros(len(cells), np.float32)
        held = Holdout(cells[:, 0], cells[:, 1], frozen.labels[cells[:, 0], cells[:, 1]], nothing, nothing)
        folder = scenes.settings.data_dir / generation.folder
        (folder / "heldout.npz").rename(folder / "kept")
        monkeypatch.setattr(gate.artifacts, "verify", lambda *_: {})
        monkeypatch.setattr(gate, "_undecided_then", lambda *given: np.ones(len(cells), np.bool_))
        found = gate.honest_scores(scenes.store, folder, generation, frozen, held)
        monkeypatch.setattr(gate.artifacts, "verify", verify)
        (folder / "kept").rename(folder / "heldout.npz")
        return found

    verify = artifacts.verify
    first_training(scenes, worker)
    alone, corrected = compared(0.0), compared(1.0)
    assert np.isfinite(alone).all() and np.allclose(alone, corrected, atol=0.05)


def scenes_image(scenes: Scenes, name: str) -> int:
    from annotator.store import images

    with scenes.store.read() as c:
        return images.name_map(c, scenes.project.id)[name]


@pytest.mark.parametrize("name", ["logits.npy", "instances.npy", "votes.npy", "probabilities.npy"])
def test_a_candidate_with_a_value_that_is_not_finite_is_never_published(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = first_training(scenes, worker)
    scenes.answer(MORE)
    real = publishing.write_files

    def poisoned(folder, *rest):  # type: ignore[no-untyped-def]
        facts = real(folder, *rest)
        array = np.load(folder / name, mmap_mode="r+")
        array[-1, ..., -1] = np.nan if name != "logits.npy" else np.inf
        array.flush()
        return facts

    monkeypatch.setattr(publishing, "write_files", poisoned)
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.FAILED
    assert "diverged" in job.message and name in job.message and "stay as they were" in job.message
    assert current(scenes) == before
    assert folders(scenes) == [f"{before.id:06d}"]


def test_weights_that_are_not_finite_are_never_published(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.answer(ANSWERED)
    real = tasks_generation.save_model

    def poisoned(model, folder):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            model.class_weight[0, 0] = float("nan")
        real(model, folder)

    monkeypatch.setattr(tasks_generation, "save_model", poisoned)
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.FAILED and "the weights class_weight" in job.message
    assert current(scenes) is None and folders(scenes) == []


def folders(scenes: Scenes) -> list[str]:
    home = scenes.settings.data_dir / "projects" / str(scenes.project.id) / "generations"
    return sorted(path.name for path in home.iterdir())


def test_a_project_archived_while_it_trains_gets_no_generation(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.answer(ANSWERED)
    real = publishing.write_files

    def archive_first(*given):  # type: ignore[no-untyped-def]
        scenes.store.write(lambda c: projects.set_archived(c, scenes.project.id, now_ms()))
        return real(*given)

    monkeypatch.setattr(publishing, "write_files", archive_first)
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.status is JobStatus.CANCELLED
    assert job.message == "The project was archived while it trained; the result was discarded."
    assert current(scenes) is None and folders(scenes) == []


def test_answers_given_while_it_trains_are_after_its_mark_and_count_as_new(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from annotator.actions import Actions

    scenes.answer(ANSWERED)
    real = publishing.write_files

    def answer_first(*given):  # type: ignore[no-untyped-def]
        decide(scenes, ["030.jpg"], "red ball", CellState.POSITIVE)
        return real(*given)

    monkeypatch.setattr(publishing, "write_files", answer_first)
    retrain(scenes)
    drain(worker)
    made: Generation | None = current(scenes)
    assert made is not None and made.up_to_seq == len(ANSWERED) * 3
    assert manifest_of(scenes, made)["up_to_seq"] == made.up_to_seq
    assert Actions(scenes.store, scenes.settings).status(scenes.project.id).new_decisions == 1
