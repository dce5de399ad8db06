"""Representation blending (method.md 3.1-3.3): pure functions on category vectors (B, C, D) and labels (B,
C).

Known-positive evidence of a category is mixed into an image where that category is *unknown*, and supervised
there. A known cell's vector and target never change.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dsrb_core.prototypes import PrototypeBank

Targets = Literal["soft", "weighted"]
Partner = Literal["reversal", "permutation", "class_aware"]


@dataclass(frozen=True)
class Blend:
    """What blending gives: vectors (B, C, D); targets (B, C) with 0 = not supervised; weights (B, C); mask
    (B, C).
    """

    vectors: Tensor
    targets: Tensor
    weights: Tensor
    mask: Tensor


def choose_partners(labels: Tensor, how: Partner, *, generator: torch.Generator) -> Tensor:
    """A partner for each image of the batch, (B,) int64.

    `reversal` as published; `permutation` at random; `class_aware` draws a partner in proportion to the
    number of categories it could donate (positive there, unknown here), at random where nobody can donate
    (method.md 5.3).
    """
    batch = len(labels)
    if how == "reversal":
        return torch.arange(batch - 1, -1, -1, device=labels.device)
    order = torch.randperm(batch, generator=generator)
    if how == "permutation":
        return order.to(labels.device)
    gifts = ((labels == 0).float() @ (labels > 0).float().T).cpu()
    can_receive = gifts.sum(dim=1) > 0
    if bool(can_receive.any()):
        order[can_receive] = torch.multinomial(gifts[can_receive], 1, generator=generator).flatten()
    return order.to(labels.device)


def _supervise(
    labels: Tensor, mask: Tensor, keep: Tensor, *, targets: Targets, detach: bool
) -> tuple[Tensor, Tensor]:
    """Targets and weights (B, C): the labels, and at `mask` a positive worth 1 - keep."""
    share = 1.0 - (keep.detach() if detach else keep)
    known, one = labels.to(share.dtype), torch.ones((), dtype=share.dtype, device=share.device)
    if targets == "soft":
        goal, weight = share, (share > 0).to(share.dtype)  # a target of 0 means "drop", as everywhere
    else:
        goal, weight = one, share
    return torch.where(mask, goal, known), torch.where(mask, weight, (labels != 0).to(share.dtype))


def instance_blend(
    vectors: Tensor,
    labels: Tensor,
    *,
    partner: Tensor,
    keep: Tensor,
    targets: Targets = "weighted",
    detach_targets: bool = True,
) -> Blend:
    """Mix the partner's vector in where it is a known positive and this image does not know (ILRB / IPRB).

    f' = keep f + (1 - keep) f_partner with `keep` = lambda in [0, 1]; target 1 - keep (`soft`), or 1 at the
    weight 1 - keep (`weighted`).
    """
    mask = (labels == 0) & (labels[partner] > 0)
    mixed = torch.where(mask.unsqueeze(-1), keep * vectors + (1.0 - keep) * vectors[partner], vectors)
    goal, weight = _supervise(labels, mask, keep, targets=targets, detach=detach_targets)
    return Blend(mixed, goal, weight, mask)


def pick_unknown(labels: Tensor, available: Tensor, top_k: int, *, generator: torch.Generator) -> Tensor:
    """Choose at most `top_k` cells per image, uniformly among the unknown cells of `available` (C,)
    categories.

    (B, C) bool. A row without a candidate gets none: nothing is ever picked among known cells.
    """
    candidates = (labels == 0) & available
    draw = torch.rand(labels.shape, generator=generator).to(labels.device).masked_fill(~candidates, -1.0)
    best = draw.topk(min(top_k, labels.shape[1]), dim=1).indices
    return torch.zeros_like(candidates).scatter_(1, best, True) & candidates


def prototype_blend(
    vectors: Tensor,
    labels: Tensor,
    *,
    bank: PrototypeBank,
    own: Tensor | None,
    keep: Tensor,
    generator: torch.Generator,
    top_k: int = 1,
    targets: Targets = "weighted",
    detach_targets: bool = True,
) -> Blend:
    """Mix a prototype into `top_k` unknown cells of each image (PLRB with `own` None, PPRB with the own
    quadrants).

    `own` (B, C) int64 is the prototype a cell would belong to itself; another one is taken while there is
    one.
    """
    mask = pick_unknown(labels, bank.available, top_k, generator=generator)
    choice = bank.choose(own, (labels.shape[0], labels.shape[1]), generator=generator)
    rows, columns = mask.nonzero(as_tuple=True)
    donors = bank.vectors[columns, choice[rows, columns]].to(vectors.dtype)
    mixed = (keep * vectors[rows, columns] + (1.0 - keep) * donors).to(vectors.dtype)
    goal, weight = _supervise(labels, mask, keep, targets=targets, detach=detach_targets)
    return Blend(vectors.index_put((rows, columns), mixed), goal, weight, mask)


class BlendWeight(nn.Module):
    """lambda, the share of itself an image keeps: `fixed`, drawn from Beta(b, b), `learnable` through a
    sigmoid, or learned as it stands and `clamped` to [0, 1] in place before each use (the published form).
    """

    def __init__(
        self, how: Literal["fixed", "beta", "learnable", "clamped"], *, start: float = 0.5, beta: float = 2.0
    ) -> None:
        super().__init__()
        if not 0.0 <= start <= 1.0 or (how == "learnable" and start in (0.0, 1.0)):
            raise ValueError(
                f"The blending weight must start in [0, 1] (inside it when learnable), not {start}."
            )
        self.how, self.beta = how, beta
        value = torch.tensor(start)
        self.value: Tensor
        if how in ("learnable", "clamped"):
            self.value = nn.Parameter(torch.logit(value) if how == "learnable" else value)
        else:
            self.register_buffer("value", value)

    def forward(self, *, generator: torch.Generator) -> Tensor:
        """A scalar tensor in [0, 1]."""
        if self.how == "learnable":
            return torch.sigmoid(self.value)
        if self.how == "clamped":
            with torch.no_grad():
                self.value.clamp_(0.0, 1.0)
            return self.value.clone()  # the graph keeps the copy, so that a later clamp cannot spoil it
        if self.how == "fixed":
            return self.value
        # torch's Beta takes no generator, so a seeded uniform goes through the quantile function.
        return beta_quantile(torch.rand((), generator=generator), self.beta).to(self.value)


def beta_quantile(uniform: Tensor, beta: float) -> Tensor:
    """The value below which Beta(beta, beta) lies with probability `uniform`, by the numeric distribution
    function.
    """
    edges = torch.linspace(0.0, 1.0, 1025, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    mass = (middles * (1.0 - middles)) ** (beta - 1.0)
    below = torch.cumsum(mass, 0) / mass.sum()
    place = torch.searchsorted(below, uniform.double().clamp(0.0, 1.0)).clamp_max(len(middles) - 1)
    return middles[place].float()
