"""From model and neighbours to one calibrated probability per cell. Needs numpy only.

Neighbours speak through a smoothed share of positives among decided cells, weighted by similarity; the
combiner is Platt's logistic curve (Platt 1999) per category over the model's logit and that share, shrunk
towards the curve pooled over all categories: with no held-out cell a category uses the pooled curve, with
many its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dsrb_core.mixing import VOTE, fit_weights
from dsrb_core.platt import NEUTRAL, curvature, fit_curve

Float = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

MIN_PRIOR = 1e-4
SHRINKAGE = 100.0
"""Held-out cells that the pooled curve counts for against a category's own (docs/results.md, Trust)."""
LIMIT = 30.0
"""Logits are held within +-30: beyond, a probability is 0 or 1 in every use."""


def logit(probability: Floats | float) -> Float:
    """log(p / (1 - p)) with p held within 1e-4 and 1 - 1e-4."""
    p = np.clip(np.asarray(probability, np.float64), MIN_PRIOR, 1 - MIN_PRIOR)
    return np.asarray(np.log(p) - np.log1p(-p))


def sigmoid(value: Floats) -> Float:
    """1 / (1 + exp(-value)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(value, np.float64))))


def neighbour_logits(
    similarities: Floats, states: Ints, *, prior: Floats | float, temperature: float, strength: float
) -> Float:
    """Log-odds (Q,) that cells are positive, from their neighbours' similarities and states (Q, k).

    p = (sum of w over positives + strength * prior) / (sum of w + strength) with w = exp((similarity - 1) /
    temperature): `strength` is how many identical neighbours the prior counts for. States other than +1 and
    -1 (unknown, unsure) and similarities that are not finite (no neighbour) are left out; without any
    neighbour the result is the prior's log-odds. Finite always. ValueError unless temperature and strength
    are above 0.
    """
    if not (temperature > 0 and strength > 0):
        raise ValueError(f"temperature and strength must be above 0, not {temperature} and {strength}.")
    near, said = np.asarray(similarities, np.float64), np.asarray(states)
    counts = np.isfinite(near) & (np.abs(said) == 1)
    exponent = np.clip((np.where(counts, near, 0.0) - 1) / temperature, -700, LIMIT)
    weights = np.where(counts, np.exp(exponent), 0.0)
    rate = np.clip(np.asarray(prior, np.float64), MIN_PRIOR, 1 - MIN_PRIOR)
    positive = (weights * (said == 1)).sum(axis=-1) + strength * rate
    return logit(positive / (weights.sum(axis=-1) + strength))


def neighbour_logit(
    similarities: Floats, states: Ints, *, prior: float, temperature: float, strength: float
) -> float:
    """`neighbour_logits` of one cell: similarities and states (k,)."""
    return float(
        neighbour_logits(similarities, states, prior=prior, temperature=temperature, strength=strength)
    )


def choose_neighbour_settings(
    similarities: Floats, states: Ints, labels: Ints, *, prior: Floats, weights: Floats | None = None
) -> tuple[float, float]:
    """The (temperature, strength) of a small grid with the least log loss on decided cells.

    `similarities` and `states` (M, k) of each cell's neighbours, itself left out; `labels` (M,) of +-1;
    `prior` (M,) of each cell's category; `weights` (M,), how many cells each counts for, default 1. The
    middle of the grid when there is no cell.
    """
    best, chosen = np.inf, (0.1, 1.0)
    sign = np.asarray(labels, np.float64)
    if len(sign) == 0:
        return chosen
    for temperature in (0.02, 0.05, 0.1, 0.2, 0.5):
        for strength in (0.1, 0.3, 1.0, 3.0):
            given = neighbour_logits(
                similarities, states, prior=prior, temperature=temperature, strength=strength
            )
            loss = float(np.average(np.logaddexp(0.0, -sign * given), weights=weights))
            if loss < best - 1e-9:
                best, chosen = loss, (temperature, strength)
    return chosen


def category_prior(positives: Ints, negatives: Ints, *, weight: float = 4.0) -> Float:
    """Share of positives (C,) among decided cells, shrunk towards the share over all categories."""
    known = np.asarray(positives, np.float64) + np.asarray(negatives, np.float64)
    overall = (float(np.sum(positives)) + 0.5) / (float(known.sum()) + 1.0)
    share = (np.asarray(positives, np.float64) + weight * overall) / (known + weight)
    return np.clip(share, MIN_PRIOR, 1 - MIN_PRIOR)


@dataclass(frozen=True, kw_only=True)
class Combiner:
    """logit p = scale * model + offset + neighbour_weight * (neighbours - prior log-odds), per category."""

    scale: Float  # (C,) above 0, so the probability never falls as the model's logit grows
    offset: Float  # (C,)
    neighbour_weight: Float  # (C,) 0 or more
    prior: Float  # (C,) share of positives, for neighbour_logit
    temperature: float  # of neighbour_logit
    strength: float
    k: int  # neighbours to ask

    def __post_init__(self) -> None:
        for name in ("scale", "offset", "neighbour_weight", "prior"):
            values = np.asarray(getattr(self, name), np.float64)
            if values.shape != np.shape(self.scale) or values.ndim != 1 or not np.isfinite(values).all():
                raise ValueError(f"The combiner's {name} must be finite, one value per category.")
            object.__setattr__(self, name, values)
        if (self.scale <= 0).any() or (self.neighbour_weight < 0).any():
            raise ValueError("The combiner's scale must be above 0 and its neighbour_weight not below.")
        if ((self.prior <= 0) | (self.prior >= 1)).any():
            raise ValueError("The combiner's prior must lie between 0 and 1.")
        if not (self.temperature > 0 and self.strength > 0 and self.k >= 1):
            raise ValueError("The combiner's temperature and strength must be above 0 and k at least 1.")

    @property
    def categories(self) -> int:
        """Number of categories C."""
        return len(self.scale)

    def logit(
        self, column: Ints | int, model_logit: Floats | float, neighbour: Floats | float | None = None
    ) -> Float:
        """Calibrated log-odds of cells in category columns 0..C-1, arguments broadcast against each other.

        `neighbour` is the category's neighbour logit; None or NaN where a cell has no neighbours.
        """
        model = np.clip(np.asarray(model_logit, np.float64), -LIMIT, LIMIT)
        result = self.scale[column] * model + self.offset[column]
        if neighbour is not None:
            shift = np.asarray(neighbour, np.float64) - logit(self.prior[column])
            result = result + self.neighbour_weight[column] * np.nan_to_num(shift)
        return np.asarray(result)

    def probability(
        self, column: Ints | int, model_logit: Floats | float, neighbour: Floats | float | None = None
    ) -> Float:
        """Calibrated probability; arguments as in `logit`."""
        return sigmoid(self.logit(column, model_logit, neighbour))

    def to_json(self) -> str:
        """A JSON object that `from_json` reads back exactly."""
        values = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in asdict(self).items()}
        return json.dumps({"format": 1, **values}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`; ValueError when it is no combiner."""
        try:
            values: dict[str, Any] = json.loads(text)
            version = values.pop("format")
            combiner = cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"This is no combiner: {error}.") from error
        if version != 1:
            raise ValueError(f"The combiner has format {version}; this version reads format 1.")
        return combiner


