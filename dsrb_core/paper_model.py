"""The published network (method.md 2): ResNet, semantic attention, gated graph, one classifier a category.

Letters: B images, S side in pixels, N = h x w locations, C categories, D features, d rank of the attention.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dsrb_core.attention import SemanticAttention
from dsrb_core.blending import BlendWeight
from dsrb_core.graph import GatedGraph
from dsrb_core.paper_backbone import PaperBackbone, load_resnet
from dsrb_core.paper_config import PaperConfig
from dsrb_core.prototypes import PrototypeBank, quadrant
from dsrb_core.residual_methods import SharedIndexBank


class Folded(nn.Module):
    """p = W3^T w4: the two published layers stay apart as parameters, their product is what is computed.

    Their biases b3 and b4 are the same for every location and cancel in the softmax, so there are none.
    """

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_uniform(rank, rank, fan_in=rank))  # W3

    def forward(self, w4: Tensor) -> Tensor:
        """w4 (d,) -> p (d,)."""
        return self.weight.T @ w4


def published_attention(dim: int, categories: int, *, rank: int, words: Tensor | None) -> SemanticAttention:
    """`SemanticAttention` whose p is `Folded`, and whose maps start as published (U(+-1/sqrt(fan-in))).

    W3 is `parametrizations.mix.0.weight`, w4 `parametrizations.mix.original`. `words` (C, S) stay frozen;
    None = learned vectors v (C, d).
    """
    attention = SemanticAttention(dim, categories, rank=rank, words=words)
    with torch.no_grad():
        attention.mix.copy_(_uniform(rank, fan_in=rank))
        if words is not None:
            attention.category_map.copy_(_uniform(*attention.category_map.shape, fan_in=words.shape[1]))
    parametrize.register_parametrization(attention, "mix", Folded(rank))
    return attention


@dataclass(frozen=True)
class Seen:
    """What the network saw: vectors f (B, C, D) in float32, attention (B, C, N), cells (B, C) int64.

    A cell is the number of the part of the picture where the category was found (see `PaperConfig.place`).
    """

    vectors: Tensor
    attention: Tensor
    cells: Tensor


class PaperNet(nn.Module):
    """uint8 pixels (B, 3, S, S) -> logits (B, C); prototypes and both lambdas are part of its state.

    `adjacency` (C, C) as of `labels.cooccurrence`, `words` (C, S) frozen category vectors or None.
    """

    def __init__(
        self, config: PaperConfig, resnet: nn.Module, *, adjacency: Tensor, words: Tensor | None = None
    ) -> None:
        super().__init__()
        categories, dim = len(adjacency), config.dim
        self.config, self.categories = config, categories
        side = math.ceil(config.image_size / 32) // 2  # the ResNet's stride, then the pooling
        self.grid = (side, side)
        self.backbone = PaperBackbone(resnet, dim)
        self.attention = published_attention(dim, categories, rank=config.attention_dim, words=words)
        self.graph = GatedGraph(adjacency, dim=dim, hidden=dim, steps=config.graph_steps, self_bias=True)
        self.fuse = nn.Linear(2 * dim, dim)
        self.class_weight = nn.Parameter(_uniform(categories, dim, fan_in=dim))
        self.class_bias = nn.Parameter(_uniform(categories, fan_in=dim))
        kind = SharedIndexBank if config.method == "sarb" else PrototypeBank
        self.bank = kind(categories, config.prototypes_per_category, dim)
        how = "fixed" if config.method == "ssgrl" else config.weight
        self.instance_keep = BlendWeight(how, start=config.weight_start, beta=config.beta)
        self.prototype_keep = BlendWeight(how, start=config.weight_start, beta=config.beta)

    @property
    def lambdas(self) -> list[nn.Parameter]:
        """The learned lambdas: alpha and beta, or none."""
        return [*self.instance_keep.parameters(), *self.prototype_keep.parameters()]

    def look(self, pixels: Tensor) -> Seen:
        """Category vectors of pixels (B, 3, S, S), where they come from, and in which cell."""
        tokens = self.backbone(pixels).float()
        vectors, attention = self.attention(tokens)
        # The channel sum of the weighted map a_nc x_n, as published, or the attention itself.
        peak = attention if self.config.place == "attention" else attention * tokens.sum(-1).unsqueeze(1)
        return Seen(vectors.float(), attention, quadrant(peak.detach(), self.grid, self.config.cells))

    def phi(self, vectors: Tensor) -> Tensor:
        """Category vectors (B, C, D) -> logits (B, C) in float32; rows of the batch never see each other.

        o_c = tanh(W [h_c ; f_c] + b), logit_c = <w_c, o_c> + b_c (method.md 2.4).
        """
        hidden = torch.tanh(self.fuse(torch.cat([self.graph(vectors), vectors], dim=-1))).float()
        return (hidden * self.class_weight).sum(dim=-1) + self.class_bias

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, C) of pixels (B, 3, S, S)."""
        return self.phi(self.look(pixels).vectors)


def build_net(
    config: PaperConfig, *, weights: str, seed: int, adjacency: Tensor, words: Tensor | None = None
) -> PaperNet:
    """A fresh network drawn from `seed`; the global random state is neither read nor moved.

    Errors are those of `load_resnet` (backbone, weights) and of the parts (shapes).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PaperNet(config, load_resnet(config.backbone, weights), adjacency=adjacency, words=words)


def _uniform(*shape: int, fan_in: int) -> Tensor:
    return torch.empty(shape).uniform_(-1.0 / math.sqrt(fan_in), 1.0 / math.sqrt(fan_in))
