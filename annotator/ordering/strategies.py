"""Scores of cells: from probabilities to what is worth asking. Pure functions on arrays, float32 out.

Every function takes arrays of any shape, cell by cell, unless it says otherwise. A higher score is asked
earlier.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from annotator.ordering.ties import cell_hash
from dsrb_core.calibration import sigmoid

Scores = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

PRECISION = 0.95  # share of right ones wanted among the cells that are taken as yes without asking


def likely(p: np.ndarray) -> Scores:
    """Greedy search for positives: the score is the probability itself."""
    return np.asarray(p, np.float32)


def uncertain(p: np.ndarray) -> Scores:
    """Uncertainty sampling: entropy of the yes/no question in bits, 1 at one half and 0 at certainty."""
    q = np.clip(np.asarray(p, np.float32), 1e-6, 1 - 1e-6)
    return np.asarray(-(q * np.log2(q) + (1 - q) * np.log2(1 - q)), np.float32)


def expected_cost(p: np.ndarray, precision: float = PRECISION) -> Scores:
    """Bayes risk of leaving the cell unasked, under the loss that a wanted precision implies.

    Taking a cell as yes pays off exactly from p = precision on when a wrong yes costs precision / (1 -
    precision) times as much as a yes that stays unfound. Unasked, a cell below that costs p, one above it
    (1 - p) precision / (1 - precision): continuous, and highest where the two meet, at what is likely but
    not certain. The unit is one yes that stays unfound. ValueError unless 0 < precision < 1.
    """
    if not 0 < precision < 1:
        raise ValueError(f"A precision lies between 0 and 1, not at {precision}.")
    q = np.asarray(p, np.float32)
    return np.asarray(np.minimum(q, (1 - q) * np.float32(precision / (1 - precision))), np.float32)


def disagreement(model: np.ndarray, votes: np.ndarray) -> Scores:
    """Query by committee of two: |probability by the model - probability by the neighbours|, from log-odds.

    The difference of probabilities and not a divergence: a divergence grows without bound where one of
    the two is nearly certain, so that 0.0001 against 0.01 would come before 0.4 against 0.6.
    """
    return np.asarray(np.abs(sigmoid(model) - sigmoid(votes)), np.float32)


def coverage(p: np.ndarray, positives: np.ndarray) -> Scores:
    """Greedy step of the submodular coverage sum over categories of log(1 + known positives).

    The score is the expected gain p log((n + 2) / (n + 1)) with the category's n known `positives`, which
    broadcast against `p`: a category with few known positives comes first, and yields as it fills.
    """
    n = np.asarray(positives, np.float32)
    return np.asarray(np.asarray(p, np.float32) * np.log1p(1 / (n + 1)), np.float32)


def prefix_sums(costs: np.ndarray, most: int) -> Scores:
    """Sums (N, k) of the 1, 2 ... k highest of each row's costs (N, C), k = min(most, C); costs are >= 0."""
    k = min(most, costs.shape[1])
    top = -np.partition(-costs, k - 1, axis=1)[:, :k] if k < costs.shape[1] else costs
    return np.asarray(np.cumsum(-np.sort(-top, axis=1), axis=1), np.float32)


def rates(sums: np.ndarray, *, opening: float, per_cell: float) -> Scores:
    """Value per second (N,) of pictures: the best over k of `sums` (N, k) / (opening + k per_cell).

    Seconds in; a person who has answered the cells worth answering may leave the rest open, so the best k
    counts. Answering a cell never raises the rate of its picture.
    """
    seconds = np.float32(opening) + np.float32(per_cell) * np.arange(1, sums.shape[1] + 1, dtype=np.float32)
    return np.asarray((sums / seconds).max(axis=1), np.float32)


def rank(
    scores: np.ndarray, open_mask: np.ndarray, *, image_ids: Ids, category_ids: Ids, seed: int, limit: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows and columns of the at most `limit` best open cells of `scores` (N, C), best first.

    Equal scores are ordered by a hash of (seed, image id, category id): any order of them is as good, and
    this one is the same on every start, on every machine and for every size of the table.
    """
    rows, columns = np.nonzero(open_mask & ~np.isnan(scores))
    values = scores[rows, columns]
    if len(values) > limit:
        threshold = -np.partition(-values, limit - 1)[limit - 1] if limit else np.inf
        kept = values >= threshold
        rows, columns, values = rows[kept], columns[kept], values[kept]
    ties = cell_hash(seed, image_ids[rows], category_ids[columns])
    order = np.lexsort((ties, -values))[:limit]
    return rows[order], columns[order]
