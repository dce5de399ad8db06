"""What similar names say of a category without a yes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsrb_core.names import mixed_scores, most_similar, name_weights


def naive_weights(vectors: np.ndarray, target: np.ndarray, temperature: float) -> list[float]:
    middle = (vectors.sum(axis=0) + target) / (len(vectors) + 1)
    cosines = []
    for vector in vectors:
        a, b = vector - middle, target - middle
        cosines.append(float(a @ b) / (float(np.sqrt(a @ a)) * float(np.sqrt(b @ b))))
    powers = [np.exp(c / temperature) for c in cosines]
    return [p / sum(powers) for p in powers]


def test_weights_are_the_softmax_of_centred_cosines() -> None:
    rng = np.random.default_rng(0)
    vectors, target = rng.normal(size=(5, 7)) + 3, rng.normal(size=7) + 3
    found = name_weights(vectors, target, temperature=0.3)
    assert found == pytest.approx(naive_weights(vectors, target, 0.3), rel=1e-4)


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_weights_sum_to_one_and_the_same_name_counts_most(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 16))
    same = int(rng.integers(count))
    found = name_weights(vectors, vectors[same])
    assert found.sum() == pytest.approx(1, rel=1e-5)
    assert most_similar(found, 1).tolist() == [same]


@pytest.mark.parametrize("shapes", [((1, 3), (3,)), ((2, 3), (4,)), ((2, 3), (1, 3))])
def test_other_shapes_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="names need vectors"):
        name_weights(np.ones(shapes[0]), np.ones(shapes[1]))


def test_scores_are_mixed_in_their_own_units_and_a_constant_column_says_nothing() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(50, 4)).astype(np.float16)
    scores[:, 2] = 3
    weights = np.array([0.5, 0.2, 0.3], np.float32)
    found = mixed_scores(scores, np.array([0, 2, 3]), weights)
    a, b = scores[:, 0].astype(float), scores[:, 3].astype(float)
    expected = 0.5 * (a - a.mean()) / a.std() + 0.3 * (b - b.mean()) / b.std()
    assert found == pytest.approx(expected, abs=1e-4)
