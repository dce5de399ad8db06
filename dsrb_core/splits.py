"""Random splits of known cells, stratified per category and kind of label. Torch-free.

Cells, not images, are split: categories are independent in the floor, and with few labels every one counts.
"""

import numpy as np
import numpy.typing as npt

from dsrb_core.labels import Labels


def evenly(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` of the rows 0 ... count - 1, spread evenly and ascending; all when they are few."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, most)).astype(np.int64))


def _ranks(
    labels: Labels, state: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Random rank of each cell of `state` within its category (N, C), and how many there are (C,)."""
    draw = np.where(labels == state, rng.random(labels.shape), 2.0)
    rank = np.argsort(np.argsort(draw, axis=0, kind="stable"), axis=0, kind="stable")
    return rank, (labels == state).sum(axis=0)


def stratified_parts(labels: Labels, parts: int, *, seed: int) -> npt.NDArray[np.int8]:
    """A part 0 .. parts - 1 for each known cell, -1 for an unknown one, (N, C).

    Within a category, positives and negatives are each dealt out evenly, from a random first part on.
    """
    rng = np.random.default_rng([seed, 1])
    result = np.full(labels.shape, -1, dtype=np.int8)
    for state in (1, -1):
        rank, _ = _ranks(labels, state, rng)
        first = rng.integers(parts, size=labels.shape[1])
        result = np.where(labels == state, (rank + first) % parts, result).astype(np.int8)
    return result


def hold_out(labels: Labels, share: float, *, seed: int) -> npt.NDArray[np.bool_]:
    """Cells kept for the check, (N, C): floor(share x count) positives and negatives of each category.

    Rounding down never takes a category's last label, so a category with one positive keeps it for learning.
    """
    rng = np.random.default_rng([seed, 2])
    held = np.zeros(labels.shape, dtype=np.bool_)
    for state in (1, -1):
        rank, count = _ranks(labels, state, rng)
        held |= (labels == state) & (rank < np.floor(count * share))
    return held
