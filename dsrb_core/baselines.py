"""The linear floor: L2 logistic regression on pooled features, one per category, from partial labels.

method.md 10: it is the baseline every table shows and the safety net the model must not fall below.
Letters: N images, F features, C categories.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from dsrb_core.labels import Labels
from dsrb_core.splits import stratified_parts

log = logging.getLogger(__name__)

_CELLS = 4_000_000  # most cells, or weights, solved together: bounds memory, columns are independent
_HISTORY = 8
_PRIOR_CELLS = 2.0  # the overall share of positives counts like so many labels of each category
_BIAS_L2 = 1e-3  # keeps the bias of a category with one kind of label finite


@dataclass(frozen=True)
class LinearFloor:
    """Logits = z W^T + b for features z (N, F) in the frame; `weight` (C, F), `bias` (C,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Logits (N, C)."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class FloorFit:
    """A floor, the L2 it was fitted with, and logits no cell had a part in.

    `out_of_fold` (N, C): for a known cell from the fold model that did not see it, for an unknown one from
    the floor. `losses`: mean out-of-fold loss of each L2 tried. `parts` (N, C) int8: the fold a known cell
    was left out of, -1 where unknown; `folds`: the floors fitted without it.
    """

    floor: LinearFloor
    l2: float
    out_of_fold: Tensor
    losses: dict[float, float]
    parts: Tensor
    folds: tuple[LinearFloor, ...]


def log_odds(labels: Tensor) -> Tensor:
    """Where each bias starts (C,): log-odds of the known labels, drawn towards the overall share."""
    positive, known = (labels > 0).sum(dim=0).float(), (labels != 0).sum(dim=0).float()
    overall = (positive.sum() / known.sum().clamp_min(1.0)).clamp(0.02, 0.5)
    return torch.logit((positive + _PRIOR_CELLS * overall) / (known + _PRIOR_CELLS))


def fit_floor(
    features: Tensor,
    labels: Labels,
    *,
    l2: Sequence[float],
    folds: int = 3,
    seed: int = 0,
    start: LinearFloor | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> FloorFit:
    """Fit the floor to features (N, F) in the frame and labels (N, C).

    Per category the loss is the mean cross-entropy over its known cells + l2/2 |w|^2, solved to convergence;
    l2 is the value with the least out-of-fold loss over known cells, folds stratified per category and kind
    of label. Every category gets a finite row, also one without positives, negatives or any label. `start`,
    an earlier floor, only says where to begin: the problems are convex. When `should_stop` turns true the
    values tried so far decide.
    """
    if len(features) < features.shape[1]:
        return _in_row_space(
            features, labels, l2=l2, folds=folds, seed=seed, start=start, should_stop=should_stop
        )
    target = torch.from_numpy(labels).to(features.device)
    parts = torch.from_numpy(stratified_parts(labels, folds, seed=seed)).to(features.device)
    known, losses = target != 0, {}
    best: tuple[float, Tensor, list[_Weights]] | None = None
    first = None if start is None else (start.weight, start.bias)
    starts = None if first is None else [first] * folds
    for value in sorted(l2, reverse=True):
        if best is not None and should_stop is not None and should_stop():
            break
        out, starts = _cross_fit(features, target, parts, folds=folds, l2=value, starts=starts)
        losses[value] = _mean_loss(out[known], target[known])
        log.debug("floor: l2 %g, out-of-fold loss %.4f", value, losses[value])
        if best is None or losses[value] < losses[best[0]]:
            best = value, out, starts
    if best is None:
        raise ValueError("l2 needs at least one value.")
    chosen, out, models = best
    # All cells are nearly what one fold has seen, so its solution is the nearest place to begin.
    floor = LinearFloor(*solve(features, target, l2=chosen, start=first or models[0]))
    return FloorFit(
        floor,
        chosen,
        torch.where(known, out, floor(features)),
        losses,
        parts,
        tuple(LinearFloor(*one) for one in models),
    )


def _in_row_space(
    features: Tensor,
    labels: Labels,
    *,
    l2: Sequence[float],
    folds: int,
    seed: int,
    start: LinearFloor | None,
    should_stop: Callable[[], bool] | None,
) -> FloorFit:
    """The same fit in N instead of F dimensions: L2 solutions are combinations of the N images, so nothing is
    lost.
    """
    basis, _ = torch.linalg.qr(features.T)  # (F, N)
    begin = None if start is None else LinearFloor(start.weight @ basis, start.bias)
    found = fit_floor(
        features @ basis, labels, l2=l2, folds=folds, seed=seed, start=begin, should_stop=should_stop
    )

    def back(floor: LinearFloor) -> LinearFloor:
        return LinearFloor(floor.weight @ basis.T, floor.bias)

    return replace(found, floor=back(found.floor), folds=tuple(back(one) for one in found.folds))


_Weights = tuple[Tensor, Tensor]


def _mean_loss(logits: Tensor, labels: Tensor) -> float:
    return float(F.softplus(-labels * logits).mean()) if len(logits) else 0.0


def _cross_fit(
    features: Tensor,
    labels: Tensor,
    parts: Tensor,
    *,
    folds: int,
    l2: float,
    starts: list[_Weights] | None,
) -> tuple[Tensor, list[_Weights]]:
    """Out-of-fold logits (N, C) (0 where unknown) and the fold models, which start the next, weaker l2."""
    out, models = torch.zeros(labels.shape, device=features.device), []
    for fold in range(folds):
        seen = torch.where(parts == fold, torch.zeros_like(labels), labels)
        models.append(solve(features, seen, l2=l2, start=starts[fold] if starts else None))
        out = torch.where(parts == fold, LinearFloor(*models[-1])(features), out)
    return out, models


def solve(features: Tensor, labels: Tensor, *, l2: float, start: _Weights | None = None) -> _Weights:
    """Weights (C, F) and biases (C,) of the regularised logistic regressions, in chunks of categories."""
    bias, step = log_odds(labels), max(1, _CELLS // max(1, *features.shape))
    weights, biases = [], []
    for low in range(0, labels.shape[1], step):
        part = slice(low, low + step)
        first = (torch.zeros(len(bias[part]), features.shape[1]).to(features), bias[part])
        w, b = _solve_chunk(
            features,
            labels[:, part],
            l2=l2,
            prior=bias[part],
            start=first if start is None else (start[0][part], start[1][part]),
        )
        weights.append(w)
        biases.append(b)
    return torch.cat(weights), torch.cat(biases)


def logistic_objective(
    features: Tensor,
    labels: Tensor,
    *,
    l2: float,
    prior: Tensor | float,
    bias_l2: float = _BIAS_L2,
    offset: Tensor | float = 0.0,
) -> "Objective":
    """theta (C, F + 1) -> value (C,) and gradient (C, F + 1); each category is its own problem."""
    share = (labels != 0).float()
    share = share / share.sum(dim=0).clamp_min(1.0)
    sign = labels.float()

    def value_and_gradient(theta: Tensor) -> tuple[Tensor, Tensor]:
        weight, off = theta[:, :-1], theta[:, -1] - prior
        margin = sign * (features @ weight.T + theta[:, -1] + offset)
        value = (share * F.softplus(-margin)).sum(dim=0)
        value = value + 0.5 * l2 * weight.square().sum(dim=1) + 0.5 * bias_l2 * off.square()
        pull = -share * sign * torch.sigmoid(-margin)
        gradient = torch.cat(
            [pull.T @ features + l2 * weight, (pull.sum(dim=0) + bias_l2 * off)[:, None]], dim=1
        )
        return value, gradient

    return value_and_gradient


def _solve_chunk(features: Tensor, labels: Tensor, *, l2: float, prior: Tensor, start: _Weights) -> _Weights:
    """Weights and biases of a few categories."""
    objective = logistic_objective(features, labels, l2=l2, prior=prior)
    theta = minimise(objective, torch.cat([start[0], start[1][:, None]], dim=1))
    return theta[:, :-1].contiguous(), theta[:, -1].contiguous()


Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""theta (C, P) -> value (C,) and gradient (C, P) of C separate problems."""


def minimise(objective: Objective, theta: Tensor) -> Tensor:
    """The least of C convex problems from theta (C, P), to a gradient of 1e-5 or what float32 can do.

    L-BFGS with a history and a step length per row, so that an easy category never waits for a hard one.
    """
    value, gradient = objective(theta)
    moves: list[Tensor] = []
    turns: list[Tensor] = []
    stuck = torch.zeros(len(theta), dtype=torch.bool, device=theta.device)
    for _ in range(200):
        going = (gradient.abs().amax(dim=1) >= 1e-5) & ~stuck
        if not bool(going.any()):
            break
        direction = -_precondition(gradient, moves, turns)
        following, new_value, new_gradient = _search(objective, theta, direction, value, gradient, going)
        move, turn = following - theta, new_gradient - gradient
        stuck |= going & (move.abs().amax(dim=1) == 0.0)  # float32 can do no better
        moves, turns = [*moves, move][-_HISTORY:], [*turns, turn][-_HISTORY:]
        theta, value, gradient = following, new_value, new_gradient
    return theta


def _precondition(gradient: Tensor, moves: list[Tensor], turns: list[Tensor]) -> Tensor:
    """Two-loop recursion, row by row; a row without curvature information falls back to a scaled gradient."""
    direction, shares = gradient.clone(), []
    bends = [(move * turn).sum(dim=1) for move, turn in zip(moves, turns, strict=True)]
    for move, turn, bend in zip(reversed(moves), reversed(turns), reversed(bends), strict=True):
        share = torch.where(bend > 1e-12, (move * direction).sum(dim=1) / bend.clamp_min(1e-12), 0.0)
        shares.append(share)
        direction = direction - share[:, None] * turn
    if moves:
        length = turns[-1].square().sum(dim=1)
        scale = torch.where(bends[-1] > 1e-12, bends[-1] / length.clamp_min(1e-12), 1.0)
        direction = direction * scale[:, None]
    for move, turn, bend, share in zip(moves, turns, bends, reversed(shares), strict=True):
        back = torch.where(bend > 1e-12, (turn * direction).sum(dim=1) / bend.clamp_min(1e-12), 0.0)
        direction = direction + (share - back)[:, None] * move
    return direction


def _search(
    objective: Objective,
    theta: Tensor,
    direction: Tensor,
    value: Tensor,
    gradient: Tensor,
    going: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve the step of each row that is `going` until it descends enough (Armijo); the others stay, and so
    does one that cannot descend.
    """
    slope = (gradient * direction).sum(dim=1)
    direction = torch.where((slope < 0)[:, None], direction, -gradient)
    slope = torch.where(slope < 0, slope, -gradient.square().sum(dim=1))
    step = going.to(value)
    for _ in range(12):
        candidate = theta + step[:, None] * direction
        new_value, new_gradient = objective(candidate)
        # The rounding of float32 must not stop a row that is practically converged.
        good = ~going | (new_value <= value + 1e-4 * step * slope + 1e-7 * value.abs())
        if bool(good.all()):
            break
        step = torch.where(good, step, step * 0.5)
    candidate = torch.where(good[:, None], candidate, theta)
    return candidate, torch.where(good, new_value, value), torch.where(good[:, None], new_gradient, gradient)
