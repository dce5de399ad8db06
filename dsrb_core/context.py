"""The picture's own known cells as context: a picture with a tennis racket has a person.

An answer says something about the other categories of its picture as far as it surprises: a yes where the
model was sure says nothing, a yes where it doubted says much. Each category listens to the surprises of the
others through one row of weights, learnt on top of what the model believes (method.md 10). A picture without
a known cell gets no shift. Letters: n pictures, C categories.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from dsrb_core.baselines import Objective, minimise
from dsrb_core.labels import Labels
from dsrb_core.reports import Folds, Holdout
from dsrb_core.splits import evenly
from dsrb_core.surprise import surprise

Array = npt.NDArray[np.float32]

L2 = (0.001, 0.003, 0.01, 0.03)
LIMIT = 1000
"""Above so many categories the weights between them, (C, C), are left out."""
_BIAS_L2 = 0.01
_CELLS = 2**22  # most cells learnt from: bounds memory and the seconds of a retraining


@dataclass(frozen=True)
class Context:
    """Weights (C, C), row c what category c hears of each other one, and the shifts (n, C) of the pictures.

    A known cell's shift is from weights that never saw its answer as one to explain.
    """

    weights: Array
    shifts: Array


def fit_context(
    logits: Array, labels: Labels, parts: npt.NDArray[np.int8], *, l2: Sequence[float] = L2
) -> Context | None:
    """Learn from `logits` (n, C) that have not seen the known cells' answers, and `labels` (n, C).

    `parts` (n, C): the fold of each known cell, -1 where unknown. Per category a logistic regression on the
    others' surprises with the model's logit as offset; mean loss over its known cells + l2/2 |v|^2, l2 the
    value that saves most on the cells left out. None when no value surely saves anything, with one category,
    or above `LIMIT`. ValueError when shapes do not fit.
    """
    if not logits.shape == labels.shape == parts.shape:
        raise ValueError(f"Logits {logits.shape}, labels {labels.shape} and folds {parts.shape} do not fit.")
    if not np.isfinite(logits).all():
        raise ValueError("The context needs finite logits.")
    if not 2 <= labels.shape[1] <= LIMIT or not labels.any():
        return None
    felt, offset = torch.from_numpy(surprise(logits, labels)), torch.from_numpy(logits.astype(np.float32))
    target, part = torch.from_numpy(labels), torch.from_numpy(parts)
    best, before, chosen = 0.0, float("-inf"), None
    for value in sorted(l2, reverse=True):
        heard = _left_out(felt, offset, target, part, value)
        gain = _sure_gain(offset, heard, target)
        if gain < before:
            break  # it rises and then falls as the weights get freer
        before = gain
        if gain > best:
            best, chosen = gain, (value, heard)
    if chosen is None:
        return None
    whole = _weights(felt, offset, target, chosen[0])
    return Context(whole.numpy(), torch.where(target == 0, felt @ whole.T, chosen[1]).numpy())


def fold_context(folds: Folds, labels: Labels) -> Context | None:
    """`fit_context` on the folds of a run over `labels` (N, C); its shifts are those of `folds.rows`.

    Of very many pictures a part, drawn evenly, is learnt from; the rest hears weights that saw none of it.
    """
    known = labels[folds.rows]
    count = min(len(known), max(1, _CELLS // labels.shape[1]))
    used = evenly(len(known), count)
    found = fit_context(folds.logits[used], known[used], folds.parts[used])
    if found is None or len(used) == len(known):
        return found
    shifts = surprise(folds.logits, known) @ found.weights.T
    shifts[used] = found.shifts
    return Context(found.weights, shifts)


def held_shifts(context: Context, folds: Folds, holdout: Holdout) -> Array:
    """Shifts (M,) of the held-out cells, for a context of these folds."""
    return context.shifts[np.searchsorted(folds.rows, holdout.rows), holdout.columns]


def unseen_logits(logits: npt.NDArray[np.floating], folds: Folds) -> Array:
    """Logits (N, C) that have not seen the known cells' answers: the folds' own in their rows."""
    unseen = np.array(logits, dtype=np.float32)
    unseen[folds.rows] = folds.logits
    return unseen


def _sure_gain(logits: Tensor, shifts: Tensor, labels: Tensor) -> float:
    """Cross-entropy that the shifts save per known cell, less one standard error."""
    known = labels != 0
    sign = labels[known].float()
    saved = F.softplus(-sign * logits[known]) - F.softplus(-sign * (logits + shifts)[known])
    return float(saved.mean() - saved.std() / len(saved) ** 0.5) if len(saved) > 1 else 0.0


def _left_out(felt: Tensor, offset: Tensor, labels: Tensor, parts: Tensor, l2: float) -> Tensor:
    """Shifts (n, C) of the known cells, each by weights that had not to explain it; 0 elsewhere."""
    shifts = torch.zeros_like(offset)
    for fold in range(int(parts.max()) + 1):
        seen = torch.where(parts == fold, torch.zeros_like(labels), labels)
        shifts = torch.where(parts == fold, felt @ _weights(felt, offset, seen, l2).T, shifts)
    return shifts


def _weights(felt: Tensor, offset: Tensor, labels: Tensor, l2: float) -> Tensor:
    """(C, C) with an empty diagonal: a category never hears itself."""
    count = labels.shape[1]
    others = torch.cat([1.0 - torch.eye(count), torch.ones(count, 1)], dim=1)  # the bias comes last
    start = torch.zeros(count, count + 1)
    found = minimise(_objective(felt, offset, labels, l2=l2, free=others), start)
    return found[:, :-1] * others[:, :-1]


def _objective(felt: Tensor, offset: Tensor, labels: Tensor, *, l2: float, free: Tensor) -> Objective:
    """The floor's objective on top of `offset`, with the entries that are not `free` held at 0.

    Only the known cells are gone through, a tenth of all where a tenth is known: this is run at every
    retraining.
    """
    shape, count = labels.shape, labels.shape[1]
    known = torch.nonzero(labels.flatten())[:, 0]
    columns = known % count
    share = 1.0 / torch.bincount(columns, minlength=count)[columns]
    sign, given = labels.flatten()[known], offset.flatten()[known]

    def spread(values: Tensor) -> Tensor:
        return torch.zeros_like(offset).view(-1).scatter(0, known, values).view(shape)

    def value_and_gradient(theta: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = (theta * free)[:, :-1], (theta * free)[:, -1]
        margin = sign * ((felt @ weight.T + bias).flatten()[known] + given)
        value = spread(share * F.softplus(-margin)).sum(dim=0)
        value = value + 0.5 * l2 * weight.square().sum(dim=1) + 0.5 * _BIAS_L2 * bias.square()
        pull = spread(-share * sign * torch.sigmoid(-margin))
        gradient = torch.cat(
            [pull.T @ felt + l2 * weight, (pull.sum(dim=0) + _BIAS_L2 * bias)[:, None]], dim=1
        )
        return value, gradient * free

    return value_and_gradient
