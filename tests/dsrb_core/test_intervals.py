"""Intervals against SciPy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betainc
from scipy.stats import beta, binom

from dsrb_core.intervals import at_least, lower_bound, upper_bound, wilson

counted = st.one_of(st.just(0.0), st.floats(0.01, 400))


@settings(max_examples=150, deadline=None)
@given(
    hits=st.floats(0, 3000),
    misses=st.floats(0, 3000),
    share=st.one_of(st.floats(1e-6, 1 - 1e-6), st.just(0.95)),
)
def test_the_tail_is_the_incomplete_beta_function(hits: float, misses: float, share: float) -> None:
    expected = betainc(hits, misses + 1, share) if hits > 0 else 1.0
    assert float(at_least(hits, hits + misses, share)) == pytest.approx(expected, abs=1e-9)


def test_the_tail_of_whole_numbers_is_the_binomial_one() -> None:
    hits, cells = np.arange(0, 41), np.full(41, 40)
    np.testing.assert_allclose(at_least(hits, cells, 0.3), binom.sf(hits - 1, 40, 0.3), atol=1e-12)
    assert at_least(2, 5, 0.0) == 0 and at_least(2, 5, 1.0) == 1 and at_least(0, 5, 0.0) == 1


@settings(max_examples=60, deadline=None)
@given(hits=counted, misses=counted, confidence=st.floats(0.5, 0.999))
def test_bounds_are_those_of_clopper_and_pearson(hits: float, misses: float, confidence: float) -> None:
    low = lower_bound(hits, hits + misses, confidence=confidence)
    high = upper_bound(hits, hits + misses, confidence=confidence)
    expected_low = beta.ppf(1 - confidence, hits, misses + 1) if hits else 0.0
    expected_high = beta.ppf(confidence, hits + 1, misses) if misses else 1.0
    if hits + misses > 0:
        assert low <= hits / (hits + misses) + 1e-12 and high >= hits / (hits + misses) - 1e-12
        assert (low, high) == pytest.approx((expected_low, expected_high), abs=1e-6)


def test_wilson_of_known_answers() -> None:
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert wilson(0, 0) == (0, 1)
    low, high = wilson(0, 20)
    assert low == 0 < high < 0.2
    low, high = wilson(20, 20)
    assert 0.8 < low < 1 == high
