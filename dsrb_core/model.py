"""DSRB on feature maps of a frozen backbone: a linear floor and a gated residual that begins at zero.

Letters: B images, N = h x w locations, F raw features, D token features, C categories.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsrb_core.attention import SemanticAttention
from dsrb_core.blending import BlendWeight
from dsrb_core.config import DSRBConfig
from dsrb_core.frame import Frame
from dsrb_core.graph import GatedGraph
from dsrb_core.prototypes import PrototypeBank, quadrant


@dataclass(frozen=True)
class ModelOutput:
    """The same five tensors whatever the mode.

    logits (B, C) = floor + gate x residual; floor (B, C) the linear model alone; vectors (B, C, D)
    category-specific; attention (B, C, N), each row sums to 1.
    """

    logits: Tensor
    floor: Tensor
    vectors: Tensor
    attention: Tensor
    tokens: Tensor  # (B, N, D), the projected maps that vectors were made from


class DSRB(nn.Module):
    """logits = floor(mean of the map) + gate * residual(f), f from semantic attention on projected tokens.

    The floor is a regularised logistic regression, frozen; `gate` is chosen on held-out known cells, 0 =
    floor alone. `grid` = (h, w) of the map; `words` (C, S) are frozen category vectors, None = learned ones.
    """

    def __init__(
        self,
        *,
        features: int,
        grid: tuple[int, int],
        categories: int,
        config: DSRBConfig,
        words: Tensor | None = None,
    ) -> None:
        super().__init__()
        if min(features, categories, *grid) < 1:
            raise ValueError(
                f"features {features}, grid {grid} and categories {categories} must be at least 1."
            )
        self.features, self.grid, self.categories, self.config = features, grid, categories, config
        dim = self.dim = min(config.dim, features)
        self.frame = Frame(features, dim)
        self.floor_weight: Tensor
        self.floor_bias: Tensor
        self.gate: Tensor
        self.register_buffer("floor_weight", torch.zeros(categories, features))
        self.register_buffer("floor_bias", torch.zeros(categories))
        self.register_buffer("gate", torch.zeros(()))
        self.floor_l2: Tensor
        self.register_buffer("floor_l2", torch.zeros(()))  # 0: not fitted yet
        self.map_spread: Tensor
        self.register_buffer("map_spread", torch.ones(categories))  # of the floor's map within a picture
        self.attention = SemanticAttention(dim, categories, rank=config.attention_dim, words=words)
        self.graph: GatedGraph | None = None
        if config.graph and categories <= config.graph_limit:
            self.graph = GatedGraph(
                torch.eye(categories), dim=dim, hidden=min(config.graph_dim, dim), steps=config.graph_steps
            )
        around = min(config.graph_dim, dim) if self.graph is not None else 0
        self.fuse = nn.Linear(dim + around, config.hidden)
        # Zero, so that the residual begins at exactly nothing.
        self.class_weight = nn.Parameter(torch.zeros(categories, config.hidden))
        self.class_bias = nn.Parameter(torch.zeros(categories))
        # One more channel: a prototype carries the floor's logit of its members along (see training.py).
        self.bank = PrototypeBank(categories, config.prototypes_per_category, dim + 1)
        self.instance_keep = BlendWeight(config.weight, start=config.weight_start, beta=config.beta)
        self.prototype_keep = BlendWeight(config.weight, start=config.weight_start, beta=config.beta)

    def floor(self, pooled: Tensor) -> Tensor:
        """Logits (B, C) of the linear model on pooled raw features (B, F)."""
        return self.frame.standardise(pooled) @ self.floor_weight.T + self.floor_bias

    def contributions(self, maps: Tensor) -> Tensor:
        """What each location adds to the floor's logit, (B, C, N): their mean over N plus the bias is the
        floor.
        """
        return (self.frame.standardise(maps) @ self.floor_weight.T).transpose(1, 2)

    @torch.no_grad()
    def measure_map(self, tokens: Tensor) -> None:
        """Set the spread of the floor's map within a picture from a sample of tokens (B, N, D)."""
        self.map_spread.copy_(map_spread(tokens, self.floor_weight @ self.frame.projection))

    def instances(self, tokens: Tensor) -> Tensor:
        """Instance features (B, C, D): tokens (B, N, D) averaged where the floor finds the category."""
        return focus(tokens, self.floor_weight @ self.frame.projection, self.map_spread)

    def residual(self, vectors: Tensor) -> Tensor:
        """phi: category vectors (B, C, D) -> residual logits (B, C); rows of the batch never see each other.

        o_c = tanh(W [h_c ; f_c] + b), logit_c = <w_c, o_c> + b_c (method.md 2.4).
        """
        joined = vectors if self.graph is None else torch.cat([self.graph(vectors), vectors], dim=-1)
        hidden = torch.tanh(self.fuse(joined))
        return (hidden * self.class_weight).sum(dim=-1) + self.class_bias

    def residual_at(self, vectors: Tensor, columns: Tensor) -> Tensor:
        """phi of single cells: vectors (M, D) of the categories `columns` (M,) -> residual logits (M,).

        ValueError with the graph, where a cell's logit depends on the picture's other cells.
        """
        if self.graph is not None:
            raise ValueError("With the graph a cell has no logit of its own.")
        hidden = torch.tanh(self.fuse(vectors))
        return (hidden * self.class_weight[columns]).sum(dim=-1) + self.class_bias[columns]

    def quadrants(self, attention: Tensor) -> Tensor | None:
        """The prototype each cell would belong to, (B, C); None where prototypes have no place in the
        picture.
        """
        if self.config.prototypes != "quadrants":
            return None
        return quadrant(attention, self.grid, self.config.cells)

    def forward(self, maps: Tensor) -> ModelOutput:
        """Maps (B, N, F) raw from the backbone -> ModelOutput."""
        if maps.ndim != 3 or maps.shape[1:] != (self.grid[0] * self.grid[1], self.features):
            expected = f"(B, {self.grid[0] * self.grid[1]}, {self.features})"
            raise ValueError(f"maps must have the shape {expected}, not {tuple(maps.shape)}.")
        floor = self.floor(maps.float().mean(dim=1))
        tokens = self.frame.project(maps)
        vectors, attention = self.attention(tokens)
        # A closed gate is the usual case; what it shuts out need not be computed.
        logits = floor + self.gate * self.residual(vectors) if float(self.gate) > 0 else floor
        return ModelOutput(logits, floor, vectors, attention, tokens)

    @torch.no_grad()
    def for_columns(self, columns: Sequence[int | None], *, words: Tensor | None = None) -> "DSRB":
        """A model whose category i is this model's category `columns[i]`, or a fresh one where it is None.

        For a warm start after categories were added, archived or reordered: floor, residual, prototypes and
        edges move with their category. A fresh one has zeros (so it looks everywhere alike) and no edge, thus
        it changes nothing for the others; `words` (K, S) are the vectors of the K fresh ones, in order, for a
        model with given category vectors. Without the graph the logits of the others stay as they are; with
        it, those that had an edge to an archived category lose its message until the edges are counted again.

        ValueError for a column that is not here, for `words` that do not fit, and when the number of
        categories passes the limit of the graph.
        """
        wrong = [column for column in columns if column is not None and not 0 <= column < self.categories]
        if wrong:
            raise ValueError(f"The model has {self.categories} categories, there is no column {wrong[0]}.")
        with torch.random.fork_rng(devices=[]):  # nothing that is drawn here is kept, nobody's draw moves
            moved = DSRB(
                features=self.features,
                grid=self.grid,
                categories=len(columns),
                config=self.config,
                words=self._moved_words(columns, words),
            ).to(self.gate.device)
        if (moved.graph is None) != (self.graph is None):
            raise ValueError(
                f"A model of {self.categories} categories cannot go on with {len(columns)}: "
                f"the graph is left out above {self.config.graph_limit}."
            )
        _copy_columns(self, moved, columns)
        return moved

    def _moved_words(self, columns: Sequence[int | None], fresh: Tensor | None) -> Tensor | None:
        """The given vectors of `columns` (len(columns), S), `fresh` (K, S) in the places of None."""
        words, count = self.attention.words, sum(column is None for column in columns)
        if words is None:
            if fresh is not None:
                raise ValueError("A model that learns its category vectors cannot take given ones.")
            return None
        if fresh is None:
            fresh = words.new_zeros(0, words.shape[1])
        if fresh.shape != (count, words.shape[1]):
            raise ValueError(
                f"A model with given category vectors needs those of its {count} new categories, "
                f"({count}, {words.shape[1]}), not {tuple(fresh.shape)}."
            )
        rows = iter(fresh.to(words))
        return torch.stack([next(rows) if column is None else words[column] for column in columns])


