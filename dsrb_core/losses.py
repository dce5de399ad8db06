"""Losses on known and blended cells (method.md 3.4), always in float32 and finite whatever is missing."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dsrb_core.config import DSRBConfig


def partial_bce(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    focus: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """Binary cross-entropy over the supervised cells, divided by their weight.

    `targets` (B, C): t > 0 is a (soft) positive, softplus(x) - t x; t < 0 a negative, softplus(x); 0 is
    ignored, its gradient is exactly 0. `weights` (B, C) default to 1. `focus` = (gamma+, gamma-) of the
    asymmetric loss: positives are scaled by (1 - p)^gamma+, negatives by p^gamma-. With nothing supervised
    the loss is 0 and keeps the graph.
    """
    x, t = logits.float(), targets.float()
    counted = t != 0
    share = counted.float() if weights is None else torch.where(counted, weights.float(), 0.0)
    element = F.softplus(x) - t.clamp_min(0.0) * x
    if any(focus):
        # log p and log(1 - p) as softplus, so that the powers stay finite for any logit.
        easy = torch.where(t > 0, focus[0] * F.softplus(x), focus[1] * F.softplus(-x))
        element = element * torch.exp(-torch.where(counted, easy, 0.0))
    total = share.sum()
    # where() keeps an ignored cell's infinite logit from turning 0 * inf into NaN.
    return torch.where(share > 0, share * element, 0.0).sum() / torch.where(
        total > 0, total, torch.ones_like(total)
    )


def supervise_unknown(logits: Tensor, labels: Tensor, config: DSRBConfig) -> tuple[Tensor, Tensor | None]:
    """Targets and weights (B, C) of labels (B, C) in {-1, 0, +1} under the loss mode `config.unknown`.

    `ignore`: unknown cells stay out. `weak-negative`: they are negatives of the weight `unknown_weight`.
    `selective`, after the class-aware selective loss: the same, but without the `selective_top` most likely
    unknown cells of each image, and without the categories whose mean predicted probability over the batch is
    above `selective_prior`: there an unknown cell may well be a positive. Known cells never change.
    """
    if config.unknown == "ignore":
        return labels, None
    unknown = labels == 0
    assumed = unknown
    if config.unknown == "selective":
        x = logits.detach().float()
        assumed = unknown & (torch.sigmoid(x).mean(dim=0) <= config.selective_prior)
        top = x.masked_fill(~unknown, float("-inf")).topk(min(config.selective_top, x.shape[1]), dim=1)
        assumed = assumed.scatter(1, top.indices, False)
    targets = torch.where(assumed, torch.full_like(labels, -1), labels)
    return targets, torch.where(assumed, config.unknown_weight, (labels != 0).float())


def contrastive(
    vectors: Tensor,
    labels: Tensor,
    *,
    negative_pairs: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw the known positives of a category together, and away from its known negatives.

    vectors (B, C, D), labels (B, C). Over pairs i < j of the batch and the same category: (+,+) 1 - cos,
    (+,-) 1 + cos, (-,-) 1 + cos only with `negative_pairs`. While there are n (+,+) pairs each list of the
    others is cut to n hardest and 2 n random ones (a pair may be both). Mean over all; 0 with a graph when
    there is no pair.
    """
    unit = F.normalize(vectors.float(), dim=-1).transpose(0, 1)  # (C, B, D)
    cosine = unit @ unit.transpose(1, 2)  # (C, B, B)
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    near, state = cosine[:, first, second], labels.T.to(torch.int8)
    product, known_sum = state[:, first] * state[:, second], state[:, first] + state[:, second]
    together = 1.0 - near[(product > 0) & (known_sum > 0)]
    apart = [1.0 + near[product < 0]]
    if negative_pairs:
        apart.append(1.0 + near[(product > 0) & (known_sum < 0)])
    parts = [together, *(_cut(part, len(together), generator) for part in apart)]
    pairs = torch.cat(parts)
    return pairs.mean() if len(pairs) else vectors.float().sum() * 0.0


def _cut(part: Tensor, positives: int, generator: torch.Generator | None) -> Tensor:
    if positives == 0 or len(part) <= 3 * positives:
        return part
    hardest = part.topk(positives).values
    drawn = torch.randperm(len(part), generator=generator)[: 2 * positives].to(part.device)
    return torch.cat([part[drawn], hardest])


@dataclass(frozen=True)
class Supervised:
    """Logits (B, C) with the targets (B, C) and weights (B, C) they are held against."""

    logits: Tensor
    targets: Tensor
    weights: Tensor | None = None


class Criterion:
    """The named losses of a step, and the one place where they are weighted."""

    def __init__(self, config: DSRBConfig) -> None:
        self.config, self.negative_pairs = config, config.negative_pairs
        self.focus = (config.focus_positive, config.focus_negative)
        self.weights = {
            "known": 1.0,
            "instance": config.instance_weight,
            "prototype": config.prototype_weight,
            "contrastive": config.contrastive_weight,
            "l2": config.l2,
        }

    def __call__(
        self,
        views: Mapping[str, Supervised],
        *,
        vectors: Tensor,
        labels: Tensor,
        classifier: Tensor,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Unweighted losses by name: the views `known`, `instance`, `prototype`; `contrastive` and `l2`.

        The loss mode for unknown cells holds for the view `known`, the focus for every view.
        """
        losses = {}
        for name, view in views.items():
            targets, weights = view.targets, view.weights
            if name == "known" and weights is None:
                targets, weights = supervise_unknown(view.logits, targets, self.config)
            losses[name] = partial_bce(view.logits, targets, weights, focus=self.focus)
        losses["contrastive"] = contrastive(
            vectors, labels, negative_pairs=self.negative_pairs, generator=generator
        )
        losses["l2"] = 0.5 * classifier.float().square().sum(dim=1).mean()
        return losses

    def total(self, losses: Mapping[str, Tensor], *, ramp: float = 1.0) -> Tensor:
        """Weighted sum; `ramp` in [0, 1] scales the contrastive loss during the first epoch."""
        parts = [
            self.weights[name] * (ramp if name == "contrastive" else 1.0) * loss
            for name, loss in losses.items()
        ]
        return torch.stack(parts).sum()
