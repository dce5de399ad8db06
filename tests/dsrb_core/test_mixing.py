"""How much each witness counts: what it deserves on held-out cells, whatever the cells are."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from dsrb_core.mixing import CONTEXT, MOST, PROPAGATION, VOTE, fit_weights

USUAL = (PROPAGATION, VOTE, CONTEXT)


def trial(cells: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Model, three honest witnesses of different worth, prior, labels; all add up to the true log-odds."""
    rng = np.random.default_rng(seed)
    prior, own = rng.normal(-1, 1, cells), rng.normal(0, 1.5, cells)
    shifts = rng.normal(0, 1, (cells, 3))
    truth = prior + own + shifts @ np.array([0.5, 1.0, 2.0])
    labels = np.where(rng.random(cells) < 1 / (1 + np.exp(-truth)), 1, -1)
    return own + prior, shifts, prior, labels


def penalised(
    theta: np.ndarray, design: np.ndarray, labels: np.ndarray, usual: Sequence[float]
) -> tuple[float, np.ndarray]:
    """Log loss and the pull of a hundred cells towards the model itself, the usual weights and its prior."""
    centre = np.array([1.0, *usual, 1.0, 0.0])
    pull = np.array([100 * max(0.1 * float(np.mean(column**2)), 1e-3) for column in design.T])
    value, slope = 0.5 * float(pull @ (theta - centre) ** 2), pull * (theta - centre)
    for cell, label in zip(design, labels, strict=True):
        value += float(np.logaddexp(0, -label * (cell @ theta)))
        slope = slope - label * cell / (1 + np.exp(label * (cell @ theta)))
    return value, slope


values = st.one_of(st.floats(-1e6, 1e6), st.floats(-5, 5), st.just(0.0))
cells = st.lists(st.tuples(values, values, values, values, st.sampled_from([-1, 1])), max_size=12)


@settings(max_examples=100, deadline=None)
@given(given_cells=cells, usual=st.tuples(st.floats(-10, 10), st.floats(-10, 10)), single=st.booleans())
def test_weights_are_finite_and_within_bounds_whatever_the_cells(
    given_cells: list[tuple[float, float, float, float, int]], usual: tuple[float, float], single: bool
) -> None:
    table = np.array([cell[:4] for cell in given_cells], float).reshape(-1, 4)
    labels = np.array([1 if single else cell[4] for cell in given_cells], int)
    found = fit_weights(table[:, 0], table[:, 1:3], table[:, 3], labels, usual=usual)
    assert found.shape == (2,)
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= MOST).all()


def test_before_a_cell_is_seen_the_weights_are_the_usual_ones() -> None:
    none, no_label = np.zeros(0), np.zeros(0, int)
    assert fit_weights(none, np.zeros((0, 3)), none, no_label, usual=USUAL).tolist() == list(USUAL)
    assert fit_weights(none, np.zeros((0, 2)), none, no_label, usual=(7.0, -1.0)).tolist() == [MOST, 0.0]
    assert fit_weights(none, np.zeros((0, 0)), none, no_label, usual=()).shape == (0,)


def test_few_cells_hardly_move_the_usual_weights_and_many_do() -> None:
    gaps = []
    for count in (5, 100, 4000):
        model, shifts, prior, labels = trial(count)
        found = fit_weights(model, shifts, prior, labels, usual=USUAL)
        gaps.append(float(np.abs(found - USUAL).max()))
    assert gaps[0] < 0.3 < gaps[1] < gaps[2]


