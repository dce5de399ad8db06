"""One training step and one inference, made twice: on whole maps as published, and on category vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from dsrb_core.attention import SemanticAttention
from dsrb_core.blending import Blend, choose_partners, instance_blend, pick_unknown, prototype_blend
from dsrb_core.losses import partial_bce
from dsrb_core.prototypes import PrototypeBank, quadrant
from tests.references import PlainChoices, plain_logits, plain_maps, plain_step

GRID = (7, 7)
WORD = 300
SEED = 5


@dataclass(frozen=True)
class Sizes:
    """B images, C categories, D features of a token, rank of the attention."""

    batch: int = 8
    categories: int = 80
    dim: int = 1024
    rank: int = 512


class Case:
    """Inputs, the same weights in both forms, and the random choices of the step."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        draw = torch.Generator().manual_seed(0)
        batch, categories, dim = sizes.batch, sizes.categories, sizes.dim
        self.x = torch.randn(batch, *GRID, dim, generator=draw)
        self.words = torch.randn(categories, WORD, generator=draw)
        cells = torch.tensor([-1, 0, 0, 0, 1], dtype=torch.int8)
        self.labels = cells[torch.randint(len(cells), (batch, categories), generator=draw)]
        self.weights = plain_weights(sizes, draw)
        self.prototypes = torch.randn(categories, 4, *GRID, dim, generator=draw).div_(7.0)
        self.attention = folded(sizes, self.words, self.weights)
        self.head = {name: leaf(self.weights[name]) for name in HEAD}
        self.bank = PrototypeBank(categories, 4, dim)
        self.bank.vectors.copy_(self.prototypes.sum(dim=(2, 3)))
        self.bank.counts.fill_(1)
        self.partner = choose_partners(self.labels, "reversal", generator=draw)
        self.choices = self._choices()

    def _choices(self) -> PlainChoices:
        """What `prototype_blend` will draw from a generator with the same seed."""
        draw = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            own = quadrant(self.attention(self.tokens)[1], GRID, 2)
        classes = pick_unknown(self.labels, self.bank.available, 1, generator=draw)
        quadrants = self.bank.choose(own, (self.sizes.batch, self.sizes.categories), generator=draw)
        return PlainChoices(self.partner, classes, quadrants)

    @property
    def tokens(self) -> Tensor:
        """The maps (B, N, D) as the attention takes them."""
        return self.x.flatten(1, 2)

    def plain_step(self) -> tuple[Tensor, Tensor]:
        """Logits (3, B, C) and loss of the published form; gradients arrive in `weights`."""
        clear(self.weights.values())
        logits, loss = plain_step(
            self.x, self.labels, self.words, self.weights, self.prototypes, self.choices
        )
        loss.backward()
        return logits.detach(), loss.detach()

    def vector_step(self) -> tuple[Tensor, Tensor]:
        """The same of this library; gradients arrive in `attention` and `head`."""
        clear([*self.attention.parameters(), *self.head.values()])
        vectors, attention = self.attention(self.tokens)
        blends = self._blends(vectors, attention)
        stacked = torch.cat([vectors, *(blend.vectors for blend in blends)])
        logits = self._logits(stacked).view(3, *self.labels.shape)
        loss = partial_bce(logits[0], self.labels)
        for blend, part in zip(blends, logits[1:], strict=True):
            loss = loss + partial_bce(part, blend.targets, blend.weights)
        loss.backward()
        return logits.detach(), loss.detach()

    def _blends(self, vectors: Tensor, attention: Tensor) -> tuple[Blend, Blend]:
        instance = instance_blend(
            vectors,
            self.labels,
            partner=self.partner,
            keep=self.head["alpha"],
            targets="soft",
            detach_targets=False,
        )
        prototype = prototype_blend(
            vectors,
            self.labels,
            bank=self.bank,
            own=quadrant(attention.detach(), GRID, 2),
            keep=self.head["beta"],
            generator=torch.Generator().manual_seed(SEED),
            targets="soft",
            detach_targets=False,
        )
        return instance, prototype

    def _logits(self, vectors: Tensor) -> Tensor:
        hidden = torch.tanh(torch.nn.functional.linear(vectors, self.head["fuse"], self.head["fuse_bias"]))
        return (hidden * self.head["class_weight"]).sum(-1) + self.head["class_bias"]

    @torch.no_grad()
    def plain_infer(self) -> Tensor:
        """Logits (B, C) of the published form."""
        return plain_logits(plain_maps(self.x, self.words, self.weights), self.weights)

    @torch.no_grad()
    def vector_infer(self) -> Tensor:
        """Logits (B, C) of this library."""
        return self._logits(self.attention(self.tokens)[0])

    def largest_difference(self) -> float:
        """Over logits and losses absolutely, over each gradient relative to its largest value."""
        pairs = list(zip(self.plain_step(), self.vector_step(), strict=True))
        pairs.append((self.plain_infer(), self.vector_infer()))
        differences = [float((a - b).abs().max()) for a, b in pairs]
        for a, b in self.gradients().values():
            differences.append(float((a - b).abs().max() / a.abs().max()))
        return max(differences)

    def gradients(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By name, the gradient of the published form and ours, after a step of both.

        p = fc3^T fc4, so by the chain rule dL/dfc3 = fc4 (x) dL/dp and dL/dfc4 = fc3 dL/dp.
        """
        plain, ours = {name: grad(value) for name, value in self.weights.items()}, self.attention
        mix = grad(ours.mix)
        pairs = {
            "fc1": (plain["fc1"], grad(ours.token_map.weight)),
            "fc2": (plain["fc2"], grad(ours.category_map).T),
            "fc3": (plain["fc3"], torch.outer(self.weights["fc4"].detach()[0], mix)),
            "fc4": (plain["fc4"][0], self.weights["fc3"].detach() @ mix),
        }
        return pairs | {name: (plain[name], grad(self.head[name])) for name in HEAD}


HEAD = ("fuse", "fuse_bias", "class_weight", "class_bias", "alpha", "beta")


def plain_weights(sizes: Sizes, draw: torch.Generator) -> dict[str, Tensor]:
    """The published layers with scores and logits of about 1."""
    dim, rank, categories = sizes.dim, sizes.rank, sizes.categories

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw) / shape[-1] ** 0.5

    weights = {
        "fc1": normal(rank, dim),
        "fc2": normal(rank, WORD),
        "fc3": normal(rank, rank),
        "fc3_bias": normal(rank),
        "fc4": normal(1, rank),
        "fc4_bias": normal(1),
        "fuse": 2.0 * normal(dim, dim),
        "fuse_bias": normal(dim),
        "class_weight": normal(categories, dim),
        "class_bias": normal(categories),
        "alpha": torch.tensor(0.4),
        "beta": torch.tensor(0.6),
    }
    return {name: leaf(value) for name, value in weights.items()}


def folded(sizes: Sizes, words: Tensor, weights: dict[str, Tensor]) -> SemanticAttention:
    """The same attention in the folded form."""
    attention = SemanticAttention(sizes.dim, sizes.categories, rank=sizes.rank, words=words)
    with torch.no_grad():
        attention.token_map.weight.copy_(weights["fc1"])
        attention.category_map.copy_(weights["fc2"].T)
        attention.mix.copy_(weights["fc3"].T @ weights["fc4"][0])
    return attention


def leaf(value: Tensor) -> Tensor:
    """A copy that collects a gradient."""
    return value.detach().clone().requires_grad_()


def grad(value: Tensor) -> Tensor:
    """The gradient of a leaf that took part in a step."""
    if value.grad is None:
        raise RuntimeError("A weight took no part in the step.")
    return value.grad


def clear(values: Iterable[Tensor]) -> None:
    """Forget the gradients of an earlier step."""
    for value in values:
        value.grad = None
