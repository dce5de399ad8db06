"""Decided instances that vote: who may, and what it is worth."""

import numpy as np
import pytest
import torch

from dsrb_core.calibration import Combiner
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.context import fold_context, held_shifts, unseen_logits
from dsrb_core.crossfit import Heard, Mix, fit_mix
from dsrb_core.labels import hide_labels
from dsrb_core.method import Subset
from dsrb_core.methods import method
from dsrb_core.metrics import mean_average_precision
from dsrb_core.neighbour_methods import NEIGHBOURS, Learnt, combined, suggested
from dsrb_core.propagation import propagate
from dsrb_core.reports import Holdout
from dsrb_core.similar import nearest
from dsrb_core.surprise import surprise
from dsrb_core.trainer import FitResult, fit
from tests.references import ArraySource

QUICK = TrainConfig(epochs=2, floor_l2=(0.03, 0.3))


def clusters(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Instances (120, 2, 5) in tight groups that decide the label (120, 2), which no logit knows."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 6, (120, 2))
    centres = rng.standard_normal((2, 6, 5)) * 3
    instances = centres[np.arange(2)[None], group] + 0.1 * rng.standard_normal((120, 2, 5))
    return instances.astype(np.float32), np.where(group % 2 == 0, 1, -1).astype(np.int8)


def heard_of(instances: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> tuple[Heard, Holdout]:
    """What the known cells hear in instances (N, C, D) that no answer has made, and their logits."""
    rows, columns = np.nonzero(labels)
    shifts = propagate(instances, logits, labels)
    assert shifts is not None
    near = np.full((len(rows), NEIGHBOURS), -np.inf, np.float32)
    states = np.zeros(near.shape, np.int8)
    for column in range(labels.shape[1]):
        decided, mine = np.flatnonzero(labels[:, column]), columns == column
        similar, where = nearest(
            torch.from_numpy(instances[:, column]),
            torch.from_numpy(decided),
            NEIGHBOURS,
            asked=torch.from_numpy(rows[mine]),
        )
        near[mine, : similar.shape[1]] = similar.numpy()
        states[mine, : similar.shape[1]] = labels[decided, column][where.numpy()]
    held = logits[rows, columns].astype(np.float32)
    return (
        Heard(np.arange(len(rows)), shifts[rows, columns], near, states),
        Holdout(rows, columns, labels[rows, columns], held, held),
    )


def mix_of(instances: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> Mix:
    return fit_mix(*heard_of(instances, logits, labels), labels)


def plain_mix(categories: int, *, vote: float = 1.0, prior: float = 0.5) -> Mix:
    """The model's logit and the vote, added."""
    every = np.ones(categories)
    combiner = Combiner(
        scale=every,
        offset=0 * every,
        neighbour_weight=vote * every,
        prior=prior * every,
        temperature=0.05,
        strength=0.3,
        k=NEIGHBOURS,
    )
    return Mix(0.0, 0.0, combiner)


def test_the_vote_finds_what_the_logits_do_not_know() -> None:
    instances, truth = clusters()
    partial, logits = hide_labels(truth, 0.5), np.zeros(truth.shape, np.float32)
    scores = combined(logits, instances, partial, mix_of(instances, logits, partial))
    hidden = np.where(partial == 0, truth, 0)
    assert mean_average_precision(scores, hidden) > 0.95


def test_hidden_labels_have_no_vote() -> None:
    instances, truth = clusters(1)
    partial = hide_labels(truth, 0.3)
    logits = np.random.default_rng(2).standard_normal(truth.shape).astype(np.float32)
    mix = mix_of(instances, logits, partial)
    once = combined(logits, instances, partial, mix)
    part = combined(logits[:100], instances[:100], partial[:60], mix)
    same = combined(logits[:100], instances[:100], np.append(partial[:60], 0 * partial[60:100], axis=0), mix)
    assert np.array_equal(part, same) and np.isfinite(once).all()
    moved = instances.copy()
    moved[partial == 0] += 9.0
    assert np.array_equal(combined(logits, moved, partial, mix)[partial != 0], once[partial != 0])


def test_a_cell_is_no_neighbour_of_itself() -> None:
    """A single positive among far negatives must not be pulled up by its own answer."""
    instances = np.zeros((NEIGHBOURS + 3, 1, 3), np.float32)
    instances[:, 0, 0] = np.arange(NEIGHBOURS + 3)
    instances[0, 0] = instances[-1, 0] = (0, 9, 0)
    labels = np.full((NEIGHBOURS + 3, 1), -1, np.int8)
    labels[0], labels[-1] = 1, 0
    scores = combined(np.zeros(labels.shape, np.float32), instances, labels, plain_mix(1))
    assert scores[0, 0] < 0, "with its own answer among its neighbours it would be above"
    assert scores[-1, 0] > 1, "as its unknown copy is"


def test_one_known_cell_leaves_the_logits_order() -> None:
    logits = np.array([[0.3], [-1.0], [2.0]], np.float32)
    labels, instances = np.array([[1], [0], [0]], np.int8), np.ones((3, 1, 2), np.float32)
    for mix in (plain_mix(1), mix_of(instances, logits, labels)):
        scores = combined(logits, instances, labels, mix)
        assert np.argsort(scores[:, 0]).tolist() == np.argsort(logits[:, 0]).tolist()


def test_a_category_that_nobody_knows_keeps_its_logits() -> None:
    logits = np.array([[0.3, 0.3], [-1.0, -1.0], [2.0, 2.0]], np.float32)
    labels = np.array([[1, 0], [-1, 0], [1, 0]], np.int8)
    instances = np.array([[[1, 0]] * 2, [[0, 1]] * 2, [[1, 0]] * 2], np.float32)
    scores = combined(logits, instances, labels, plain_mix(2))
    np.testing.assert_allclose(scores[:, 1], logits[:, 1], atol=1e-6)
    assert (scores[[0, 2], 0] > logits[[0, 2], 0] + 1).all()


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


# --- suggested


TRAIN = 120


def followed(images: int = 160, seed: int = 0) -> tuple[ArraySource, np.ndarray, np.ndarray]:
    """Pictures that show their categories badly; 1 nearly always comes with 0. Source, truth, labels of the
    first 120 rows, the last five of which have none.
    """
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random((images, 3)) < 0.4, 1, -1).astype(np.int8)
    truth[:, 1] = np.where(rng.random(images) < 0.95, truth[:, 0], truth[:, 1])
    maps = rng.standard_normal((images, 4, 10))
    maps[..., :3] += 0.3 * truth[:, None]
    labels = hide_labels(truth[:TRAIN], 0.6, seed=seed)
    labels[-5:] = 0
    return ArraySource(maps.astype(np.float16), (2, 2)), truth, labels


@pytest.fixture(scope="module")
def run() -> FitResult:
    source, _, labels = followed()
    part = Subset(source, np.arange(TRAIN))
    return fit(part, labels, config=DSRBConfig(dim=8, graph=False), training=QUICK)


@pytest.mark.parametrize("context", [False, True])
def test_test_pictures_have_no_part_in_what_is_suggested(run: FitResult, context: bool) -> None:
    source, _, labels = followed()
    options = {"training": QUICK, "context": context}
    whole = suggested(Learnt.of(run), source, labels, **options)  # type: ignore[arg-type]
    maps = source.maps.copy()
    maps[TRAIN + 1 :] = 3 - 2 * maps[TRAIN + 1 :]
    changed = suggested(Learnt.of(run), ArraySource(maps, (2, 2)), labels, **options)  # type: ignore[arg-type]
    fewer = suggested(Learnt.of(run), Subset(source, np.arange(TRAIN + 1)), labels, **options)  # type: ignore[arg-type]
    assert np.isfinite(whole).all()
    assert np.array_equal(whole[: TRAIN + 1], changed[: TRAIN + 1])
    np.testing.assert_allclose(fewer, whole[: TRAIN + 1], atol=1e-5)


def test_a_picture_without_a_known_cell_hears_no_context(run: FitResult) -> None:
    source, _, labels = followed()
    one = Learnt.of(run)
    found = fold_context(one.folds, labels)
    assert found is not None
    logits = np.random.default_rng(0).standard_normal((len(source), 3)).astype(np.float32)
    everywhere = np.zeros((len(source), 3), np.int8)
    everywhere[:TRAIN] = labels
    shifts = surprise(unseen_logits(logits, one.folds), everywhere) @ found.weights.T
    silent = ~everywhere.any(axis=1)
    assert silent[TRAIN - 5 :].all() and not shifts[silent].any()
    # Elsewhere: of the floors that had not seen the answers, not of the logits that had.
    unknown = labels[one.folds.rows] == 0
    np.testing.assert_allclose(shifts[one.folds.rows][unknown], found.shifts[unknown], atol=1e-5)


def test_the_context_of_held_out_cells_is_that_of_their_fold(run: FitResult) -> None:
    _, _, labels = followed()
    one = Learnt.of(run)
    found = fold_context(one.folds, labels)
    assert found is not None and len(one.folds.rows) < one.folds.rows[-1] + 1, "rows are left out"
    held = zip(one.holdout.rows.tolist(), one.holdout.columns, strict=True)
    expected = [found.shifts[one.folds.rows.tolist().index(row), column] for row, column in held]
    assert held_shifts(found, one.folds, one.holdout).tolist() == expected and np.any(expected)


def test_context_lifts_the_hidden_cells_and_leaves_test_pictures_their_ranking() -> None:
    gains = []
    for seed in range(3):
        source, truth, labels = followed(seed=seed)
        rows = np.arange(len(source))
        scores = [
            method(name).fit_predict(source, labels, rows[:TRAIN], rows[TRAIN:], seed=0, training=QUICK)
            for name in ("linear+propagation", "linear+context")
        ]
        hidden = np.where(labels == 0, truth[:TRAIN], 0).astype(np.int8)
        maps = [
            (mean_average_precision(s[:TRAIN], hidden), mean_average_precision(s[TRAIN:], truth[TRAIN:]))
            for s in scores
        ]
        gains.append(np.subtract(maps[1], maps[0]))
    hidden_gain, test_gain = np.mean(gains, axis=0)
    assert hidden_gain > 0.03 and abs(test_gain) < 0.02


def test_a_run_without_a_floor_leaves_nothing_to_suggest_from() -> None:
    source, _, labels = followed()
    stopped = fit(
        Subset(source, np.arange(TRAIN)),
        labels,
        config=DSRBConfig(dim=8, graph=False),
        training=QUICK,
        should_stop=lambda: True,
    )
    with pytest.raises(ValueError, match="cancelled before anything was learnt"):
        Learnt.of(stopped)
