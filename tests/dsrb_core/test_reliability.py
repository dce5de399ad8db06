"""Reliability: every cell is judged by a curve that has not seen it, and counted once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsrb_core.calibration import category_prior, expected_calibration_error, fit_combiner, sigmoid
from dsrb_core.intervals import wilson
from dsrb_core.reliability import Judged, fit_and_judge, fold_of, reliability

Cells = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
WEIGHT = st.one_of(st.just(0.0), st.floats(0.01, 5))


def drawn(size: int = 3000, seed: int = 0, categories: int = 4) -> Cells:
    """Over-confident logits, labels, columns and rows."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1, 1.5, size)
    labels = np.where(rng.random(size) < sigmoid(truth), 1, -1)
    return 2.5 * truth + 1, labels, rng.integers(0, categories, size), np.arange(size)


def judge(cells: Cells, **more: np.ndarray) -> Judged:
    model, labels, columns, rows = cells
    prior = category_prior(np.full(4, 3), np.full(4, 9))
    return fit_and_judge(model, None, labels, columns, 4, rows=rows, prior=prior, **more)[1]


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(0, 1), st.sampled_from([-1, 1]), WEIGHT), max_size=40),
    bins=st.integers(1, 20),
)
def test_every_cell_is_in_one_bin_and_the_interval_holds_the_share(
    pairs: list[tuple[float, int, float]], bins: int
) -> None:
    p, labels, weights = (np.array([pair[i] for pair in pairs], float) for i in range(3))
    found = reliability(p, labels, weights, bins=bins)
    assert [one.low for one in found] == [i / bins for i in range(bins)]
    assert sum(one.cells for one in found) == int((weights > 0).sum())
    for one in found:
        if one.cells:
            assert one.low - 1e-9 <= one.probability <= one.high + 1e-9
            assert one.lower - 1e-9 <= one.share <= one.upper + 1e-9
        else:
            assert np.isnan([one.probability, one.share, one.lower, one.upper]).all()


def test_the_gaps_of_the_bins_make_the_calibration_error() -> None:
    judged = judge(drawn())
    bins = judged.bins(bins=15)
    gap = sum(one.cells * abs(one.share - one.probability) for one in bins if one.cells) / len(judged)
    assert judged.calibration_error() == pytest.approx(gap)
    eight_of_ten = reliability(np.full(10, 0.85), np.array([1] * 8 + [-1] * 2))[8]
    assert (eight_of_ten.cells, eight_of_ten.share) == (10, 0.8)
    assert (eight_of_ten.lower, eight_of_ten.upper) == pytest.approx(wilson(8, 10))


def test_a_cell_is_judged_by_curves_that_have_not_seen_its_answer() -> None:
    cells = drawn(400)
    judged, place = judge(cells), 7
    turned = cells[1].copy()
    turned[place] *= -1
    again = judge((cells[0], turned, *cells[2:]))
    assert again.probabilities[place] == judged.probabilities[place]
    assert not np.array_equal(again.probabilities, judged.probabilities), "the others have seen it"


def test_judged_cells_tell_the_error_that_new_cells_have() -> None:
    model, labels, columns, rows = drawn(4000)
    prior = category_prior(np.full(4, 3), np.full(4, 9))
    combiner, judged = fit_and_judge(model, None, labels, columns, 4, rows=rows, prior=prior)
    fresh = drawn(20_000, seed=1)
    there = expected_calibration_error(combiner.probability(fresh[2], fresh[0]), fresh[1])
    assert judged.calibration_error() == pytest.approx(there, abs=0.02)
    assert expected_calibration_error(sigmoid(model), labels) > 0.1
    again = fit_combiner(model, None, labels, columns, 4, prior=prior)
    np.testing.assert_allclose(again.scale, combiner.scale, rtol=1e-6)


def test_on_few_cells_the_judged_ones_are_not_flattered() -> None:
    """Noise alone: what the curve has learnt of its own cells is worth nothing on others."""
    seen, judged = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        model, labels = rng.normal(0, 2, 40), rng.choice([-1, 1], 40)
        columns = np.repeat(np.arange(4), 10)
        prior = np.full(4, 0.5)
        combiner, out = fit_and_judge(model, None, labels, columns, 4, rows=np.arange(40), prior=prior)
        p = combiner.probability(columns, model)
        seen.append(np.mean((p - (labels > 0)) ** 2))
        judged.append(np.mean((out.probabilities - (labels > 0)) ** 2))
    assert np.mean(seen) < 0.24 < np.mean(judged)


def test_weights_and_votes_have_their_part() -> None:
    model, labels, columns, rows = drawn()
    weights = np.where(np.arange(len(model)) < 1500, 2.0, 0.5)
    judged = judge((model, labels, columns, rows), weights=weights)
    np.testing.assert_array_equal(judged.weights, weights.astype(np.float32))
    helped = fit_and_judge(0 * model, labels * 1.0, labels, columns, 4, rows=rows, prior=np.full(4, 0.5))[1]
    assert helped.probabilities[labels > 0].min() > 0.6 > 0.4 > helped.probabilities[labels < 0].max()


@pytest.mark.parametrize("size", [0, 1, 3])
def test_few_cells_are_judged_too(size: int) -> None:
    judged = judge(drawn(size))
    assert len(judged) == size and np.isfinite(judged.probabilities).all()
    assert np.isnan(Judged.nothing().calibration_error()) and len(Judged.nothing()) == 0


def test_folds_are_of_equal_size_and_a_matter_of_the_cell_alone() -> None:
    rows, columns = np.repeat(np.arange(500), 8), np.tile(np.arange(8), 500)
    parts = fold_of(rows, columns)
    assert np.bincount(parts, minlength=5).min() > 650
    for column in range(8):
        assert np.bincount(parts[columns == column], minlength=5).min() > 60
    some = np.arange(0, 4000, 7)
    np.testing.assert_array_equal(fold_of(rows[some], columns[some]), parts[some])


def test_the_cells_of_a_category_and_a_file_of_them(tmp_path: Path) -> None:
    judged = judge(drawn(200))
    parts = list(judged.by_column(5))
    assert [len(part) for part in parts] == np.bincount(judged.columns, minlength=5).tolist()
    np.testing.assert_array_equal(parts[2].labels, judged.labels[judged.columns == 2])
    judged.save(tmp_path / "judged.npz")
    back = Judged.load(tmp_path / "judged.npz")
    for name in ("columns", "labels", "probabilities", "weights"):
        np.testing.assert_array_equal(getattr(back, name), getattr(judged, name))
    np.savez(tmp_path / "other.npz", columns=np.zeros(3), labels=[], probabilities=[], weights=[])
    with pytest.raises(ValueError, match="do not fit"):
        Judged.load(tmp_path / "other.npz")
