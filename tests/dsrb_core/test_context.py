"""A picture's known cells as context: who is heard, by whom, and that no answer comes back to itself."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from dsrb_core.context import (
    LIMIT,
    Context,
    _objective,
    _sure_gain,
    fit_context,
    fold_context,
    unseen_logits,
)
from dsrb_core.labels import hide_labels
from dsrb_core.metrics import average_precision
from dsrb_core.reports import Folds
from dsrb_core.splits import stratified_parts
from dsrb_core.surprise import surprise


def pictures(
    count: int = 600, *, follows: float = 0.9, known: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Logits that know a little, complete labels, known ones, folds: 1 follows 0, 2 is on its own."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random((count, 3)) < 0.4, 1, -1).astype(np.int8)
    truth[:, 1] = np.where(rng.random(count) < follows, truth[:, 0], truth[:, 1])
    logits = (truth + 1.5 * rng.standard_normal(truth.shape)).astype(np.float32)
    labels = hide_labels(truth, known, seed=seed)
    return logits, truth, labels, stratified_parts(labels, 3, seed=seed)


def hidden_gain(found: Context, logits: np.ndarray, truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AP (C,) of the hidden cells with the context's shifts less that without."""
    hidden = np.where(labels == 0, truth, 0).astype(np.int8)
    return average_precision(logits + found.shifts, hidden) - average_precision(logits, hidden)


def test_a_category_that_follows_another_hears_it_and_its_hidden_cells_gain() -> None:
    logits, truth, labels, parts = pictures()
    found = fit_context(logits, labels, parts)
    assert found is not None
    gain = hidden_gain(found, logits, truth, labels)
    apart = max(np.abs(found.weights[2]).max(), np.abs(found.weights[:, 2]).max())
    assert min(found.weights[0, 1], found.weights[1, 0]) > 2 * apart
    assert gain[0] > 0.05 and gain[1] > 0.05 and abs(gain[2]) < 0.02


def test_a_category_that_excludes_another_is_heard_as_a_no() -> None:
    logits, truth, _, _ = pictures()
    truth[:, 1] *= -1
    logits[:, 1] *= -1
    labels = hide_labels(truth, 0.5)
    found = fit_context(logits, labels, stratified_parts(labels, 3, seed=0))
    assert found is not None and found.weights[0, 1] < -1
    assert hidden_gain(found, logits, truth, labels)[1] > 0.05


@pytest.mark.parametrize("seed", range(4))
def test_independent_categories_hear_next_to_nothing(seed: int) -> None:
    logits, truth, labels, parts = pictures(follows=0.0, seed=seed)
    found = fit_context(logits, labels, parts)
    assert found is None or np.abs(hidden_gain(found, logits, truth, labels)).max() < 0.02


def test_nobody_hears_itself() -> None:
    logits, _, labels, parts = pictures()
    found = fit_context(logits, labels, parts)
    assert found is not None
    assert np.diagonal(found.weights).tolist() == [0, 0, 0] and bool(found.weights.any(axis=1).all())


def test_a_picture_without_a_known_cell_has_no_shift() -> None:
    logits, _, labels, _ = pictures()
    labels[:50] = 0
    labels[50:60] = [[0, 1, 0]]
    found = fit_context(logits, labels, stratified_parts(labels, 3, seed=0))
    assert found is not None
    assert not found.shifts[:50].any()
    assert not found.shifts[50:60, 1].any(), "nor has a cell that is the only known one of its picture"
    assert bool(found.shifts[50:60, 0].all())


def test_unknown_cells_are_shifted_by_the_weights_of_all_known_ones() -> None:
    logits, _, labels, parts = pictures(200)
    found = fit_context(logits, labels, parts)
    assert found is not None
    expected = surprise(logits, labels) @ found.weights.T
    np.testing.assert_allclose(found.shifts[labels == 0], expected[labels == 0], atol=1e-6)


def test_a_known_cell_hears_nothing_of_its_own_answer() -> None:
    logits, _, labels, parts = pictures(200)
    row, column = np.argwhere((labels[:, 0] != 0) & (labels[:, 1] != 0))[7, 0], 1
    flipped = labels.copy()
    flipped[row, column] *= -1
    one, two = (fit_context(logits, given, parts, l2=(0.01,)) for given in (labels, flipped))
    assert one is not None and two is not None
    fold = parts[:, column] == parts[row, column]
    seen = (labels[:, column] != 0) & ~fold
    assert one.shifts[row, column] != 0
    # Its own fold's weights never had to explain it: its shift, and those beside it, stay as they were.
    np.testing.assert_allclose(two.shifts[fold, column], one.shifts[fold, column], atol=1e-4)
    # The weights of the other folds had to, and the picture's other cells hear the surprise.
    assert np.abs(two.shifts[seen, column] - one.shifts[seen, column]).max() > 1e-3
    assert abs(two.shifts[row, 0] - one.shifts[row, 0]) > 0.5


