"""Metrics against scikit-learn, a hand-computed case and a slow reference."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from dsrb_core.metrics import average_precision, mean_average_precision, threshold_metrics
from tests.references import interpolated_ap


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_average_precision_is_scikit_learns_also_with_ties(cells: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([c[0] for c in cells], float), np.array([c[1] for c in cells])
    assume(positive.any() and not positive.all())
    labels = np.where(positive, 1, -1)[:, None]
    expected = average_precision_score(positive, scores)
    assert average_precision(scores[:, None], labels)[0] == pytest.approx(expected)


@given(st.permutations(list(range(8))), st.lists(st.booleans(), min_size=8, max_size=8))
def test_interpolated_average_precision_is_the_area_under_the_envelope(
    order: list[int], positive: list[bool]
) -> None:
    assume(any(positive) and not all(positive))
    scores = [float(x) for x in order]
    labels = np.where(positive, 1, -1)[:, None]
    found = average_precision(np.array(scores)[:, None], labels, interpolated=True)[0]
    assert found == pytest.approx(interpolated_ap(scores, positive))


def test_hand_computed_case() -> None:
    scores, labels = np.array([[4.0], [3.0], [2.0], [1.0]]), np.array([[-1], [1], [-1], [1]])
    assert average_precision(scores, labels)[0] == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 4)
    assert average_precision(scores * 1.0, np.array([[1], [-1], [-1], [1]]), interpolated=True)[0] == 0.75


def test_absent_category_scores_nan_not_zero_and_is_left_out_of_the_mean() -> None:
    scores = np.arange(6.0).reshape(3, 2)
    labels = np.array([[-1, -1], [-1, 1], [-1, -1]])
    ap = average_precision(scores, labels)
    assert np.isnan(ap[0])
    assert ap[1] == 0.5
    assert mean_average_precision(scores, labels) == 0.5
    assert np.isnan(mean_average_precision(scores, np.ones((3, 2))))


def test_unknown_cells_do_not_count_even_with_wild_scores() -> None:
    scores, labels = np.array([[1.0], [np.inf], [0.0]]), np.array([[1], [0], [-1]])
    assert average_precision(scores, labels)[0] == 1.0


def test_wrong_shapes_and_nan_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        average_precision(np.zeros((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="finite"):
        average_precision(np.array([[np.nan]]), np.array([[1]]))


def test_threshold_metrics_by_hand_and_cf1_from_cp_and_cr() -> None:
    scores = np.array([[1.0, -1.0], [1.0, 2.0], [-1.0, -2.0]])
    labels = np.array([[1, 1], [-1, 1], [1, -1]])
    found = threshold_metrics(scores, labels)
    assert (found.cp, found.cr) == (0.75, 0.5)  # per category: 1/2, 1/1 and 1/2, 1/2
    assert found.cf1 == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert (found.op, found.or_) == (pytest.approx(2 / 3), 0.5)


def test_top_variant_keeps_only_the_best_categories_of_an_image() -> None:
    scores, labels = np.array([[3.0, 2.0, 1.0, -1.0]]), np.array([[1, 1, 1, 1]])
    assert threshold_metrics(scores, labels, top=2).or_ == 0.5
    assert threshold_metrics(scores, labels, top=4).or_ == 0.75


def test_category_without_a_positive_is_left_out_of_recall() -> None:
    found = threshold_metrics(np.array([[1.0, 1.0]]), np.array([[1, -1]]))
    assert (found.cr, found.cp) == (1.0, 0.5)
    nothing = threshold_metrics(np.array([[1.0]]), np.array([[-1]]))
    assert np.isnan(nothing.cr)
    assert np.isnan(nothing.cf1)
