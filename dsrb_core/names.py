"""What the names of other categories say of one that has no yes yet.

A bus looks more like a truck than like a fork, and so do their names: the scores of the categories with the
most similar names, mixed, tell where to look for the first yes. It is an order and no probability. Measured
in docs/results.md (`benchmarks/names.py`). Letters: N images, C categories, S features of a name's vector.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

TEMPERATURE = 0.1  # of the softmax over cosines; 0.05 and 0.2 were worse with GloVe, equal or worse with text
_LEAST = 2  # learnt categories from which on a guess is made: one alone is always the most similar


def name_weights(
    vectors: npt.ArrayLike, target: npt.ArrayLike, *, temperature: float = TEMPERATURE
) -> npt.NDArray[np.float32]:
    """How much each learnt category (C,) counts for the one whose name has the vector `target` (S,).

    Softmax of the cosines to `vectors` (C, S), all taken from their common mean: in every space of words all
    pairs are somewhat alike, and what counts is who is more so. Sums to 1. ValueError for other shapes or
    fewer than two categories.
    """
    known, wanted = np.asarray(vectors, np.float32), np.asarray(target, np.float32)
    if known.ndim != 2 or wanted.shape != known.shape[1:] or len(known) < _LEAST:
        raise ValueError(f"names need vectors (C >= 2, S) and (S,), not {known.shape} and {wanted.shape}.")
    middle = np.concatenate([known, wanted[None]]).mean(axis=0)
    known, wanted = known - middle, wanted - middle
    lengths = np.linalg.norm(known, axis=1) * np.linalg.norm(wanted)
    cosines = known @ wanted / np.maximum(lengths, 1e-12)
    shares = np.exp((cosines - cosines.max()) / temperature)
    return np.asarray(shares / shares.sum(), np.float32)


def mixed_scores(
    scores: np.ndarray, columns: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Mixture (N,) of the standardised `columns` of `scores` (N, C), which may be a memory map.

    Column by column, so that no second table of all cells is needed. A column that is the same for all
    images says nothing.
    """
    found = np.zeros(len(scores), np.float32)
    for column, weight in zip(columns.tolist(), weights.tolist(), strict=True):
        values = np.asarray(scores[:, column], np.float32)
        spread = float(values.std())
        if spread > 0:
            found += weight * (values - values.mean()) / spread
    return found


def most_similar(weights: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Places of the `count` categories that count most, the most first."""
    return np.argsort(-weights, kind="stable")[:count]