def fit_combiner(
    model_logits: Floats,
    neighbours: Floats | None,
    labels: Ints,
    columns: Ints,
    n_categories: int,
    *,
    prior: Floats,
    weights: Floats | None = None,
    temperature: float = 0.1,
    strength: float = 1.0,
    k: int = 20,
    shrinkage: float = SHRINKAGE,
) -> Combiner:
    """Fit on M held-out decided cells: logits, neighbour logits (NaN or None: none), labels +-1, columns.

    `prior` (C,); `weights` (M,), how many cells each counts for (default 1, see `asking_weights`);
    `shrinkage` is how many cells the pooled curve counts for against a category's own. Works with no cell at
    all (the neutral curve), few cells, one state only, or equal logits. ValueError for a logit that is not
    finite, a label other than +-1, a weight below 0, a column outside 0..C-1 or lengths that differ.
    """
    model, own = np.asarray(model_logits), np.asarray(columns)
    signs = np.asarray(labels).astype(np.int64)
    base = np.asarray(prior, np.float64)
    counts = None if weights is None else np.asarray(weights, np.float64)
    _check_cells(model, signs, own, counts, prior=base, n_categories=n_categories)
    base = np.clip(base, MIN_PRIOR, 1 - MIN_PRIOR)
    given = np.full(len(model), np.nan) if neighbours is None else np.asarray(neighbours, np.float64)
    shift = np.nan_to_num(given - logit(base)[own])
    design = np.stack([np.clip(model, -LIMIT, LIMIT), np.ones(len(model)), shift], axis=1).astype(np.float64)
    # One ratio of neighbours to model for all categories: per category it is mostly noise (docs/results.md).
    (ratio,) = fit_weights(
        design[:, 0], shift[:, None], logit(base)[own], signs, usual=(VOTE,), weights=counts
    )
    design[:, 0] += ratio * design[:, 2]
    design[:, 2] = 0.0
    curves = _curves(design, signs, own, counts, n_categories=n_categories, shrinkage=shrinkage)
    return Combiner(
        scale=curves[:, 0],
        offset=curves[:, 1],
        neighbour_weight=ratio * curves[:, 0],
        prior=base,
        temperature=temperature,
        strength=strength,
        k=k,
    )


