"""The label domain, the dropping rule and co-occurrence from partial labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dsrb_core.labels import check_labels, check_trainable, cooccurrence, hide_labels, known_mask
from dsrb_core.splits import hold_out, stratified_parts

label_arrays = arrays(
    np.int8, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=st.sampled_from([-1, 0, 1])
)


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((0, 2)), np.array([[2, 0]]), np.array([[0.5, 1.0]])])
def test_labels_outside_the_domain_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="labels must"):
        check_labels(wrong)


def test_nothing_known_and_nothing_positive_are_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="every cell is unknown"):
        check_trainable(np.zeros((3, 2), np.int8))
    with pytest.raises(ValueError, match="no positive label yet"):
        check_trainable(np.array([[-1, 0]], np.int8))
    assert check_trainable([[1, 0]]).dtype == np.int8


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_of_known_labels_is_within_three_sigma(p: float) -> None:
    complete = np.ones((400, 30), np.int8)
    share = float(known_mask(hide_labels(complete, p)).mean())
    assert abs(share - p) < 3 * np.sqrt(p * (1 - p) / complete.size)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 5))
def test_known_sets_are_nested_and_repeatable(p: float, q: float, seed: int) -> None:
    complete = np.where(np.random.default_rng(1).random((20, 5)) < 0.5, 1, -1).astype(np.int8)
    small, large = sorted((p, q))
    few, many = hide_labels(complete, small, seed=seed), hide_labels(complete, large, seed=seed)
    assert (known_mask(few) <= known_mask(many)).all()
    assert (few == hide_labels(complete, small, seed=seed)).all()
    assert (few[few != 0] == complete[few != 0]).all()


def test_everything_known_is_left_alone_and_wrong_shares_are_refused() -> None:
    complete = np.array([[1, -1]], np.int8)
    assert (hide_labels(complete, 1.0) == complete).all()
    with pytest.raises(ValueError, match="proportion"):
        hide_labels(complete, 1.5)


def test_dropping_rule_is_the_published_draw() -> None:
    np.random.seed(0)
    expected = np.random.rand(5, 4) < 0.3
    assert (known_mask(hide_labels(np.ones((5, 4), np.int8), 0.3)) == expected).all()


@given(label_arrays)
def test_graph_rows_are_finite_whatever_is_absent(labels: np.ndarray) -> None:
    adjacency = cooccurrence(labels)
    assert np.isfinite(adjacency).all()
    assert (np.diag(adjacency) == 1).all()
    absent = ~(labels > 0).any(axis=0)
    off = adjacency - np.eye(len(adjacency))
    assert (off[absent] == 0).all()
    assert (off[:, absent] == 0).all()


def test_hiding_labels_does_not_attenuate_the_graph() -> None:
    rng = np.random.default_rng(3)
    first = rng.random(60_000) < 0.3
    second = np.where(first, rng.random(60_000) < 0.6, rng.random(60_000) < 0.1)
    complete = np.where(np.stack([first, second], 1), 1, -1).astype(np.int8)
    full = cooccurrence(complete, shrinkage=0)[0, 1]
    partial = hide_labels(complete, 0.1)
    positive = partial > 0
    naive = (positive[:, 0] & positive[:, 1]).sum() / positive[:, 0].sum()
    assert full == pytest.approx(0.6, abs=0.01)
    assert cooccurrence(partial, shrinkage=0)[0, 1] == pytest.approx(full, abs=0.08)
    assert naive < 0.15 * full


def test_few_observations_shrink_an_edge() -> None:
    once = np.array([[1, 1]], np.int8)
    often = np.repeat(once, 100, axis=0)
    assert cooccurrence(once, shrinkage=4)[0, 1] == pytest.approx(0.2)
    assert cooccurrence(often, shrinkage=4)[0, 1] > 0.95
    with pytest.raises(ValueError, match="shrinkage"):
        cooccurrence(once, shrinkage=-1)


@given(label_arrays, st.integers(2, 4), st.integers(0, 3))
def test_parts_deal_out_known_cells_evenly_per_category(labels: np.ndarray, parts: int, seed: int) -> None:
    dealt = stratified_parts(labels, parts, seed=seed)
    assert ((dealt >= 0) == (labels != 0)).all()
    for column in range(labels.shape[1]):
        for state in (1, -1):
            counts = np.bincount(dealt[labels[:, column] == state, column], minlength=parts)
            assert counts.max() - counts.min() <= 1


@given(label_arrays, st.floats(0, 0.5), st.integers(0, 3))
def test_hold_out_leaves_every_category_most_of_its_labels(
    labels: np.ndarray, share: float, seed: int
) -> None:
    held = hold_out(labels, share, seed=seed)
    assert not held[labels == 0].any()
    for state in (1, -1):
        count = (labels == state).sum(0)
        assert ((held & (labels == state)).sum(0) == np.floor(count * share)).all()
