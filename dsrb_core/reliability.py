"""How far a probability can be believed: held-out cells against the curves that have not seen them.

The combiner is fitted on held-out cells, so its own figures on them are flattered. Here the cells are dealt
into folds and each is judged by a combiner of the other folds. What is fitted once for all categories - the
weights of the witnesses, temperature and strength of the vote, the prior - has still seen every cell; on
coco80 the figures told here are about half of the error on hidden cells (docs/results.md, Trust). Needs numpy
only. Letters: M held-out cells, C categories.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from dsrb_core.calibration import Combiner, expected_calibration_error, fit_combiner
from dsrb_core.intervals import wilson
from dsrb_core.weighting import effective_cells

Float = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Cells = npt.NDArray[np.int64]

FOLDS = 5
BINS = 10
JUDGED = "judged.npz"
"""The file of a generation that holds its judged cells."""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Cells whose probability lies from `low` to below `high` (the last bin includes 1).

    `probability` is their mean probability, `share` the share of positives among them, `lower` and `upper`
    its 95 % interval (Wilson 1927, of the effective number of cells); NaN all four where `cells` is 0.
    """

    low: float
    high: float
    cells: int
    probability: float
    share: float
    lower: float
    upper: float


def reliability(
    probabilities: Floats, labels: Ints, weights: Floats | None = None, *, bins: int = BINS
) -> list[Bin]:
    """Equal-width bins of `probabilities` (M,) against `labels` (M,) of +-1; `weights` (M,), default 1."""
    p, positive = np.asarray(probabilities, np.float64), np.asarray(labels) == 1
    counts = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64)
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    found = []
    for number in range(bins):
        inside = (place == number) & (counts > 0)
        low, high = number / bins, (number + 1) / bins
        found.append(_bin(low, high, p[inside], positive[inside], counts[inside]))
    return found


def _bin(low: float, high: float, p: Float, positive: npt.NDArray[np.bool_], weights: Float) -> Bin:
    if not len(p):
        nan = float("nan")
        return Bin(low=low, high=high, cells=0, probability=nan, share=nan, lower=nan, upper=nan)
    share, cells = float(np.average(positive, weights=weights)), effective_cells(weights)
    lower, upper = wilson(share * cells, cells)
    mean = float(np.average(p, weights=weights))
    return Bin(low=low, high=high, cells=len(p), probability=mean, share=share, lower=lower, upper=upper)


@dataclass(frozen=True)
class Judged:
    """Held-out cells with probabilities that have not seen their answers: columns, labels of +-1,
    probabilities and weights, (M,) each.
    """

    columns: Cells
    labels: npt.NDArray[np.int8]
    probabilities: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Number of cells M."""
        return len(self.columns)

    def of(self, column: int) -> Self:
        """The cells of one category."""
        mine = self.columns == column
        return type(self)(self.columns[mine], self.labels[mine], self.probabilities[mine], self.weights[mine])

    def by_column(self, n_categories: int) -> Iterator[Self]:
        """The cells of each category, 0 to C-1."""
        return (self.of(column) for column in range(n_categories))

    def scored(self) -> tuple[Floats, Ints, Floats]:
        """Probabilities, labels and weights, as `thresholds` and `reliability` take them."""
        return self.probabilities, self.labels, self.weights

    def calibration_error(self) -> float:
        """See `expected_calibration_error`; NaN without a cell."""
        return expected_calibration_error(self.probabilities, self.labels, weights=self.weights)

    def bins(self, *, bins: int = BINS) -> list[Bin]:
        """See `reliability`."""
        return reliability(*self.scored(), bins=bins)

    @classmethod
    def nothing(cls) -> Self:
        """No cell at all."""
        return cls(
            np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0, np.float32), np.zeros(0, np.float32)
        )

    def save(self, path: Path) -> None:
        """Write the cells to a file of their own (`.npz`)."""
        np.savez(
            path,
            columns=self.columns.astype(np.int32),
            labels=self.labels,
            probabilities=self.probabilities,
            weights=self.weights,
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Inverse of `save`; ValueError or KeyError when the file is not one of ours."""
        with np.load(path, allow_pickle=False) as kept:
            judged = cls(
                kept["columns"].astype(np.int64), kept["labels"], kept["probabilities"], kept["weights"]
            )
        if not len(judged.columns) == len(judged.labels) == len(judged.probabilities) == len(judged.weights):
            raise ValueError(f"The cells of {path.name} do not fit together.")
        return judged


def fold_of(rows: Ints, columns: Ints, *, folds: int = FOLDS) -> Cells:
    """The fold (M,) of each cell, by a hash of its row and column: independent of which others there are."""
    mixed = np.asarray(rows).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= np.asarray(columns).astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    return (mixed % np.uint64(folds)).astype(np.int64)


def fit_and_judge(
    model_logits: Floats,
    neighbours: Floats | None,
    labels: Ints,
    columns: Ints,
    n_categories: int,
    *,
    rows: Ints,
    prior: Floats,
    weights: Floats | None = None,
    temperature: float = 0.1,
    strength: float = 1.0,
    k: int = 20,
) -> tuple[Combiner, Judged]:
    """The combiner of all M cells, and each cell by the combiner of the folds that it is not in.

    `rows` (M,) of the cells' pictures deal them into folds; everything else as `fit_combiner` takes it.
    """
    counts = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)

    def fit(cells: Cells | slice) -> Combiner:
        return fit_combiner(
            model_logits[cells],
            None if neighbours is None else neighbours[cells],
            labels[cells],
            columns[cells],
            n_categories,
            prior=prior,
            weights=counts[cells],
            temperature=temperature,
            strength=strength,
            k=k,
        )

    parts, found = fold_of(rows, columns), np.zeros(len(labels), np.float32)
    for part in np.unique(parts):
        mine = np.flatnonzero(parts == part)
        votes = None if neighbours is None else neighbours[mine]
        combiner = fit(np.flatnonzero(parts != part))
        found[mine] = combiner.probability(columns[mine], model_logits[mine], votes)
    judged = Judged(
        np.asarray(columns, np.int64), np.asarray(labels, np.int8), found, counts.astype(np.float32)
    )
    return fit(slice(None)), judged
