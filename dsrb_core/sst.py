"""SST, structured semantic transfer (method.md 3.7), on cached tokens: a baseline of the protocol.

The network is the one of `model.py`. Two branches guess positives among the unknown cells of a picture: how
categories occur together in it, and how near it is to known positives of other pictures. Letters: B images,
C categories, D features, P = C (C - 1) / 2 pairs.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dsrb_core.baselines import FloorFit
from dsrb_core.config import TrainConfig
from dsrb_core.labels import Labels
from dsrb_core.losses import Criterion, Supervised
from dsrb_core.model import DSRB
from dsrb_core.stages import Stages
from dsrb_core.tokens import Rows, TokenStore
from dsrb_core.training import Learner

_CHUNK = 2**18  # floats of the widest tensor of the pair branch, whatever B and P are: stays in the cache
_QUEUE = 100  # known positives remembered per category
_COOCCURRENCE_WEIGHT = 10.0
_PUBLISHED_EPOCHS = 20


def threshold(epoch: int, epochs: int) -> float:
    """tau of epoch 0 .. epochs - 1: 0.95, from a quarter of the run on 0.025 less per published epoch, to
    0.75.

    The published run has 20 epochs; a shorter one goes through the same schedule faster.
    """
    return max(0.75, 0.95 - 0.025 * max(0.0, epoch * _PUBLISHED_EPOCHS / epochs - 5.0))


class _PairScores(torch.autograd.Function):
    """w_p . relu(l_i + r_j) for every pair p = (i, j): l, r (B, C, W), w (P, W) -> (B, P).

    The (B, P, W) product is never kept: the backward pass computes it again, part by part.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(left, right, weight)
        scores = left.new_empty(len(left), len(weight))
        for rows, i, pairs in _parts(left):
            hidden = (left[rows, i, None] + right[rows, i + 1 :]).relu_()
            scores[rows, pairs] = hidden.mul_(weight[pairs]).sum(dim=-1)
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        left, right, weight = ctx.saved_tensors
        dleft, dright, dweight = torch.zeros_like(left), torch.zeros_like(right), torch.zeros_like(weight)
        for rows, i, pairs in _parts(left):
            hidden = (left[rows, i, None] + right[rows, i + 1 :]).relu_()
            arriving = gradient[rows, pairs, None]
            on = hidden > 0
            dweight[pairs] += hidden.mul_(arriving).sum(dim=0)
            flowing = on * weight[pairs] * arriving
            dleft[rows, i] += flowing.sum(dim=1)
            dright[rows, i + 1 :] += flowing
        return dleft, dright, dweight


