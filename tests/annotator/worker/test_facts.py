"""What is told of a generation's probabilities, and how many cells a held-out cell counts for."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from annotator.records import Snapshot
from annotator.snapshotting import Frozen
from annotator.worker.asking import held_out_weights
from annotator.worker.facts import category_facts, metrics
from annotator.worker.tasks import only
from dsrb_core.calibration import expected_calibration_error
from dsrb_core.reliability import Judged
from dsrb_core.reports import Holdout
from dsrb_core.weighting import FEWEST, asking_weights

RNG = np.random.default_rng(0)
MADE: Any = SimpleNamespace(model=None)


def judged(size: int = 400) -> Judged:
    """The second category has four cells in five; its probabilities are right."""
    columns = np.where(np.arange(size) % 5 == 0, 0, 1)
    rng = np.random.default_rng(1)
    p = np.where(rng.random(size) < 0.5, rng.uniform(0.99, 1, size), rng.uniform(0, 0.4, size))
    labels = np.where(rng.random(size) < p, 1, -1).astype(np.int8)
    return Judged(columns, labels, p.astype(np.float32), np.ones(size, np.float32))


def made(cells: Judged) -> tuple[Any, Any]:
    """A snapshot of three categories and what was learnt from it, as far as figures go."""
    named = tuple(
        SimpleNamespace(id=number, name=name) for number, name in ((4, "dog"), (6, "cat"), (9, "owl"))
    )
    labels = np.zeros((500, 3), np.int8)
    frozen = SimpleNamespace(
        categories=named, labels=labels, image_ids=np.arange(500), category_ids=np.array([4, 6, 9])
    )
    nan = float("nan")
    result = SimpleNamespace(
        holdout=SimpleNamespace(columns=cells.columns, labels=cells.labels),
        category_ap=np.array([0.5, 0.75, nan]),
        heldout_map=0.6,
        floor_map=nan,
        model=SimpleNamespace(gate=np.float32(0)),
    )
    return frozen, result


def test_categories_carry_their_error_and_thresholds_with_the_cells_behind_them() -> None:
    cells = judged()
    dog, cat, owl = category_facts(*made(cells), cells)
    mine = cells.columns == 1
    error = expected_calibration_error(cells.probabilities[mine], cells.labels[mine])
    assert (cat["ece"], cat["ece_cells"]) == (round(error, 6), 320)
    precise, complete = cat["thresholds"]["precision"], cat["thresholds"]["recall"]
    above = cells.probabilities[mine] >= precise["threshold"]
    assert precise["cells"] == above.sum() and 0.95 <= precise["low"] < precise["estimate"]
    assert complete["threshold"] < precise["threshold"] and complete["low"] >= 0.9
    assert dog["thresholds"]["precision"]["threshold"] is None and dog["ece_cells"] == 80
    assert "of 59 yes needed" in dog["thresholds"]["precision"]["reason"]
    assert (owl["ece"], owl["ece_cells"], owl["ap"]) == (None, 0, None)
    json.dumps([dog, cat, owl], allow_nan=False)


def test_a_generation_says_how_far_its_probabilities_can_be_believed() -> None:
    cells = judged()
    told = metrics(*made(cells), MADE, cells)
    assert told["ece_cells"] == sum(one["cells"] for one in told["reliability"]) == 400
    assert told["ece"] == round(cells.calibration_error(), 6)
    likely = cells.probabilities >= 0.5
    assert told["suggested"]["cells"] == likely.sum()
    np.testing.assert_allclose(told["suggested"]["share"], (cells.labels[likely] == 1).mean(), atol=1e-6)
    json.dumps(told, allow_nan=False)
    nothing = metrics(*made(Judged.nothing()), MADE, Judged.nothing())
    assert (nothing["ece"], nothing["ece_cells"], nothing["suggested"]["share"]) == (None, 0, None)


def snapshot(by_strategy: np.ndarray, labels: np.ndarray) -> Any:
    return SimpleNamespace(
        by_strategy=by_strategy, labels=labels, image_ids=np.arange(len(labels)), category_ids=np.arange(2)
    )


def test_cells_that_a_strategy_asked_count_by_what_unknown_cells_are_like() -> None:
    logits = RNG.normal(-3, 2, (2000, 2)).astype(np.float16)
    rows = np.argsort(-logits[:, 0].astype(float))[: 3 * FEWEST]  # the most likely were asked
    labels = np.zeros((2000, 2), np.int8)
    labels[rows, 0] = RNG.choice([-1, 1], len(rows))
    scores = logits[rows, 0].astype(np.float32)
    held = Holdout(rows, np.zeros(len(rows), np.int64), labels[rows, 0], scores, scores)
    weights = held_out_weights(snapshot(labels != 0, labels), held, logits)
    unknown = logits[labels == 0].astype(np.float64)
    np.testing.assert_allclose(weights, asking_weights(scores, unknown, np.ones(len(rows), bool)))
    assert np.corrcoef(scores, weights)[0, 1] < -0.3, "where few unknown cells lie, a cell counts little"
    imported = held_out_weights(snapshot(np.zeros((2000, 2), bool), labels), held, logits)
    assert (imported == 1).all()


def test_without_a_held_out_or_an_unknown_cell_there_is_nothing_to_weigh() -> None:
    none = np.zeros(0, np.int64)
    empty = Holdout(none, none, np.zeros(0, np.int8), np.zeros(0, np.float32), np.zeros(0, np.float32))
    labels = np.ones((3, 2), np.int8)
    logits = np.zeros((3, 2), np.float16)
    assert held_out_weights(snapshot(labels > 0, labels), empty, logits).shape == (0,)


def test_pictures_without_features_leave_with_how_their_cells_were_asked() -> None:
    labels = np.ones((4, 2), np.int8)
    by_strategy = np.array([[True, False], [False, False], [False, True], [True, True]])
    frozen = Frozen(
        snapshot=Snapshot(id=1, project_id=1, up_to_seq=0, digest="", counts={}, created_at=0),
        image_ids=np.arange(4),
        category_ids=np.arange(2),
        labels=labels,
        by_strategy=by_strategy,
        keys=list("abcd"),
        paths=[Path(name) for name in "abcd"],
        categories=(),
    )
    kept = only(frozen, np.array([False, True, True, False]))
    assert kept.keys == ["b", "c"]
    assert kept.by_strategy.tolist() == [[False, False], [False, True]]
