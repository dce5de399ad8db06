"""What a generation keeps of neighbours and of context agrees with what is served from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from annotator.records import Generation
from annotator.store import images
from annotator.suggesting import LoadedGeneration, Suggester
from annotator.worker import tasks_generation
from annotator.worker.loop import Worker
from annotator.worker.tasks_instances import (
    Stopped,
    write_context,
    write_neighbours,
    write_probabilities,
)
from dsrb_core.calibration import Combiner, neighbour_logit, sigmoid
from dsrb_core.context import Context
from dsrb_core.crossfit import fit_mix
from dsrb_core.decided_index import NEGATIVE, POSITIVE, file_name
from dsrb_core.index import InstanceIndex
from dsrb_core.reports import Folds
from tests.annotator.worker.drawn import Scenes
from tests.annotator.worker.driving import ANSWERED, trained

N, C, D = 40, 3, 8


class Quiet:
    """Stands in for the lease: nothing is reported, and the job is cancelled after `until` categories."""

    def __init__(self, until: int = 10**6) -> None:
        self.done, self.until = 0, until

    def report(self, stage: str | None = None, *, done: int = 0, total: int = 0) -> None:
        self.done = done

    def should_stop(self) -> bool:
        return self.done >= self.until


def frozen(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    labels = rng.choice([1, -1, 0], (N, C)).astype(np.int8)
    labels[:, 2] = np.where(np.arange(N) == 3, 1, 0)  # one yes and nothing else
    return SimpleNamespace(image_ids=np.arange(N) * 2 + 5, category_ids=np.array([4, 9, 2]), labels=labels)


def combiner(k: int = 6) -> Combiner:
    one = np.ones(C)
    return Combiner(
        scale=one, offset=0 * one, neighbour_weight=0.5 * one, prior=np.array([0.2, 0.5, 0.4]),
        temperature=0.3, strength=0.5, k=k,
    )  # fmt: skip


def instances(seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((N, C, D))
    return (made / np.linalg.norm(made, axis=-1, keepdims=True)).astype(np.float16)


def test_votes_are_those_of_the_nearest_decided_cells_without_the_cell_itself(tmp_path: Path) -> None:
    given, made = frozen(), instances()
    recall = write_neighbours(tmp_path, given, made, combiner(), Quiet())  # type: ignore[arg-type]
    assert recall == 1.0
    votes = np.load(tmp_path / "votes.npy")
    assert votes.shape == (N, C) and votes.dtype == np.float16
    for row in range(N):
        for column in range(C):
            others = np.flatnonzero((given.labels[:, column] != 0) & (np.arange(N) != row))
            wide = made[:, column].astype(np.float32)
            similar = wide[others] @ wide[row]
            near = np.argsort(-similar)[:6]
            expected = neighbour_logit(
                similar[near], given.labels[others[near], column],
                prior=combiner().prior[column], temperature=0.3, strength=0.5,
            )  # fmt: skip
            assert votes[row, column] == pytest.approx(expected, abs=4e-3)


def test_positives_and_negatives_lie_in_their_own_files(tmp_path: Path) -> None:
    given = frozen()
    write_neighbours(tmp_path, given, instances(), combiner(), Quiet())  # type: ignore[arg-type]
    for column, category_id in enumerate(given.category_ids.tolist()):
        for state in (POSITIVE, NEGATIVE):
            path = tmp_path / "index" / file_name(category_id, state)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            expected = given.image_ids[given.labels[:, column] == state]
            assert InstanceIndex.load(path, digest).ids.tolist() == expected.tolist()


def test_a_cancelled_job_stops_between_two_categories(tmp_path: Path) -> None:
    lease = Quiet(until=1)
    with pytest.raises(Stopped):
        write_neighbours(tmp_path, frozen(), instances(), combiner(), lease)  # type: ignore[arg-type]
    assert lease.done == 1 and len(list((tmp_path / "index").iterdir())) == 2


def test_probabilities_combine_what_was_written(tmp_path: Path) -> None:
    given, rng = frozen(), np.random.default_rng(3)
    logits = rng.standard_normal((N, C)).astype(np.float16)
    np.save(tmp_path / "logits.npy", logits)
    write_probabilities(tmp_path, given, combiner())
    alone = np.load(tmp_path / "probabilities.npy")
    assert alone.dtype == np.float16
    np.testing.assert_allclose(alone, sigmoid(logits.astype(float)), atol=1e-3)

    write_neighbours(tmp_path, given, instances(), combiner(), Quiet())  # type: ignore[arg-type]
    write_probabilities(tmp_path, given, combiner())
    votes = np.load(tmp_path / "votes.npy").astype(float)
    heard = logits + 0.5 * (votes - np.log(combiner().prior / (1 - combiner().prior)))
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), sigmoid(heard), atol=1e-3)

    weights = np.array([[0, 2, 0], [0, 0, 0], [-1, 0, 0]], np.float32)
    rows = np.array([1, 3, 30])
    parts = np.full((3, C), -1, np.int8)
    unseen = np.full((3, C), 80000.0, np.float32)  # more than a float16 holds
    write_context(tmp_path, weights, logits, Folds(rows, parts, unseen, ()))
    write_probabilities(tmp_path, given, combiner())
    believed = np.load(tmp_path / "believed.npy")
    assert np.isfinite(believed).all() and (believed[rows] >= 60000).all()
    others = np.setdiff1d(np.arange(N), rows)
    assert np.array_equal(believed[others], logits[others])
    surprised = np.where(given.labels == 0, 0, (given.labels > 0) - sigmoid(believed.astype(float)))
    np.testing.assert_allclose(
        np.load(tmp_path / "probabilities.npy"), sigmoid(heard + surprised @ weights.T), atol=1e-3
    )


def served(scenes: Scenes, generation: Generation) -> tuple[LoadedGeneration, dict[tuple[int, int], float]]:
    suggester = Suggester(scenes.store, scenes.settings)
    with scenes.store.read() as c:
        found = {
            (image_id, one.category_id): one.probability
            for image_id in images.ids(c, scenes.project.id)
            for one in suggester.for_image(c, scenes.project.id, image_id, 10).suggestions
        }
    return LoadedGeneration(scenes.settings.data_dir, generation), found


def agree(loaded: LoadedGeneration, found: dict[tuple[int, int], float]) -> None:
    assert found
    for (image_id, category_id), probability in found.items():
        row, column = loaded.row(image_id), loaded.column(category_id)
        assert probability == pytest.approx(float(loaded.probabilities()[row, column]), abs=3e-3)


def test_what_is_served_after_a_training_is_what_the_worker_wrote(scenes: Scenes, worker: Worker) -> None:
    scenes.answer(ANSWERED)
    generation = trained(scenes, worker)
    loaded, found = served(scenes, generation)
    assert loaded.votes() is not None and loaded.votes().shape == loaded.probabilities().shape
    assert generation.metrics["index_recall"] == 1.0
    agree(loaded, found)


def test_context_goes_from_the_training_to_the_page(
    scenes: Scenes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = np.array([[0, 3, 0], [0, 0, 2], [-1, 0, 0]], np.float32)
    folds: list[Folds] = []

    def given(found: Folds, labels: np.ndarray) -> Context:
        folds.append(found)
        return Context(weights, np.zeros_like(found.logits))

    monkeypatch.setattr(tasks_generation, "fold_context", given)
    monkeypatch.setattr(
        tasks_generation, "fit_mix", lambda *one, **more: replace(fit_mix(*one, **more), context=0.5)
    )
    scenes.answer(ANSWERED[:12])
    scenes.answer(ANSWERED[12:], ("blue box",))
    generation = trained(scenes, worker)
    folder = scenes.settings.data_dir / generation.folder
    assert generation.metrics["context"] == 0.5
    assert np.array_equal(np.load(folder / "context.npy"), 0.5 * weights)
    believed = np.load(folder / "believed.npy")
    np.testing.assert_allclose(believed[folds[0].rows], folds[0].logits, rtol=1e-3, atol=1e-3)
    loaded, found = served(scenes, generation)
    agree(loaded, found)
    heard = [
        row for row in folds[0].rows if np.abs(loaded.context_shift(row, np.array([0, 1, 0]))).max() > 0.05
    ]
    assert heard, "somewhere a blue box surprises"


def test_without_instances_the_model_is_written_alone(scenes: Scenes, worker: Worker) -> None:
    scenes.answer(ANSWERED)
    worker._tasks._settings = worker._tasks._settings.model_copy(update={"instance_limit_bytes": 0})
    generation = trained(scenes, worker)
    loaded, found = served(scenes, generation)
    assert loaded.votes() is None and not loaded.has_instances
    manifest = json.loads((scenes.settings.data_dir / generation.folder / "manifest.json").read_text())
    assert not {"votes.npy", "context.npy", "believed.npy", "instances.npy"} & manifest["files"].keys()
    agree(loaded, found)
