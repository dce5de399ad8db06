"""Thresholds: what is promised holds on cells that nobody has seen."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from dsrb_core.calibration import sigmoid
from dsrb_core.intervals import lower_bound
from dsrb_core.thresholds import Threshold, fewest_cells, thresholds

probabilities = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
cells = st.lists(st.tuples(probabilities, st.sampled_from([-1, 1, 1])), max_size=120)


def drawn(seed: int, size: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 3, size)
    return sigmoid(0.8 * truth - 0.2), np.where(rng.random(size) < sigmoid(truth), 1, -1)


@cache
def population() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of very many cells, falling, and the sums of their true shares from the first on."""
    truth = -np.sort(-np.random.default_rng(99).normal(0, 3, 200_000))
    return sigmoid(0.8 * truth - 0.2), np.cumsum(sigmoid(truth))


def true_shares(threshold: float) -> tuple[float, float]:
    """Precision and recall at a threshold on cells without end."""
    p, yes = population()
    count = int(np.searchsorted(-p, -threshold, side="right"))
    return float(yes[count - 1] / count), float(yes[count - 1] / yes[-1])


@settings(max_examples=120, deadline=None)
@given(given_cells=cells, low=st.floats(0.3, 0.9), step=st.floats(0, 0.09), weight=st.floats(0.1, 10))
def test_more_precision_asks_for_a_higher_threshold_and_more_recall_for_a_lower(
    given_cells: list[tuple[float, int]], low: float, step: float, weight: float
) -> None:
    p, labels = np.array([c[0] for c in given_cells]), np.array([c[1] for c in given_cells], int)
    loose = thresholds(p, labels, precision=low, recall=low)
    strict = thresholds(p, labels, np.full(len(p), weight), precision=low + step, recall=low + step)
    if strict.precision.threshold is not None:
        assert loose.precision.threshold is not None
        assert loose.precision.threshold <= strict.precision.threshold
    if strict.recall.threshold is not None:
        assert loose.recall.threshold is not None
        assert loose.recall.threshold >= strict.recall.threshold
    for found, kind in ((loose.precision, "precision"), (loose.recall, "recall")):
        check(found, kind, p, labels)


def check(found: Threshold, kind: str, p: np.ndarray, labels: np.ndarray) -> None:
    """What stands in a threshold is what one counts at it."""
    if found.threshold is None:
        assert found.reason and found.cells == len(p)
        assert found.estimate is found.low is found.high is None
        return
    above, yes = p >= found.threshold, labels == 1
    whole = above if kind == "precision" else yes
    share = (above & yes).sum() / whole.sum()
    assert found.cells == whole.sum() and not found.reason
    assert found.estimate == pytest.approx(share)
    assert found.low is not None and found.high is not None
    assert found.wanted <= found.low + 1e-9 and found.low <= share + 1e-9 and share <= found.high + 1e-9
    assert found.low == pytest.approx(lower_bound(float((above & yes).sum()), float(whole.sum())), abs=1e-9)


def test_the_threshold_is_the_smallest_with_that_precision_and_the_largest_with_that_recall() -> None:
    p, labels = drawn(0)
    found = thresholds(p, labels, precision=0.8, recall=0.8)
    yes = labels == 1
    assert found.precision.threshold is not None and found.recall.threshold is not None
    above = p[None] >= np.unique(p)[:, None]  # (thresholds, cells)
    hits = (above & yes).sum(axis=1)
    precise = binom.sf(hits - 1, above.sum(axis=1), 0.8) <= 0.05
    complete = binom.sf(hits - 1, yes.sum(), 0.8) <= 0.05
    assert found.precision.threshold == np.unique(p)[precise].min()
    assert found.recall.threshold == np.unique(p)[complete].max()


@pytest.mark.parametrize(("precision", "recall"), [(0.95, 0.9), (0.8, 0.8)])
def test_the_promise_holds_in_nine_sets_of_ten_or_more(precision: float, recall: float) -> None:
    kept, given_one = {"precision": 0, "recall": 0}, {"precision": 0, "recall": 0}
    for seed in range(200):
        found = thresholds(*drawn(seed), precision=precision, recall=recall)
        for place, (kind, one) in enumerate((("precision", found.precision), ("recall", found.recall))):
            if one.threshold is not None:
                given_one[kind] += 1
                kept[kind] += true_shares(one.threshold)[place] >= one.wanted
    assert min(given_one.values()) > 100, "a promise that is never made is no promise"
    assert kept["precision"] >= 0.9 * given_one["precision"]
    assert kept["recall"] >= 0.9 * given_one["recall"]


def test_weighted_cells_count_for_what_they_are_worth() -> None:
    p, labels = drawn(3)
    plain = thresholds(p, labels, precision=0.8, recall=0.8)
    uneven = np.where(np.arange(len(p)) % 10 == 0, 10.0, 0.1)
    weighted = thresholds(p, labels, uneven, precision=0.8, recall=0.8)
    assert plain.precision.threshold is not None and weighted.recall.low is not None
    assert plain.recall.low is not None and weighted.recall.high is not None and plain.recall.high is not None
    assert weighted.recall.high - weighted.recall.low > plain.recall.high - plain.recall.low
    none = thresholds(p, labels, np.zeros(len(p)))
    assert none.precision.threshold is None and none.recall.threshold is None


def test_too_few_cells_are_said_in_words() -> None:
    assert (fewest_cells(0.95), fewest_cells(0.9)) == (59, 29)
    p = np.linspace(0.5, 1, 58)
    found = thresholds(p, np.ones(58, int))
    assert found.precision.threshold is None and found.recall.threshold is not None
    assert found.precision.reason == "58 of 59 yes needed"
    assert thresholds(np.append(p, 0.99), np.ones(59, int)).precision.threshold == 0.5
    assert thresholds(p[:0], p[:0].astype(int)).recall.reason == "0 of 29 yes needed"
    mixed = thresholds(np.linspace(0, 1, 200), np.tile([1, -1], 100))
    assert mixed.precision.reason == "no threshold is sure of 95 %"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.array([0, 1])}, "labels of"),
        ({"labels": np.array([1])}, "one label"),
        ({"weights": np.array([1.0, -1.0])}, "weights from 0"),
        ({"probabilities": np.array([np.nan, 1.0])}, "finite"),
        ({"precision": 1.0}, "precision must lie"),
        ({"recall": 0.0}, "recall must lie"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, object], message: str) -> None:
    usual = {"probabilities": np.array([0.2, 0.7]), "labels": np.array([-1, 1])}
    with pytest.raises(ValueError, match=message):
        thresholds(**(usual | changed))  # type: ignore[arg-type]