def test_many_cells_give_every_witness_what_it_deserves() -> None:
    model, shifts, prior, labels = trial(8000)
    found = fit_weights(model, shifts, prior, labels, usual=USUAL)
    np.testing.assert_allclose(found, [0.5, 1.0, 2.0], atol=0.12)
    free = LogisticRegression(C=1e6, max_iter=1000)
    slopes = free.fit(np.column_stack([model - prior, shifts, prior]), labels).coef_[0]
    np.testing.assert_allclose(found, slopes[1:4] / slopes[0], atol=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_the_weights_are_those_of_a_general_optimiser(seed: int) -> None:
    model, shifts, prior, labels = trial(120, seed)
    design = np.column_stack([model - prior, shifts, prior, np.ones(120)])
    start = np.array([1.0, *USUAL, 1.0, 0.0])
    options = {"gtol": 1e-7}
    reference = minimize(penalised, start, args=(design, labels, USUAL), jac=True, options=options).x
    assert (reference[:4] > 0.1).all(), "no bound is touched here"
    found = fit_weights(model, shifts, prior, labels, usual=USUAL)
    np.testing.assert_allclose(found, np.minimum(reference[1:4] / reference[0], MOST), atol=1e-5)


def test_a_misleading_witness_is_silenced_and_the_others_go_on_without_it() -> None:
    model, shifts, prior, labels = trial(400)
    liar = -labels + np.random.default_rng(1).normal(0, 1, 400)
    found = fit_weights(model, np.insert(shifts, 1, liar, axis=1), prior, labels, usual=(1.0, 1.0, 0.3, 1.0))
    alone = fit_weights(model, shifts, prior, labels, usual=USUAL)
    assert found[1] == 0
    np.testing.assert_allclose(np.delete(found, 1), alone, atol=1e-6)


def test_all_may_be_misleading() -> None:
    model, shifts, prior, labels = trial(600)
    assert fit_weights(model, -shifts, prior, labels, usual=USUAL).tolist() == [0.0, 0.0, 0.0]


def test_a_witness_that_speaks_the_truth_outweighs_one_that_guesses() -> None:
    rng = np.random.default_rng(2)
    labels = rng.choice([-1, 1], 2000)
    shifts = np.column_stack([labels + rng.normal(0, 1, 2000), rng.normal(0, 1, 2000)])
    model = labels + rng.normal(0, 1.5, 2000)
    truthful, guessing = fit_weights(model, shifts, np.zeros(2000), labels, usual=(1.0, 1.0))
    assert truthful > 1 and guessing < 0.2


def test_a_model_that_misleads_leaves_the_weights_within_bounds() -> None:
    model, shifts, prior, labels = trial(2000)
    found = fit_weights(prior - 3 * (model - prior), shifts, prior, labels, usual=USUAL)
    assert (found >= 0).all() and (found <= MOST).all() and found[2] == MOST


def test_what_the_model_knows_of_frequent_categories_does_not_change_what_witnesses_count() -> None:
    model, shifts, prior, labels = trial(8000)
    once = fit_weights(model, shifts, prior, labels, usual=USUAL)
    ignorant = fit_weights(model - prior, shifts, prior, labels, usual=USUAL)
    np.testing.assert_allclose(ignorant, once, atol=0.05)


@pytest.mark.parametrize(
    ("model", "shifts", "prior", "labels", "message"),
    [
        (3, (3, 1), 3, 3, r"Shifts \(3, 1\) do not fit 3 cells and 2 witnesses"),
        (3, (4, 2), 3, 3, r"Shifts \(4, 2\) do not fit 3 cells"),
        (3, (3,), 3, 3, "do not fit"),
        (3, (3, 2), 2, 3, "do not fit"),
        (3, (3, 2), 3, 4, "do not fit"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    model: int, shifts: tuple[int, ...], prior: int, labels: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_weights(
            np.zeros(model), np.zeros(shifts), np.zeros(prior), np.ones(labels, int), usual=(1.0, 0.3)
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", range(3))
def test_a_value_that_is_not_finite_is_refused(value: float, where: int) -> None:
    given_values = [np.zeros(2), np.zeros((2, 1)), np.zeros(2)]
    given_values[where][1] = value
    with pytest.raises(ValueError, match="finite logits and shifts"):
        fit_weights(*given_values, np.array([1, -1]), usual=(1.0,))
