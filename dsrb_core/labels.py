"""The label domain {-1, 0, +1}: checks, the published dropping rule, co-occurrence from partial labels.

Letters: N images, C categories. +1 is a known positive, -1 a known negative, 0 is unknown, never negative.
Torch-free.
"""

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int8]
"""(N, C) in {-1, 0, +1}."""


def check_labels(labels: npt.ArrayLike) -> Labels:
    """Return `labels` as a contiguous int8 (N, C) array.

    ValueError when it is not two-dimensional, is empty, or holds another value than -1, 0, +1.
    """
    array = np.asarray(labels)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"labels must have the shape (images, categories), both at least 1, not {array.shape}."
        )
    strange = ~np.isin(array, (-1, 0, 1))
    if strange.any():
        raise ValueError(f"labels must be -1, 0 or +1; found {array[strange][0]!r}.")
    return np.ascontiguousarray(array, dtype=np.int8)


def check_trainable(labels: npt.ArrayLike) -> Labels:
    """`check_labels`, and ValueError when nothing can be learnt: no known cell, or no known positive."""
    checked = check_labels(labels)
    if not checked.any():
        raise ValueError("There is no label yet: every cell is unknown.")
    if not (checked > 0).any():
        raise ValueError(
            "There is no positive label yet: mark at least one category as present on one image."
        )
    return checked


def known_mask(labels: Labels) -> npt.NDArray[np.bool_]:
    """(N, C) True where a cell is known, positive or negative."""
    return np.not_equal(labels, 0)


def hide_labels(complete: npt.ArrayLike, proportion: float, *, seed: int = 0) -> Labels:
    """Make partial labels as the published protocol does (method.md 1.2).

    One uniform draw U (N, C) from NumPy's legacy generator; a cell stays known iff U < `proportion`. The draw
    does not depend on `proportion`, so the known sets are nested. `complete` is (N, C) in {-1, +1} (zeros
    stay zero). ValueError when `proportion` is outside [0, 1].
    """
    if not 0.0 <= proportion <= 1.0:
        raise ValueError(f"proportion must lie in [0, 1], not {proportion}.")
    labels = check_labels(complete)
    if proportion == 1.0:
        return labels.copy()
    draw = np.random.RandomState(seed).random_sample(labels.shape)
    return np.where(draw < proportion, labels, 0).astype(np.int8)


def cooccurrence(labels: Labels, *, shrinkage: float = 5.0) -> npt.NDArray[np.float32]:
    """Adjacency A (C, C), rows finite whatever the labels (method.md 2.3, both defects repaired).

    A_ij = n(i+, j+) / (n(i+, j known) + `shrinkage`): the share of positives of j among the images where i is
    positive *and j is known*, so that hiding labels at random does not attenuate it; few observations shrink
    it to "no edge". A_ii = 1, also for a category that was never seen. ValueError when `shrinkage` is
    negative.
    """
    if shrinkage < 0:
        raise ValueError(f"shrinkage must not be negative, not {shrinkage}.")
    positive = (labels > 0).astype(np.float32)
    joint = positive.T @ positive
    observed = positive.T @ known_mask(labels).astype(np.float32)
    adjacency = np.zeros_like(joint)
    np.divide(joint, observed + np.float32(shrinkage), out=adjacency, where=joint > 0)
    np.fill_diagonal(adjacency, 1.0)
    return adjacency
