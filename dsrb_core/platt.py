"""The bounded, shrunk logistic curve under calibration, by Newton's method. Needs numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

NEUTRAL: Float = np.array([1.0, 0.0, 0.0])
"""Scale, offset and what is added by neighbours before any cell has been seen."""
LOWER: Float = np.array([0.05, -np.inf, 0.0])
"""The curve rises with the model's logit and never falls with the neighbours'."""


def fit_curve(
    design: Float,
    labels: npt.NDArray[np.integer],
    *,
    centre: Float,
    cells: float,
    weights: Float | None = None,
    typical: Float | None = None,
) -> Float:
    """Scale, offset and neighbour weight (3,) with the least penalised log loss above `LOWER`.

    `design` (M, 3) rows of model logit, 1, neighbour shift; `labels` (M,) of +-1; `weights` (M,), not below
    0, are how many cells each counts for (default 1). The penalty pulls towards `centre` with the curvature
    that `cells` cells of curvature `typical` (3,) (default: the mean of `design`) would have, so the strength
    of the pull does not depend on the logits' scale. Convex, hence one answer; finite always.
    """
    if len(design) == 0:
        return np.maximum(centre, LOWER)
    pull = cells * np.maximum(curvature(design, centre, weights) if typical is None else typical, 1e-3)
    best, least = np.maximum(centre, LOWER), np.inf
    signs = np.asarray(labels, np.float64)
    # Two entries have a bound: all four ways to hold them there are tried, which is exact for a convex loss.
    for held in ((), (0,), (2,), (0, 2)):
        free = np.ones(3, bool)
        free[list(held)] = False
        bound = np.where(np.isfinite(LOWER), LOWER, centre)
        start = np.where(free, np.maximum(centre, LOWER), bound)
        found = newton(design, labels, start=start, centre=centre, pull=pull, free=free, weights=weights)
        if (found < LOWER).any():
            continue
        loss = _loss(design, signs, found, centre=centre, pull=pull, weights=weights)
        if loss < least:
            best, least = found, loss
        if not held:
            break  # the optimum without bounds lies within them
    return best


def curvature(design: Float, curve: Float, weights: Float | None = None) -> Float:
    """Diagonal (P,) of the mean Fisher information of one cell of `design` (M, P) at `curve` (P,)."""
    p = 0.5 * (1 + np.tanh(0.5 * (design @ curve)))
    of_cells = np.maximum(p * (1 - p), 0.01)[:, None] * design**2
    return weighted_mean(of_cells, weights)


def weighted_mean(values: Float, weights: Float | None) -> Float:
    """Mean (P,) of the rows of `values` (M, P); without weights, or where all are 0, every row counts 1."""
    if weights is None or not weights.any():
        return np.asarray(values.mean(axis=0))
    return np.asarray(weights @ values / weights.sum())


def _loss(
    design: Float, signs: Float, curve: Float, *, centre: Float, pull: Float, weights: Float | None
) -> float:
    penalty = 0.5 * float(pull @ (curve - centre) ** 2)
    cells = np.logaddexp(0.0, -signs * (design @ curve))
    return float(cells.sum() if weights is None else weights @ cells) + penalty


def newton(
    design: Float,
    labels: npt.NDArray[np.integer],
    *,
    start: Float,
    centre: Float,
    pull: Float,
    free: npt.NDArray[np.bool_],
    weights: Float | None = None,
) -> Float:
    """The curve (P,) with the least log loss of `labels` (M,) on `design` (M, P), by damped Newton steps.

    `pull` (P,) is the curvature of the quadratic penalty about `centre`; entries that are not `free` stay
    where they start; `weights` (M,) are how many cells each counts for (default 1). Convex, hence one answer.
    """
    signs, curve = np.asarray(labels, np.float64), start.copy()
    loss = _loss(design, signs, curve, centre=centre, pull=pull, weights=weights)
    counts = np.ones(len(design)) if weights is None else weights
    for _ in range(50):
        p = 0.5 * (1 + np.tanh(0.5 * (design @ curve)))
        gradient = design.T @ (counts * (p - (signs > 0))) + pull * (curve - centre)
        hessian = (design * (counts * p * (1 - p))[:, None]).T @ design + np.diag(pull)
        step = np.zeros(len(curve))
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        size = 1.0
        while size > 1e-6:
            trial = curve - size * step
            better = _loss(design, signs, trial, centre=centre, pull=pull, weights=weights)
            if better <= loss:
                break
            size /= 2
        else:
            return curve
        done = float(np.abs(curve - trial).max()) < 1e-9
        curve, loss = trial, better
        if done:
            break
    return curve
