"""Prototypes of the known positives of each category (method.md 3.2, 3.3), with the audit's repairs.

Letters: B images, C categories, K prototypes per category, D features, N = h x w locations.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor, Tensor]]
"""vectors (B, C, D), cells (B, C) int64, labels (B, C)."""


def quadrant(attention: Tensor, grid: tuple[int, int], cells: int) -> Tensor:
    """Which of `cells` x `cells` parts of the picture the attention (B, C, N) peaks in, (B, C) int64.

    The published split of 7 rows into 3 + 4 is kept: part k begins at floor(k h / cells).
    """
    height, width = grid
    peak = attention.argmax(dim=-1)
    return _part(peak // width, height, cells) * cells + _part(peak % width, width, cells)


def _part(position: Tensor, length: int, cells: int) -> Tensor:
    edges = torch.tensor([k * length // cells for k in range(1, cells)], device=position.device)
    return torch.bucketize(position, edges, right=True)


class PrototypeBank(nn.Module):
    """K prototypes per category: buffers, so that they move, save and load with the model.

    `vectors` (C, K, D), `counts` (C, K) members of each, `filled` (C, K). A category without positives simply
    has nothing filled. Nothing here carries a gradient.
    """

    def __init__(self, categories: int, per_category: int, dim: int) -> None:
        super().__init__()
        self.vectors: Tensor
        self.counts: Tensor
        self.register_buffer("vectors", torch.zeros(categories, per_category, dim))
        self.register_buffer("counts", torch.zeros(categories, per_category, dtype=torch.int64))

    @property
    def filled(self) -> Tensor:
        """(C, K) True where a prototype has members."""
        return self.counts > 0

    @property
    def available(self) -> Tensor:
        """(C,) True where a category has at least one prototype."""
        return self.filled.any(dim=1)

    @torch.no_grad()
    def collect(self, batches: Batches) -> None:
        """Replace the bank by the exact mean of the known positives of each (category, cell), in one pass."""
        categories, per_category, dim = self.vectors.shape
        sums = torch.zeros(categories * per_category, dim, dtype=torch.float64, device=self.vectors.device)
        counts = torch.zeros(categories * per_category, dtype=torch.int64, device=self.vectors.device)
        for vectors, cells, labels in batches:
            rows, columns = (labels > 0).nonzero(as_tuple=True)
            slots = columns * per_category + cells[rows, columns]
            sums.index_add_(0, slots, vectors[rows, columns].double())
            counts.index_add_(0, slots, torch.ones_like(slots))
        self.counts.copy_(counts.view_as(self.counts))
        self.vectors.copy_((sums / counts.clamp_min(1).unsqueeze(1)).view_as(self.vectors))

    @torch.no_grad()
    def cluster(self, batches: Batches, *, seed: int, limit: int = 4096, rounds: int = 10) -> None:
        """Replace the bank by K-means of the known positives of each category (SARB); fewer members, fewer
        prototypes.

        At most `limit` members per category are used, the first ones seen.
        """
        members: list[list[Tensor]] = [[] for _ in range(len(self.vectors))]
        taken = [0] * len(members)
        for vectors, _, labels in batches:
            for column in (labels > 0).any(dim=0).nonzero().flatten().tolist():
                found = vectors[labels[:, column] > 0, column][: limit - taken[column]]
                members[column].append(found.float())
                taken[column] += len(found)
        self.vectors.zero_()
        self.counts.zero_()
        for column, parts in enumerate(members):
            if parts:
                centres, counts = _kmeans(torch.cat(parts), self.vectors.shape[1], seed=seed, rounds=rounds)
                self.vectors[column, : len(centres)] = centres
                self.counts[column, : len(centres)] = counts

    def choose(self, own: Tensor | None, shape: tuple[int, int], *, generator: torch.Generator) -> Tensor:
        """A filled prototype for each cell, uniformly, (B, C) int64; 0 where the category has none.

        `own` (B, C) names the prototype to avoid while there is another (DSRB: the donor's evidence comes
        from elsewhere in the picture, so it adds and does not overwrite); None = any (SARB).
        """
        draw = torch.rand(*shape, self.counts.shape[1], generator=generator).to(self.vectors.device)
        draw = draw.masked_fill(~self.filled, -2.0)
        if own is not None:
            # An own filled prototype still beats every empty one, so it is kept only when it is alone.
            offset = torch.zeros_like(draw).scatter_(2, own.unsqueeze(-1), -1.0)
            draw = draw + offset * (draw >= 0)
        return draw.argmax(dim=-1)


def _kmeans(points: Tensor, clusters: int, *, seed: int, rounds: int) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from spread-out members: centres (k, D), counts (k,), none empty."""
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randint(len(points), (1,), generator=generator).to(points.device)]
    while len(centres) < min(clusters, len(points)):
        far = torch.cdist(points, centres).min(dim=1).values.square()
        if float(far.sum()) <= 0.0:  # every member already is a centre
            break
        pick = torch.multinomial(far.cpu(), 1, generator=generator).to(points.device)
        centres = torch.cat([centres, points[pick]])
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(dim=1)
        counts = torch.bincount(nearest, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
    nearest = torch.cdist(points, centres).argmin(dim=1)
    counts = torch.bincount(nearest, minlength=len(centres))
    sums = torch.zeros_like(centres).index_add_(0, nearest, points)
    kept = counts > 0
    return (sums[kept] / counts[kept, None]), counts[kept]
