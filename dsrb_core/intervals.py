"""Intervals of a share that was counted. Needs numpy only.

Counts may be broken numbers, such as effective cells of weighted ones.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Numbers = npt.ArrayLike

Z95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""
_MOST_STEPS = 200
_TINY = 1e-300
_EXACT = 1e-12


def wilson(successes: float, cells: float, *, z: float = Z95) -> tuple[float, float]:
    """Two-sided interval of the share behind `successes` of `cells` (Wilson 1927); (0, 1) without a cell."""
    if cells <= 0:
        return 0.0, 1.0
    share, extra = min(max(successes / cells, 0.0), 1.0), z * z / cells
    centre = share + extra / 2
    half = math.sqrt(extra * (share * (1 - share) + extra / 4))
    return max(0.0, (centre - half) / (1 + extra)), min(1.0, (centre + half) / (1 + extra))


def lower_bound(successes: float, cells: float, *, confidence: float = 0.95) -> float:
    """Exact one-sided lower bound of the share (Clopper and Pearson 1934); 0 without a success.

    Newton's method on the tail, kept within the bracket by halving it.
    """
    if cells <= 0 or successes <= 0:
        return 0.0
    low, high = 0.0, min(1.0, successes / cells)
    guess = (low + high) / 2 if high < 1 else (1 - confidence) ** (1 / cells)
    for _ in range(100):
        if not low < guess < high:  # no number lies between them any more
            break
        over = float(at_least(successes, cells, guess)) - (1 - confidence)
        low, high = (low, guess) if over > 0 else (guess, high)
        slope = _density(successes, cells - successes + 1, guess)
        step = guess - over / slope if slope > 0 else low
        last, guess = guess, step if low < step < high else (low + high) / 2
        if abs(guess - last) < _EXACT:
            break
    return guess


def upper_bound(successes: float, cells: float, *, confidence: float = 0.95) -> float:
    """Exact one-sided upper bound of the share; 1 without a failure."""
    return 1.0 - lower_bound(cells - successes, cells, confidence=confidence)


def at_least(successes: Numbers, cells: Numbers, share: float) -> Float:
    """Probability of `successes` or more among `cells` when each succeeds with `share`, broadcast.

    The regularised incomplete beta function I_share(successes, cells - successes + 1), which also has a
    meaning between whole numbers. 1 where no success is asked for.
    """
    hits, total = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(cells, np.float64))
    a, b = hits, total - hits + 1
    result = np.ones(hits.shape)
    if share <= 0:
        return np.where(a > 0, 0.0, 1.0)
    if share >= 1:
        return result
    some = a > 0
    a, b = a[some], np.maximum(b[some], _TINY)
    turned = share > (a + 1) / (a + b + 2)  # the fraction converges fast on one side only
    left, right = np.where(turned, b, a), np.where(turned, a, b)
    x = np.where(turned, 1 - share, share)
    found = _front(left, right, x) * _fraction(left, right, x) / left
    result[some] = np.clip(np.where(turned, 1 - found, found), 0.0, 1.0)
    return result


def _density(a: float, b: float, x: float) -> float:
    """Density of the beta distribution at 0 < x < 1: how fast the tail grows with the share."""
    logs = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(min(logs + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x), 700.0))


def _front(a: Float, b: Float, x: Float) -> Float:
    """x^a (1 - x)^b / B(a, b)."""
    gamma = np.frompyfunc(math.lgamma, 1, 1)
    logs = [np.asarray(gamma(value), np.float64) for value in (a + b, a, b)]
    return np.asarray(np.exp(logs[0] - logs[1] - logs[2] + a * np.log(x) + b * np.log1p(-x)))


def _fraction(a: Float, b: Float, x: Float) -> Float:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = np.ones_like(a), _away(1 - (a + b) * x / (a + 1))
    d = 1 / d
    result = d.copy()
    for step in range(1, _MOST_STEPS):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        for term in (even, odd):
            d = 1 / _away(1 + term * d)
            c = _away(1 + term / c)
            result = result * d * c
        if not len(result) or float(np.abs(d * c - 1).max()) < 1e-13:
            break
    return np.asarray(result)


def _away(value: Float) -> Float:
    """What is divided by must not be 0."""
    return np.where(np.abs(value) < 1e-30, 1e-30, value)
