"""Decided instances that vote: who may, and what it is worth."""

import numpy as np

from dsrb_core.config import TrainConfig
from dsrb_core.labels import hide_labels
from dsrb_core.methods import method
from dsrb_core.metrics import mean_average_precision
from dsrb_core.neighbour_methods import NEIGHBOURS, Held, combined
from tests.references import ArraySource


def clusters(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Instances (120, 2, 5) in tight groups that decide the label (120, 2), which no logit knows."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 6, (120, 2))
    centres = rng.standard_normal((2, 6, 5)) * 3
    instances = centres[np.arange(2)[None], group] + 0.1 * rng.standard_normal((120, 2, 5))
    return instances.astype(np.float32), np.where(group % 2 == 0, 1, -1).astype(np.int8)


def held_of(labels: np.ndarray) -> Held:
    rows, columns = np.nonzero(labels)
    return Held(rows, columns, np.zeros(len(rows), np.float32))


def test_the_vote_finds_what_the_logits_do_not_know() -> None:
    instances, truth = clusters()
    partial = hide_labels(truth, 0.5)
    scores = combined(np.zeros(truth.shape, np.float32), instances, partial, held_of(partial))
    hidden = np.where(partial == 0, truth, 0)
    assert mean_average_precision(scores, hidden) > 0.95


def test_hidden_labels_have_no_vote() -> None:
    instances, truth = clusters(1)
    partial = hide_labels(truth, 0.3)
    logits = np.random.default_rng(2).standard_normal(truth.shape).astype(np.float32)
    once = combined(logits, instances, partial, held_of(partial))
    part = combined(logits[:100], instances[:100], partial[:60], held_of(partial[:60]))
    again = combined(logits[:100], instances[:100], partial[:60].copy(), held_of(partial[:60]))
    assert np.array_equal(part, again) and np.isfinite(once).all()


def test_a_cell_is_no_neighbour_of_itself() -> None:
    """A single positive among far negatives must not be pulled up by its own answer."""
    instances = np.zeros((NEIGHBOURS + 2, 1, 3), np.float32)
    instances[:, 0, 0] = np.arange(NEIGHBOURS + 2)
    instances[0, 0] = (0, 9, 0)
    labels = np.full((NEIGHBOURS + 2, 1), -1, np.int8)
    labels[0] = 1
    scores = combined(np.zeros(labels.shape, np.float32), instances, labels, held_of(labels))
    assert scores[0, 0] < 0, "with its own answer among its neighbours it would be above"


def test_one_known_cell_leaves_the_logits_order() -> None:
    logits = np.array([[0.3], [-1.0], [2.0]], np.float32)
    labels = np.array([[1], [0], [0]], np.int8)
    scores = combined(logits, np.ones((3, 1, 2), np.float32), labels, held_of(labels))
    assert np.argsort(scores[:, 0]).tolist() == np.argsort(logits[:, 0]).tolist()


def test_linear_with_neighbours_repeats_itself() -> None:
    rng = np.random.default_rng(3)
    source = ArraySource(rng.standard_normal((40, 4, 6)).astype(np.float32), (2, 2))
    labels = hide_labels(np.where(rng.random((40, 3)) < 0.5, 1, -1).astype(np.int8), 0.5)
    rows = np.arange(40)
    one = method("linear+neighbours")
    runs = [
        one.fit_predict(source, labels, rows[:30], rows[30:], seed=0, training=TrainConfig())
        for _ in range(2)
    ]
    assert np.array_equal(runs[0], runs[1]) and np.isfinite(runs[0]).all()
