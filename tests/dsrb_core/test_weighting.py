"""Weights by asking: nothing where nothing was chosen, and honest curves where a strategy chose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsrb_core.calibration import expected_calibration_error, fit_combiner, sigmoid
from dsrb_core.weighting import FEWEST, MOST, asking_weights, effective_cells

finite = st.floats(-1e6, 1e6)


@settings(max_examples=80, deadline=None)
@given(
    cells=st.lists(st.tuples(finite, st.booleans()), max_size=40),
    unknown=st.lists(finite, max_size=40),
    strata=st.integers(1, 12),
)
def test_weights_are_bounded_and_of_mean_one_whatever_the_cells(
    cells: list[tuple[float, bool]], unknown: list[float], strata: int
) -> None:
    chosen = np.array([cell[1] for cell in cells], bool)
    weights = asking_weights(
        np.array([cell[0] for cell in cells]), np.array(unknown), chosen, strata=strata, fewest=2
    )
    assert (weights[~chosen] == 1).all()
    if chosen.any():
        assert weights[chosen].mean() == pytest.approx(1)
        assert weights[chosen].max() <= weights[chosen].min() * MOST**2 * (1 + 1e-9)
        assert (weights > 0).all() and np.isfinite(weights).all()


def test_cells_asked_like_the_unknown_ones_count_almost_alike() -> None:
    rng = np.random.default_rng(0)
    logits, unknown = rng.normal(-2, 2, 5000), rng.normal(-2, 2, 20_000)
    weights = asking_weights(logits, unknown, np.ones(5000, bool))
    assert np.abs(weights - 1).max() < 0.2


def test_a_stratum_that_was_asked_twice_as_often_counts_half() -> None:
    asked = np.repeat([-1.0, 1.0], [100, 200])
    weights = asking_weights(asked, np.repeat([-1.0, 1.0], [500, 500]), np.ones(300, bool))
    assert weights[asked > 0].max() == weights[asked > 0].min()
    np.testing.assert_allclose(weights[asked < 0] / weights[asked > 0][0], 2)


def test_few_cells_of_a_strategy_and_no_unknown_cell_change_nothing() -> None:
    logits, chosen = np.linspace(-3, 3, 500), np.arange(500) < FEWEST - 1
    assert (asking_weights(logits, np.full(99, -5.0), chosen) == 1).all()
    chosen[FEWEST - 1] = True
    assert (asking_weights(logits, np.full(99, -5.0), chosen) != 1).any()
    assert (asking_weights(logits, np.zeros(0), chosen) == 1).all()
    assert asking_weights(np.zeros(0), np.zeros(3), np.zeros(0, bool)).shape == (0,)


def asked_by(strategy: str, p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of 600 cells, more likely asked the more uncertain, or the more likely, they are."""
    urge = {"uncertain": p * (1 - p), "likely": p}[strategy] ** 2 + 1e-4
    return rng.choice(len(p), 600, replace=False, p=urge / urge.sum())


@pytest.mark.parametrize("strategy", ["uncertain", "likely"])
def test_calibration_on_asked_cells_fits_all_cells_better_with_weights(strategy: str) -> None:
    """The curve has not the logistic form, so that it matters where it is made to fit."""
    plain, weighted = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        model = rng.normal(-2.5, 2, 30_000)
        labels = np.where(rng.random(len(model)) < sigmoid(0.35 * model + 0.6 * np.abs(model) - 2.2), 1, -1)
        asked = asked_by(strategy, sigmoid(model), rng)
        unknown = np.setdiff1d(np.arange(len(model)), asked)
        weights = asking_weights(model[asked], model[unknown], np.ones(len(asked), bool))
        for how, found in ((None, plain), (weights, weighted)):
            curve = fit_combiner(
                model[asked],
                None,
                labels[asked],
                np.zeros(len(asked), int),
                1,
                prior=np.array([0.2]),
                weights=how,
            )
            found.append(expected_calibration_error(curve.probability(0, model), labels))
    assert np.mean(weighted) < 0.75 * np.mean(plain)


def test_effective_cells_are_the_number_where_all_count_alike_and_fewer_otherwise() -> None:
    assert effective_cells(np.full(7, 0.3)) == pytest.approx(7)
    assert 1 < effective_cells(np.array([5.0, 1.0, 1.0])) < 3
    assert effective_cells(np.zeros(0)) == effective_cells(np.zeros(2)) == 0


@pytest.mark.parametrize(
    ("asked", "unknown", "marks", "message"),
    [
        ([0.0], [0.0], [True, False], "1 logits"),
        ([np.nan], [0.0], [True], "finite"),
        ([0.0], [np.inf], [True], "finite"),
    ],
)
def test_what_does_not_fit_is_refused(
    asked: list[float], unknown: list[float], marks: list[bool], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        asking_weights(np.array(asked), np.array(unknown), np.array(marks))