def _floor_map(tokens: Tensor, weight: Tensor) -> Tensor:
    """Logits of each location less their mean over the picture, (B, N, C)."""
    scores = tokens @ weight.T
    return scores - scores.mean(dim=1, keepdim=True)


def map_spread(tokens: Tensor, weight: Tensor) -> Tensor:
    """Spread (C,) within a picture of a linear model's map, from a sample of tokens (B, N, D); 1 where flat.

    `weight` (C, D) are the model's weights in the space of the tokens.
    """
    spread = _floor_map(tokens, weight).std(dim=(0, 1), correction=0)
    return torch.where(spread > 1e-6, spread, torch.ones_like(spread))


def focus(tokens: Tensor, weight: Tensor, spread: Tensor) -> Tensor:
    """Instances (B, C, D): tokens (B, N, D) averaged where a linear model (C, D) finds each category.

    The shares are a softmax over locations of its map in half its own `spread` (C,): neighbours found in this
    space add most to the floor (docs/results.md). A category without weights has the plain mean.
    """
    shares = torch.softmax(_FOCUS * _floor_map(tokens, weight) / spread, dim=1)
    return shares.transpose(1, 2) @ tokens


_FOCUS = 0.5  # 0 is the mean over locations; 1 and 2 were worse (docs/results.md)
_PER_CATEGORY = {
    "floor_weight",
    "map_spread",
    "floor_bias",
    "attention.category_map",
    "class_weight",
    "class_bias",
    "bank.vectors",
    "bank.counts",
}


def _copy_columns(model: DSRB, moved: DSRB, columns: Sequence[int | None]) -> None:
    """Fill `moved` from `model`: shared values as they are, a category's own in its new place."""
    kept = [(place, column) for place, column in enumerate(columns) if column is not None]
    new, old = torch.tensor(kept, dtype=torch.int64).view(-1, 2).T
    shared = set() if model.attention.words is None else {"attention.category_map"}  # words share one map
    there = moved.state_dict()
    if not shared:
        # A random row looks somewhere at random, as sharply as the others have learnt to: AP 0.55 of the new
        # category in test_columns, against 0.98 from zeros. tanh is steep at zero, so it learns from there.
        there["attention.category_map"].zero_()
    for name, value in model.state_dict().items():
        if name == "graph.adjacency":
            there[name][new[:, None], new] = value[old[:, None], old]
        elif name in _PER_CATEGORY - shared:
            there[name][new] = value[old]
        elif name != "attention.words":  # the new ones are there from the beginning
            there[name].copy_(value)