def test_a_held_shift_is_the_same_when_its_answer_was_never_given() -> None:
    """The weights that a fold's cells are heard with are those fitted without its answers."""
    logits, _, labels, parts = pictures(200)
    found = fit_context(logits, labels, parts, l2=(0.01,))
    assert found is not None
    for fold in range(3):
        for column in range(3):
            left = (parts[:, column] == fold).nonzero()[0]
            theta = by_scipy(logits, labels, column, without=set(left.tolist()), l2=0.01)
            for row in left:
                felt = sum(theta[c] * surprise(logits, labels)[row, c] for c in range(3) if c != column)
                assert found.shifts[row, column] == pytest.approx(felt, abs=2e-3)


def test_the_weights_are_those_of_a_general_optimiser() -> None:
    logits, _, labels, parts = pictures(200)
    found = fit_context(logits, labels, parts, l2=(0.01,))
    assert found is not None
    for column in range(3):
        theta = by_scipy(logits, labels, column, without=set(), l2=0.01)
        np.testing.assert_allclose(found.weights[column], theta[:3], atol=2e-3)


def by_scipy(
    logits: np.ndarray, labels: np.ndarray, column: int, *, without: set[int], l2: float
) -> np.ndarray:
    """What a category hears of each (own place 0), and the bias, from its known cells but `without`."""
    rows = [row for row in range(len(labels)) if labels[row, column] != 0 and row not in without]
    answers = np.where(labels != 0, (labels > 0) - 1 / (1 + np.exp(-logits.astype(float))), 0.0)[rows]
    answers[:, column] = 0.0
    offset, sign = logits[rows, column].astype(float), labels[rows, column].astype(float)

    def loss(theta: np.ndarray) -> float:
        margin = sign * (answers @ theta[:3] + theta[3] + offset)
        penalty = 0.5 * l2 * float(theta[:3] @ theta[:3]) + 0.5 * 0.01 * theta[3] ** 2
        return float(np.logaddexp(0, -margin).mean()) + penalty

    return np.asarray(minimize(loss, np.zeros(4)).x)


def test_the_gradient_is_that_of_autograd() -> None:
    logits, _, labels, _ = pictures(60)
    g = torch.Generator().manual_seed(0)
    theta = torch.randn(3, 4, generator=g, dtype=torch.float64, requires_grad=True)
    free = torch.cat([1 - torch.eye(3), torch.ones(3, 1)], dim=1).double()
    felt, offset = torch.from_numpy(surprise(logits, labels)).double(), torch.from_numpy(logits).double()
    objective = _objective(felt, offset, torch.from_numpy(labels), l2=0.03, free=free)
    value, gradient = objective(theta)
    value.sum().backward()
    assert theta.grad is not None and value.shape == (3,)
    assert torch.allclose(gradient, theta.grad, rtol=0, atol=1e-7)  # shares of cells are single precision
    assert torch.diagonal(gradient[:, :3]).tolist() == [0, 0, 0]


def test_surprise_is_what_the_model_did_not_expect() -> None:
    logits = np.array([[0.0, 0.0, 0.0, 40.0, -40.0, 90.0]], np.float32)
    labels = np.array([[1, -1, 0, 1, 1, -1]], np.int8)
    np.testing.assert_allclose(surprise(logits, labels), [[0.5, -0.5, 0, 0, 1, -1]], atol=1e-6)


def sure_saving(logits: np.ndarray, shifts: np.ndarray, labels: np.ndarray) -> float:
    """Log loss saved per known cell, less the standard error of that mean."""
    saved = []
    for row, column in np.argwhere(labels != 0):
        sign, given = labels[row, column], logits[row, column]
        saved.append(np.logaddexp(0, -sign * given) - np.logaddexp(0, -sign * (given + shifts[row, column])))
    return float(np.mean(saved) - np.std(saved, ddof=1) / len(saved) ** 0.5)


def test_the_l2_that_surely_saves_most_on_cells_left_out_is_taken() -> None:
    logits, _, labels, parts = pictures(120, follows=0.6)
    alone = {value: fit_context(logits, labels, parts, l2=(value,)) for value in (1e-5, 0.003, 1.0)}
    saved = {
        value: sure_saving(logits, one.shifts, labels) for value, one in alone.items() if one is not None
    }
    best = max(saved, key=lambda value: saved[value])
    together, chosen = fit_context(logits, labels, parts, l2=(1.0, 1e-5, 0.003)), alone[best]
    assert together is not None and chosen is not None and len(saved) == 3
    assert best not in (min(saved), max(saved)), "neither the first nor the last of those tried"
    assert np.array_equal(together.weights, chosen.weights) and saved[best] > 0


