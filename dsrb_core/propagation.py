"""Propagation: what a model believes of similar instances of a category corrects what it believes of one.

Most cells are unknown, but their pictures are there. Each instance hears its nearest instances of the
category - decided ones with their answer, unknown ones with the model's own probability - so the unknown part
of the set smooths the model along the data (label propagation, Zhu & Ghahramani 2002, one step, in a
category-specific space). One step only: further rounds fed with their own result lost what the first gained
(docs/results.md).

Letters: N images, C categories, D instance features, S speaking images, k neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from dsrb_core.calibration import category_prior, logit
from dsrb_core.labels import Labels
from dsrb_core.metrics import average_precision

Array = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

WEIGHTS = (0.5, 1.0, 2.0)
_NEIGHBOURS = 30
_TEMPERATURE = 0.2  # of the cosine
_STRENGTH = 0.3  # the prior counts for so many identical neighbours
_WORK = 5e12  # most multiplications N x C x S x D: the number of speakers falls where a set is very large
_SPEAKERS = (512, 8192)  # fewest and most
_CHUNK = 1000  # images compared at a time: bounds memory by _CHUNK x S


def speakers(images: int, categories: int, dim: int) -> Rows:
    """The rows that speak, drawn evenly from `images` rows so that the work stays bounded."""
    affordable = int(_WORK / max(1, images * categories * dim))
    count = min(images, max(_SPEAKERS[0], min(_SPEAKERS[1], affordable)))
    return np.unique(np.linspace(0, images - 1, count).astype(np.int64))


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
    believed = 0.5 * (1 + np.tanh(0.5 * logits[speaking].astype(np.float32)))
    believed = np.where(labels[speaking] == 0, believed, (labels[speaking] > 0)).astype(np.float32)
    for column in range(categories):
        if should_stop is not None and should_stop():
            return None
        vectors = torch.from_numpy(instances[:, column].astype(np.float32))
        shares = _shares(
            vectors, speaking, torch.from_numpy(believed[:, column].copy()), float(prior[column])
        )
        shifts[:, column] = logit(shares.numpy()) - logit(float(prior[column]))
        if on_category is not None:
            on_category(column + 1)
    return shifts


def _shares(vectors: Tensor, speaking: Rows, believed: Tensor, prior: float) -> Tensor:
    """The smoothed share of positives (N,) among each instance's nearest speakers; vectors (N, D)."""
    where = torch.from_numpy(speaking)
    unit = F.normalize(vectors - vectors[where].mean(dim=0), dim=1)
    others = unit[where].T.contiguous()
    place = torch.full((len(unit),), -1)
    place[where] = torch.arange(len(where))
    k = min(_NEIGHBOURS, len(where) - 1)
    parts = []
    for low in range(0, len(unit), _CHUNK):
        near = unit[low : low + _CHUNK] @ others
        own = place[low : low + _CHUNK]
        asked = torch.nonzero(own >= 0)[:, 0]
        near[asked, own[asked]] = -torch.inf  # nobody speaks for themselves
        top = near.topk(k, dim=1)
        weight = torch.exp((top.values - 1) / _TEMPERATURE)
        total = (weight * believed[top.indices]).sum(dim=1) + _STRENGTH * prior
        parts.append(total / (weight.sum(dim=1) + _STRENGTH))
    return torch.cat(parts)


def choose_weight(
    logits: Array, shifts: Array, held: Labels, *, weights: Sequence[float] = WEIGHTS, margin: float = 0.003
) -> float:
    """How much of the shift to add: the weight with the best mAP on held-out cells, 0 unless it helps.

    `logits` and `shifts` (N, C), `held` (N, C) with 0 for every cell that the logits have seen. The mean gain
    over categories has to reach `margin` and one standard error.
    """
    base = average_precision(logits, held)
    best, chosen = 0.0, 0.0
    for weight in weights:
        gain = average_precision(logits + np.float32(weight) * shifts, held) - base
        gain = gain[~np.isnan(gain)]
        if not gain.size:
            continue
        error = float(gain.std(ddof=1) / gain.size**0.5) if gain.size > 1 else 0.0
        if gain.mean() > best and gain.mean() >= max(margin, error):
            best, chosen = float(gain.mean()), weight
    return chosen


@dataclass(frozen=True)
class Smoothed:
    """Logits (N, C) with the shift added, those of the M held-out cells, and the weight that was chosen."""

    logits: Array
    held_logits: Array
    weight: float


def smooth(
    instances: npt.NDArray[np.floating],
    logits: Array,
    labels: Labels,
    *,
    held: tuple[Rows, npt.NDArray[np.int64]],
    held_logits: Array,
    candidates: int | None = None,
    on_category: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Smoothed | None:
    """`propagate`, and add of it what the held-out cells (rows (M,), columns (M,)) say is good.

    `held_logits` (M,) come from models that never saw those cells. None when `should_stop` turned true.
    """
    shifts = propagate(
        instances, logits, labels, candidates=candidates, on_category=on_category, should_stop=should_stop
    )
    if shifts is None:
        return None
    unseen, asked = np.zeros_like(logits, dtype=np.float32), np.zeros_like(labels)
    unseen[held], asked[held] = held_logits, labels[held]
    weight = np.float32(choose_weight(unseen, shifts, asked))
    return Smoothed(logits + weight * shifts, held_logits + weight * shifts[held], float(weight))
