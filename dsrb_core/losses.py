"""Losses on known and blended cells (method.md 3.4), always in float32 and finite whatever is missing."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dsrb_core.config import DSRBConfig


def partial_bce(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy over the supervised cells, divided by their weight.

    `targets` (B, C): t > 0 is a (soft) positive, softplus(x) - t x; t < 0 a negative, softplus(x); 0 is
    ignored, its gradient is exactly 0. `weights` (B, C) default to 1. With nothing supervised the loss is 0
    and keeps the graph.
    """
    x, t = logits.float(), targets.float()
    counted = t != 0
    share = counted.float() if weights is None else torch.where(counted, weights.float(), 0.0)
    element = F.softplus(x) - t.clamp_min(0.0) * x
    total = share.sum()
    # where() keeps an ignored cell's infinite logit from turning 0 * inf into NaN.
    return torch.where(share > 0, share * element, 0.0).sum() / torch.where(
        total > 0, total, torch.ones_like(total)
    )


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
        self.negative_pairs = config.negative_pairs
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
        """Unweighted losses by name: the views `known`, `instance`, `prototype`; `contrastive` and `l2`."""
        losses = {name: partial_bce(view.logits, view.targets, view.weights) for name, view in views.items()}
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