def test_a_saving_that_could_be_chance_is_none() -> None:
    labels, zeros = torch.tensor([[1, -1, 1, -1, 1, 0]], dtype=torch.int8), torch.zeros(1, 6)
    steady, lucky = 0.3 * labels.float(), torch.tensor([[3.0, 0.1, -0.1, 0.1, -0.1, 9.0]])
    for shifts in (steady, lucky):
        expected = sure_saving(zeros.numpy(), shifts.numpy(), labels.numpy())
        assert _sure_gain(zeros, shifts, labels) == pytest.approx(expected, abs=1e-6)
    assert _sure_gain(zeros, steady, labels) > 0 > _sure_gain(zeros, lucky, labels)
    saved = -torch.nn.functional.softplus(-labels * lucky)[labels != 0].mean() + np.log(2)
    assert float(saved) > 0, "though it saves on average"
    assert _sure_gain(zeros, steady, labels * torch.tensor([1, 0, 0, 0, 0, 0])) == 0, (
        "one cell proves nothing"
    )
    assert _sure_gain(zeros, steady, 0 * labels) == 0


def test_nothing_known_one_category_or_very_many_have_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, _, labels, parts = pictures()
    assert fit_context(logits, np.zeros_like(labels), np.full_like(parts, -1)) is None
    assert fit_context(logits[:, :1], labels[:, :1], parts[:, :1]) is None
    assert LIMIT == 1000
    monkeypatch.setattr("dsrb_core.context.LIMIT", 3)
    assert fit_context(logits, labels, parts) is not None
    monkeypatch.setattr("dsrb_core.context.LIMIT", 2)
    assert fit_context(logits, labels, parts) is None


@pytest.mark.parametrize("state", [1, -1])
def test_answers_of_one_kind_give_finite_shifts(state: int) -> None:
    logits, _, labels, _ = pictures(60)
    labels = (state * np.abs(labels)).astype(np.int8)
    found = fit_context(logits, labels, stratified_parts(labels, 3, seed=0))
    assert found is None or bool(np.isfinite(found.shifts).all())


def test_shapes_that_do_not_fit_are_refused() -> None:
    logits, _, labels, parts = pictures(20)
    for given in ((logits[1:], labels, parts), (logits, labels[:, 1:], parts), (logits, labels, parts[1:])):
        with pytest.raises(ValueError, match=r"Logits .* labels .* and folds .* do not fit"):
            fit_context(*given)


def test_of_very_many_pictures_a_part_is_learnt_from_and_all_hear_it(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, _, labels, parts = pictures()
    rows = np.flatnonzero(labels.any(axis=1))
    folds = Folds(rows, parts[rows], logits[rows], ())
    whole = fold_context(folds, labels)
    plain = fit_context(logits[rows], labels[rows], parts[rows])
    assert whole is not None and plain is not None
    assert np.array_equal(whole.weights, plain.weights) and np.array_equal(whole.shifts, plain.shifts)

    monkeypatch.setattr("dsrb_core.context._CELLS", 300 * labels.shape[1])
    part = fold_context(folds, labels)
    used = np.unique(np.linspace(0, len(rows) - 1, 300).astype(np.int64))
    alone = fit_context(logits[rows[used]], labels[rows[used]], parts[rows[used]])
    assert part is not None and alone is not None and len(rows) > 400
    assert np.array_equal(part.weights, alone.weights) and np.array_equal(part.shifts[used], alone.shifts)
    rest = np.setdiff1d(np.arange(len(rows)), used)
    heard = surprise(logits[rows[rest]], labels[rows[rest]]) @ part.weights.T
    np.testing.assert_allclose(part.shifts[rest], heard, atol=1e-6)


def test_what_is_believed_has_not_seen_the_answers() -> None:
    logits = np.arange(12, dtype=np.float16).reshape(4, 3)
    folds = Folds(np.array([1, 3]), np.zeros((2, 3), np.int8), np.full((2, 3), -7, np.float32), ())
    unseen = unseen_logits(logits, folds)
    assert unseen[[1, 3]].tolist() == [[-7] * 3] * 2
    assert np.array_equal(unseen[[0, 2]], logits[[0, 2]]) and logits[1].tolist() == [3, 4, 5]
