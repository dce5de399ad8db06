"""The figures of a protocol run: the one place that reads complete labels. Torch-free.

Letters: N pictures, C categories.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from dsrb_core.datasets import Dataset
from dsrb_core.labels import Labels
from dsrb_core.metrics import mean_average_precision, threshold_metrics

Figures = dict[str, float | None]
Array = npt.NDArray[np.float64]
_THRESHOLD = ("cp", "cr", "cf1", "op", "or", "of1")
_FIGURES = ("map", "map_interpolated", *_THRESHOLD, *(f"top3_{name}" for name in _THRESHOLD))


def figures(scores: npt.NDArray[np.floating], truth: Labels) -> Figures:
    """mAP in both conventions, CP CR CF1 OP OR OF1 and the same of the top 3, as shares; None = undefined.

    Only the cells of `truth` (N, C) that are not 0 count, also when the top 3 of a picture are chosen.
    """
    if not truth.any():
        return dict.fromkeys(_FIGURES)
    counted = np.where(truth != 0, scores, -np.inf)
    if not np.isfinite(scores[truth != 0]).all():
        raise ValueError("A method gave a score that is not finite.")
    found = {
        "map": mean_average_precision(scores, truth),
        "map_interpolated": mean_average_precision(scores, truth, interpolated=True),
    }
    for prefix, top in (("", None), ("top3_", 3)):
        values = asdict(threshold_metrics(counted, truth, top=top))
        found |= {prefix + name.rstrip("_"): value for name, value in values.items()}
    return {name: None if math.isnan(value) else float(value) for name, value in found.items()}


def judge(dataset: Dataset, partial: Labels, scores: npt.NDArray[np.floating]) -> tuple[Figures, Figures]:
    """Figures on the test pictures and on the hidden cells of the train pictures: two populations."""
    hidden = np.where(partial == 0, dataset.labels, 0).astype(np.int8)
    return (
        figures(scores[dataset.test], dataset.labels[dataset.test]),
        figures(scores[dataset.train], hidden[dataset.train]),
    )


def mean_and_spread(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation over seeds; None where there is no value, or only one to spread."""
    defined: Array = np.array([value for value in values if value is not None], dtype=np.float64)
    if not defined.size:
        return None, None
    return float(defined.mean()), float(defined.std(ddof=1)) if defined.size > 1 else None
