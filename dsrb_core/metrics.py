"""Ranking and threshold metrics on partial labels (method.md 1.4). Torch-free; an undefined value is NaN,
never 0.

Letters: N images, C categories. Labels are (N, C) in {-1, 0, +1}; unknown cells (0) are left out.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsrb_core.labels import check_labels

Scores = npt.NDArray[np.floating]


def _check(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Scores, npt.NDArray[np.int8]]:
    checked, values = check_labels(labels), np.asarray(scores)
    if values.shape != checked.shape:
        raise ValueError(f"scores {values.shape} and labels {checked.shape} must have the same shape.")
    if not np.isfinite(values[checked != 0]).all():
        raise ValueError("scores of known cells must be finite.")
    return values, checked


def _one_category(scores: Scores, positive: npt.NDArray[np.bool_], *, interpolated: bool) -> float:
    """AP of one ranking; equal scores form one step, so the order of ties cannot matter."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # last place of each distinct score
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    if interpolated:
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def average_precision(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, interpolated: bool = False
) -> npt.NDArray[np.float64]:
    """AP per category, (C,).

    Non-interpolated = scikit-learn's; `interpolated` = area under the precision envelope (VOC 2010), the
    reported one in the literature. NaN for a category without a known positive or without a known negative:
    there is nothing to rank. ValueError when shapes differ or a known cell's score is not finite.
    """
    values, checked = _check(scores, labels)
    result = np.full(checked.shape[1], np.nan)
    for column in range(checked.shape[1]):
        known = checked[:, column] != 0
        positive = checked[known, column] > 0
        if positive.any() and not positive.all():
            result[column] = _one_category(values[known, column], positive, interpolated=interpolated)
    return result


def mean_average_precision(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, interpolated: bool = False
) -> float:
    """Mean of `average_precision` over the categories that have one; NaN when none has."""
    return nan_mean(average_precision(scores, labels, interpolated=interpolated))


def nan_mean(values: npt.NDArray[np.float64]) -> float:
    """Mean of the values that are not NaN; NaN, without a warning, when there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


@dataclass(frozen=True)
class ThresholdMetrics:
    """Precision, recall and F1: `c*` averaged over categories, `o*` over all cells. NaN where undefined."""

    cp: float
    cr: float
    cf1: float
    op: float
    or_: float
    of1: float


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else (float("nan") if np.isnan(a + b) else 0.0)


def threshold_metrics(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, threshold: float = 0.0, top: int | None = None
) -> ThresholdMetrics:
    """CP CR CF1 OP OR OF1 at `scores >= threshold`; CF1 is the harmonic mean of CP and CR, as published.

    `top` keeps only the so many best categories of an image that also reach the threshold. A category without
    a known positive has no recall and is left out of CR; one without a prediction has precision 0, as
    published.
    """
    values, checked = _check(scores, labels)
    predicted = (values >= threshold) & (checked != 0)
    if top is not None:
        best = np.argsort(-values, axis=1, kind="stable")[:, :top]
        among = np.zeros_like(predicted)
        np.put_along_axis(among, best, True, axis=1)
        predicted &= among
    positive = checked > 0
    hits, claims, truth = (x.sum(0).astype(float) for x in (predicted & positive, predicted, positive))
    recall = np.divide(hits, truth, out=np.full_like(hits, np.nan), where=truth > 0)
    cp, cr = float(np.mean(hits / np.maximum(claims, 1))), nan_mean(recall)
    total = float(truth.sum())
    op = float(hits.sum() / max(claims.sum(), 1.0))
    or_ = float(hits.sum()) / total if total else float("nan")
    return ThresholdMetrics(cp, cr, _harmonic(cp, cr), op, or_, _harmonic(op, or_))
