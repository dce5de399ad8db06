"""The kNN baseline: a cosine-weighted vote of the known cells of other images (method.md 10).

Letters: N images, M asked images, F features, C categories.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dsrb_core.baselines import log_odds
from dsrb_core.labels import Labels
from dsrb_core.metrics import mean_average_precision

TEMPERATURES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)
_ROWS = 512  # images compared at a time: bounds memory by _ROWS x N
_PRIOR_VOTES = 1.0  # the category's own share of positives counts like one vote
_SAME = 1 - 1e-5  # cosine of an image to itself
_TINY = 1e-30


class NeighbourVote:
    """p_c = share of positives among the images where c is known, weighted by exp(cosine / temperature).

    The share is drawn towards the category's prior as if that were one more of its n = (sum w)^2 / sum w^2
    effective votes. `features` (N, F) in the frame, `labels` (N, C). A category nobody knows keeps its prior.
    """

    def __init__(self, features: Tensor, labels: Labels) -> None:
        target = torch.from_numpy(labels).to(features.device)
        self.unit = F.normalize(features.float(), dim=1)
        self.positive, self.known = (target > 0).float(), (target != 0).float()
        self.prior = torch.sigmoid(log_odds(target))
        self._labels = labels

    def logits(self, features: Tensor, *, temperature: float) -> Tensor:
        """Logits (M, C) for features (M, F)."""
        unit = F.normalize(features.float(), dim=1)
        parts = [self._vote(part @ self.unit.T, temperature) for part in torch.split(unit, _ROWS)]
        return torch.cat(parts) if parts else self.prior[None][:0]

    def tune(self, temperatures: Sequence[float] = TEMPERATURES) -> float:
        """The temperature with the best mAP on known cells, each asked of all other images."""
        asked: dict[float, list[Tensor]] = {value: [] for value in temperatures}
        done = 0
        for part in torch.split(self.unit, _ROWS):
            near = part @ self.unit.T
            own = torch.arange(len(part), device=near.device)
            near[own, done + own] = float("-inf")  # nobody votes on themselves
            done += len(part)
            for value, parts in asked.items():
                parts.append(self._vote(near, value))
        scores = {value: _map(torch.cat(parts), self._labels) for value, parts in asked.items()}
        return max(scores, key=lambda value: scores[value])

    def _vote(self, near: Tensor, temperature: float) -> Tensor:
        # The image itself, or its copy, must not make all other votes vanish by comparison.
        others = near.masked_fill(near > _SAME, float("-inf"))
        top = others.amax(dim=1, keepdim=True).clamp_min(-1.0)
        weight = torch.exp(((near - top) / temperature).clamp_max(0.0))
        mass = weight @ self.known
        share = (weight @ self.positive) / mass.clamp_min(_TINY)
        votes = mass.square() / (weight.square() @ self.known).clamp_min(_TINY)
        p = (votes * share + _PRIOR_VOTES * self.prior) / (votes + _PRIOR_VOTES)
        return torch.logit(p.clamp(1e-6, 1 - 1e-6))


def _map(logits: Tensor, labels: Labels) -> float:
    value = mean_average_precision(logits.cpu().numpy(), labels)
    return value if value == value else -1.0  # NaN: no category can be ranked, every temperature is as good