def _check_cells(
    model: Floats, signs: Ints, own: Ints, counts: Float | None, *, prior: Float, n_categories: int
) -> None:
    """ValueError with the first thing that is wrong with the cells of `fit_combiner`."""
    if not (len(model) == len(signs) == len(own)) or prior.shape != (n_categories,):
        raise ValueError(
            "model_logits, labels and columns must have one entry per cell and prior one per category."
        )
    if not np.isfinite(model).all() or not np.isin(signs, (-1, 1)).all():
        raise ValueError("Calibration needs finite logits and labels of +1 or -1.")
    if len(own) and (own.min() < 0 or own.max() >= n_categories):
        raise ValueError(f"Calibration columns must lie in 0..{n_categories - 1}.")
    if counts is None:
        return
    if counts.shape != model.shape or not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("Calibration weights must be finite and not below 0, one per cell.")


def _curves(
    design: Float, signs: Ints, own: Ints, weights: Float | None, *, n_categories: int, shrinkage: float
) -> Float:
    """Each category's curve (C, 3), drawn towards the one pooled over all cells."""
    pooled = fit_curve(design, signs, centre=NEUTRAL, cells=10.0, weights=weights)
    curves = np.tile(pooled, (n_categories, 1))
    if not len(own):
        return curves
    typical = curvature(design, pooled, weights)
    order = np.argsort(own, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(own[order])) + 1):
        curves[own[rows[0]]] = fit_curve(
            design[rows],
            signs[rows],
            centre=pooled,
            cells=shrinkage,
            typical=typical,
            weights=None if weights is None else weights[rows],
        )
    return curves


def expected_calibration_error(
    probabilities: Floats, labels: Ints, *, weights: Floats | None = None, bins: int = 15
) -> float:
    """Mean |share of positives - mean probability| over equal-width bins, weighted by cells (Naeini 2015).

    Labels +1 and -1 count, all others are left out; each for `weights` cells (default 1). NaN when none is
    left.
    """
    p, said = np.asarray(probabilities, np.float64).ravel(), np.asarray(labels).ravel()
    size = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64).ravel()
    counts = (np.abs(said) == 1) & (size > 0)
    if not counts.any():
        return float("nan")
    p, positive, size = p[counts], said[counts] == 1, size[counts]
    bin_of = np.minimum((p * bins).astype(np.int64), bins - 1)
    gap = np.bincount(bin_of, weights=size * (positive - p), minlength=bins)
    return float(np.abs(gap).sum() / size.sum())
