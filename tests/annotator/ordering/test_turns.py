"""Every category gets its turn in the order of value."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotator.ordering.turns import SHARE, Turns

COSTS = arrays(np.float32, (30, 4), elements=st.floats(0, 1, width=32))


def _order(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores.ravel(), kind="stable")


def test_a_category_of_low_costs_gets_its_share_of_the_first_places() -> None:
    rng = np.random.default_rng(0)
    costs = rng.uniform(0.5, 1.0, (400, 10)).astype(np.float32)
    costs[:, 3:] /= 100  # seven categories that no greedy order would ask about
    greedy = _order(costs)[:200] % 10
    dealt = _order(Turns.dealt([costs], 10).scores(costs))[:200] % 10
    assert not (greedy >= 3).any()
    counts = np.bincount(dealt, minlength=10)
    assert (counts >= 0.8 * SHARE * 200 / 10).all()
    assert (dealt < 3).mean() > 0.3  # and the rest still goes to the best of all


@given(COSTS)
def test_no_cell_loses_and_the_order_within_a_category_stays(costs: np.ndarray) -> None:
    raised = Turns.dealt([costs], 4).scores(costs)
    assert (raised >= costs).all()
    for column in range(4):
        by_cost = np.argsort(costs[:, column], kind="stable")
        assert (np.diff(raised[by_cost, column]) >= 0).all()


@given(COSTS, st.integers(1, 29))
def test_parts_give_what_the_whole_gives(costs: np.ndarray, at: int) -> None:
    whole, parts = Turns.dealt([costs], 4, places=50), Turns.dealt([costs[:at], costs[at:]], 4, places=50)
    assert np.array_equal(whole.of_all, parts.of_all)
    assert np.array_equal(whole.of_category, parts.of_category)


def test_cells_that_cannot_be_asked_stay_out() -> None:
    costs = np.array([[np.nan, 0.2], [0.1, np.nan], [0.3, 0.4]], np.float32)
    raised = Turns.dealt([costs], 2).scores(costs)
    assert np.array_equal(np.isnan(raised), np.isnan(costs))
    nothing = np.full((2, 2), np.nan, np.float32)
    assert np.isnan(Turns.dealt([nothing], 2).scores(nothing)).all()
    assert np.isnan(Turns.dealt([], 2).scores(nothing)).all()