def _parts(left: Tensor) -> Iterator[tuple[slice, int, slice]]:
    """Images, first category and its pairs (i, i + 1) .. (i, C - 1), a bounded piece at a time."""
    images, categories, width = left.shape
    begin = 0
    for i in range(categories - 1):
        count = categories - 1 - i
        step = max(1, _CHUNK // (count * width))
        for low in range(0, images, step):
            yield slice(low, low + step), i, slice(begin, begin + count)
        begin += count


class PairLogits(nn.Module):
    """The intra-image branch: how likely two categories are both in a picture, (B, C, D) -> (B, P).

    g = Linear(f), per pair Linear - ReLU - Linear on [g_c ; g_c'] and an own weight vector. The first Linear
    is applied to each category once, and the second, with no non-linearity behind it, is folded into the
    pairs' weights: exactly the published form without ever keeping its (B, P, 2W) products.
    """

    def __init__(self, dim: int, categories: int) -> None:
        super().__init__()
        width = max(1, dim // 2)
        self.left: Tensor
        self.right: Tensor
        pairs = torch.triu_indices(categories, categories, offset=1)
        self.register_buffer("left", pairs[0])
        self.register_buffer("right", pairs[1])
        self.narrow = nn.Linear(dim, width)
        self.first, self.second = nn.Linear(2 * width, 2 * width), nn.Linear(2 * width, 2 * width)
        bound = (2 * width) ** -0.5
        self.pair_weight = nn.Parameter(torch.empty(pairs.shape[1], 2 * width).uniform_(-bound, bound))
        self.pair_bias = nn.Parameter(torch.zeros(pairs.shape[1]))

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits (B, P), pairs in the order of the upper triangle."""
        narrow = self.narrow(vectors)
        width = narrow.shape[-1]
        left = narrow @ self.first.weight[:, :width].T + self.first.bias
        right = narrow @ self.first.weight[:, width:].T
        folded = self.pair_weight @ self.second.weight
        offset = self.pair_weight @ self.second.bias + self.pair_bias
        scores = _PairScores.apply(left.float(), right.float(), folded.float())
        assert isinstance(scores, Tensor)
        return scores + offset

    def likelihood(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean probability (B, C) of occurring with the known positives of the picture; 0 without one."""
        categories = labels.shape[1]
        together = logits.new_zeros(len(labels), categories, categories)
        p = torch.sigmoid(logits)
        together[:, self.left, self.right] = p
        together[:, self.right, self.left] = p
        positive = (labels > 0).to(p.dtype)
        total = (together @ positive.unsqueeze(-1)).squeeze(-1)
        return total / positive.sum(dim=1, keepdim=True).clamp_min(1.0)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Asymmetric loss (gamma- 2, gamma+ 1, clip 0.05); a pair is positive iff both are known positives.

        As published everything else counts as 0, unknown cells included.
        """
        both = (labels[:, self.left] > 0) & (labels[:, self.right] > 0)
        x = logits.float()
        p = torch.sigmoid(x)
        clipped = (p - 0.05).clamp_min(0.0)
        element = torch.where(both, (1 - p) * F.softplus(-x), -clipped.square() * torch.log1p(-clipped))
        return element.mean() if element.numel() else x.sum()


class PositiveQueue:
    """The inter-image branch: the latest known positives of each category, first in first out."""

    def __init__(self, categories: int, *, length: int = _QUEUE) -> None:
        self.length = length
        self._kept: list[Tensor | None] = [None] * categories

    def add(self, vectors: Tensor, labels: Tensor) -> None:
        """Remember the known positives of vectors (B, C, D) by labels (B, C)."""
        for column in (labels > 0).any(dim=0).nonzero().flatten().tolist():
            fresh = F.normalize(vectors[labels[:, column] > 0, column].detach().float(), dim=-1)
            old = self._kept[column]
            self._kept[column] = (fresh if old is None else torch.cat([old, fresh]))[-self.length :]

    def similarity(self, vectors: Tensor) -> Tensor:
        """Mean cosine (B, C) of vectors (B, C, D) to the queue of the category; -1 where it is empty."""
        unit = F.normalize(vectors.detach().float(), dim=-1)
        score = unit.new_full(unit.shape[:2], -1.0)
        for column, kept in enumerate(self._kept):
            if kept is not None:
                score[:, column] = unit[:, column] @ kept.mean(dim=0)
        return score


def with_guesses(labels: Tensor, likelihood: Tensor, tau: float) -> Tensor:
    """Labels (B, C) with +1 at the unknown cells of a likelihood of at least `tau`; known cells stay."""
    guessed = (labels == 0) & (likelihood >= tau)
    return torch.where(guessed, torch.ones_like(labels), labels)


class _Criterion(Criterion):
    """The named losses with the two guessed views and the pairs, which is ramped like the contrastive one."""

    def __init__(self, model: DSRB) -> None:
        super().__init__(model.config)
        self.weights |= {"intra": 1.0, "inter": 1.0, "cooccurrence": _COOCCURRENCE_WEIGHT}

    def total(self, losses: dict[str, Tensor], *, ramp: float = 1.0) -> Tensor:  # type: ignore[override]
        return super().total(losses | {"cooccurrence": ramp * losses["cooccurrence"]}, ramp=ramp)


class SSTLearner(Learner):
    """`Learner` with both branches; L = BCE(known) + BCE(intra) + BCE(inter) + 10 L_pairs + 0.05 L_con."""

    def __init__(
        self,
        model: DSRB,
        tokens: TokenStore,
        labels: Tensor,
        floor: Tensor,
        *,
        training: TrainConfig,
        stage: int,
        should_stop: Callable[[], bool],
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.pairs = PairLogits(model.dim, model.categories).to(model.gate.device)
        model.add_module("pairs", self.pairs)  # a part of the model is optimised and clipped with it
        super().__init__(
            model, tokens, labels, floor, training=training, stage=stage, should_stop=should_stop
        )
        self.criterion = _Criterion(model)
        self.queue, self.tau = PositiveQueue(model.categories), threshold(0, training.epochs)

    def epoch(self, index: int) -> dict[str, float]:
        """Run epoch `index` with its threshold."""
        self.tau = threshold(index, self.training.epochs)
        return super().epoch(index)

    def losses(self, positions: Rows, *, blending: bool, generator: torch.Generator) -> dict[str, Tensor]:
        """Named losses of one batch; `blending` does not apply."""
        model = self.model
        where = torch.from_numpy(positions).to(self.labels.device)
        labels = self.labels[where]
        vectors, _ = model.attention(self.tokens.read(positions))
        logits, pairs = model.residual(vectors) + self.floor[where], self.pairs(vectors)
        intra = self.pairs.likelihood(pairs.detach(), labels)
        views = {
            "known": Supervised(logits, labels),
            "intra": Supervised(logits, with_guesses(labels, intra, self.tau)),
            "inter": Supervised(logits, with_guesses(labels, self.queue.similarity(vectors), self.tau)),
        }
        losses = self.criterion(
            views, vectors=vectors, labels=labels, classifier=model.class_weight, generator=generator
        )
        self.queue.add(vectors, labels)
        return losses | {"cooccurrence": self.pairs.loss(pairs, labels)}


class SSTStages(Stages):
    """The stages of a run whose learner is `SSTLearner`."""

    def _learner(self, model: DSRB, labels: Labels, floor: FloorFit, *, stage: int) -> Learner:
        plain = super()._learner(model, labels, floor, stage=stage)  # gives the graph its edges
        return SSTLearner(
            model,
            self.tokens,
            plain.labels,
            plain.floor,
            training=self.training,
            stage=stage,
            should_stop=self.should_stop,
        )
