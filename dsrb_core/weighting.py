"""How many cells a decided cell counts for, by how it came to be asked. Needs numpy only.

A cell drawn at random stands for all unknown cells. One that a strategy asked was chosen by its score, so a
curve fitted on such cells alone fits where the strategy looks and not where the unknown cells lie. Within a
stratum of equal scores the choice was as good as random: there the cells that were asked stand for the
unknown ones (weighting by the inverse of the share sampled, Horvitz and Thompson 1952).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]

FEWEST = 100
"""With fewer cells asked by a strategy their shares are mostly noise and all count alike."""
MOST = 10.0
"""A weight lies between 1/10 and 10 before it is normalised: a few cells must not decide a curve."""


def asking_weights(
    asked: Floats,
    unknown: Floats,
    by_strategy: npt.NDArray[np.bool_],
    *,
    strata: int = 10,
    fewest: int = FEWEST,
) -> Float:
    """Weights (M,) of decided cells; those that no strategy asked count 1.

    `asked` (M,) are the model's logits of the decided cells by a model that has not seen their answers,
    `unknown` (U,) those of unknown cells or of a sample of them, `by_strategy` (M,) who was asked by a
    strategy. Such a cell counts the share of unknown cells in its stratum of the logit, divided by the share
    of strategy's cells there, clipped to [0.1, 10] and then scaled to a mean of 1. The strata are quantiles
    of both kinds together, each kind with half the mass, so that neither is without strata of its own. All
    ones with fewer than `fewest` such cells, or without an unknown one. ValueError when lengths differ or a
    logit is not finite.
    """
    chosen = np.asarray(by_strategy, bool)
    logits, others = np.asarray(asked, np.float64), np.asarray(unknown, np.float64).ravel()
    if logits.ndim != 1 or logits.shape != chosen.shape:
        raise ValueError(f"There are {logits.size} logits of decided cells and {chosen.size} marks of them.")
    if not np.isfinite(logits).all() or not np.isfinite(others).all():
        raise ValueError("Weights by asking need finite logits.")
    weights = np.ones(len(logits))
    if chosen.sum() < max(fewest, 1) or not len(others):
        return weights
    edges = _edges(logits[chosen], others, strata)
    stratum = np.searchsorted(edges, logits[chosen], side="right")
    share_asked = np.bincount(stratum, minlength=len(edges) + 1) / chosen.sum()
    share_unknown = np.bincount(np.searchsorted(edges, others, side="right"), minlength=len(edges) + 1) / len(
        others
    )
    ratio = np.clip(share_unknown[stratum] / share_asked[stratum], 1 / MOST, MOST)
    weights[chosen] = ratio / ratio.mean()
    return weights


def effective_cells(weights: Floats) -> float:
    """How many equally weighted cells tell as much: (sum of w)^2 / sum of w^2 (Kish 1965); 0 without any."""
    counts = np.asarray(weights, np.float64)
    squares = float((counts**2).sum())
    return float(counts.sum()) ** 2 / squares if squares > 0 else 0.0


def _edges(asked: Float, unknown: Float, strata: int) -> Float:
    """Inner borders of the strata, ascending and distinct; equal logits are never parted."""
    values = np.concatenate([asked, unknown])
    mass = np.concatenate([np.full(len(asked), 0.5 / len(asked)), np.full(len(unknown), 0.5 / len(unknown))])
    order = np.argsort(values, kind="stable")
    below = np.cumsum(mass[order])
    places = np.searchsorted(below, np.arange(1, strata) / strata)
    return np.unique(values[order][np.minimum(places, len(values) - 1)])
