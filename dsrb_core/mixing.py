"""How much each witness counts beside the model: one weight per witness, fitted on held-out cells.

A witness shifts a cell's log-odds: similar unknown cells (propagation), decided neighbours (their vote), the
other answers of the same picture (context). Their weights are the coefficients of a logistic regression of
held-out answers on model and shifts, relative to the model's own. The category's prior is a separate term, so
that the model's ability to tell pictures apart is not mistaken for its knowledge of which categories are
frequent. Needs numpy only. Letters: M held-out cells, E witnesses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dsrb_core.platt import newton, weighted_mean

Float = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]

PROPAGATION, VOTE, CONTEXT = 1.0, 0.3, 1.0
"""Weights before a cell was seen; they were best or nearly so on both sets (docs/results.md)."""
MOST = 3.0
_CELLS = 100.0  # cells that the weights before any was seen count for


def fit_weights(
    model: Floats,
    shifts: Floats,
    prior: Floats,
    labels: npt.NDArray[np.integer],
    *,
    usual: Sequence[float],
    weights: Float | None = None,
) -> Float:
    """Weights (E,) in [0, 3] of the witnesses on M held-out cells.

    `model` (M,) logits, `shifts` (M, E), `prior` (M,) log-odds of each cell's category, `labels` (M,) of +-1;
    `usual` (E,) is what few cells are drawn towards; `weights` (M,) are how many cells each counts for
    (default 1). ValueError when shapes do not fit or a value is not finite.
    """
    start = np.asarray(usual, np.float64)
    given = np.asarray(shifts, np.float64)
    if given.shape != (len(model), len(start)) or not len(model) == len(prior) == len(labels):
        raise ValueError(f"Shifts {given.shape} do not fit {len(model)} cells and {len(start)} witnesses.")
    base = np.asarray(prior, np.float64)
    design = np.column_stack([np.asarray(model, np.float64) - base, given, base, np.ones(len(base))])
    if not np.isfinite(design).all():
        raise ValueError("Witnesses need finite logits and shifts.")
    if not len(design):
        return np.clip(start, 0.0, MOST)
    centre = np.concatenate([[1.0], start, [1.0, 0.0]])
    pull = _CELLS * np.maximum(0.1 * weighted_mean(design**2, weights), 1e-3)
    free, begin = np.ones(len(centre), bool), centre
    while True:  # ends: each round holds at least one more witness at 0
        fitted = newton(design, labels, start=begin, centre=centre, pull=pull, free=free, weights=weights)
        against = free[1:-2] & (fitted[1:-2] < 0)
        if not against.any():
            break
        free[1:-2] &= ~against
        begin = np.where(free, centre, 0.0)
    return np.clip(fitted[1:-2] / max(float(fitted[0]), 0.1), 0.0, MOST)
