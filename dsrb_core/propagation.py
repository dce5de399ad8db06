"""Propagation: what a model believes of similar instances of a category corrects what it believes of one.

Most cells are unknown, but their pictures are there. Each instance hears its nearest instances of the
category - decided ones with their answer, unknown ones with the model's own probability - so the unknown part
of the set smooths the model along the data (label propagation, Zhu & Ghahramani 2002, one step, in a
category-specific space). One step only: further rounds fed with their own result lost what the first gained
(docs/results.md).

Letters: N images, C categories, D instance features, S speaking images, k neighbours.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dsrb_core.calibration import category_prior, logit
from dsrb_core.labels import Labels
from dsrb_core.similar import nearest
from dsrb_core.splits import evenly

Array = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_NEIGHBOURS = 30
_TEMPERATURE = 0.2  # of the cosine
_STRENGTH = 0.3  # the prior counts for so many identical neighbours
_WORK = 5e12  # most multiplications N x C x S x D: the number of speakers falls where a set is very large
_SPEAKERS = (512, 8192)  # fewest and most


def speakers(images: int, categories: int, dim: int) -> Rows:
    """The rows that speak, drawn evenly from `images` rows so that the work stays bounded."""
    affordable = int(_WORK / max(1, images * categories * dim))
    count = min(images, max(_SPEAKERS[0], min(_SPEAKERS[1], affordable)))
    return evenly(images, count)


def propagate(
    instances: npt.NDArray[np.floating],
    logits: Array,
    labels: Labels,
    *,
    candidates: int | None = None,
    on_category: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Array | None:
    """Shift of each cell's log-odds (N, C) by its nearest instances, 0 where they say what is usual.

    `instances` (N, C, D), `logits` (N, C) of the model, `labels` (N, C), 0 unknown. Per cell, over its 30
    nearest speakers j of the category (itself left out, cosine about the category's mean): w = exp((cosine -
    1) / 0.2), p_j = 1 or 0 where known, else sigmoid(logit_j), shift = logit((sum w p + 0.3 prior) / (sum w +
    0.3)) - logit(prior). Speakers come from the first `candidates` rows (all by default). None when
    `should_stop` turned true. ValueError when shapes do not fit.
    """
    images, categories = logits.shape
    if labels.shape != logits.shape or instances.shape[:2] != logits.shape:
        raise ValueError(
            f"Instances {instances.shape}, logits {logits.shape} and labels {labels.shape} do not fit."
        )
    speaking = speakers(images if candidates is None else candidates, categories, instances.shape[2])
    shifts = np.zeros(logits.shape, dtype=np.float32)
    if len(speaking) < 2:
        return shifts
    prior = category_prior((labels == 1).sum(axis=0), (labels == -1).sum(axis=0))
    believed = beliefs(logits[speaking], labels[speaking])
    where = torch.from_numpy(speaking)
    for column in range(categories):
        if should_stop is not None and should_stop():
            return None
        vectors = torch.from_numpy(instances[:, column].astype(np.float32))
        shifts[:, column] = shift(vectors, where, believed[:, column], prior=float(prior[column]))
        if on_category is not None:
            on_category(column + 1)
    return shifts


def beliefs(logits: Array, labels: Labels) -> Array:
    """What each cell says, in [0, 1], of the same shape: its answer where known, else the model's belief."""
    believed = 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float32)))
    return np.where(labels == 0, believed, labels > 0).astype(np.float32)


def shift(
    vectors: Tensor, speaking: Tensor, believed: Array, *, prior: float, asked: Tensor | None = None
) -> Array:
    """The shift of one category's cells (Q,): vectors (N, D), speakers (S,) with their `believed` (S,).

    `asked` (Q,) are row numbers, all rows by default; `prior` the category's share of positives.
    """
    similar, where = nearest(vectors, speaking, _NEIGHBOURS, asked=asked)
    weight = torch.exp((similar - 1) / _TEMPERATURE)
    positive = (weight * torch.from_numpy(believed)[where]).sum(dim=1) + _STRENGTH * prior
    share = positive / (weight.sum(dim=1) + _STRENGTH)
    return (logit(share.numpy()) - logit(prior)).astype(np.float32)
