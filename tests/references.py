"""Slow references, typed off the equations: loops over cells, nothing shared with the code under test."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def naive_attention(tokens: Tensor, words: Tensor, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The published fc1-fc4 form with every (B, N, C, .) tensor and both biases: vectors (B, C, D), attention
    (B, N, C).
    """
    u = tokens @ weights["fc1"].T
    v = words @ weights["fc2"].T
    g = torch.tanh(u[:, :, None, :] * v[None, None]) @ weights["fc3"].T + weights["fc3_bias"]
    e = (g @ weights["fc4"].T + weights["fc4_bias"]).squeeze(-1)
    a = torch.softmax(e, dim=1)
    maps = a.unsqueeze(-1) * tokens.unsqueeze(2)
    return maps.sum(1), a


def naive_bce(logits: Tensor, targets: Tensor, weights: Tensor) -> float:
    total = share = 0.0
    for x, t, w in zip(
        logits.flatten().tolist(), targets.flatten().tolist(), weights.flatten().tolist(), strict=True
    ):
        if t == 0:
            continue
        element = math.log1p(math.exp(x)) - (t * x if t > 0 else 0.0)
        total, share = total + w * element, share + w
    return total / share if share else 0.0


def naive_contrastive(vectors: Tensor, labels: Tensor, *, negative_pairs: bool) -> float:
    """Every pair of the batch, no cutting."""
    values = []
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            for c in range(labels.shape[1]):
                pair = {int(labels[i, c]), int(labels[j, c])}
                s = float(torch.cosine_similarity(vectors[i, c], vectors[j, c], dim=0))
                if pair == {1}:
                    values.append(1 - s)
                elif pair == {1, -1} or (pair == {-1} and negative_pairs):
                    values.append(1 + s)
    return sum(values) / len(values) if values else 0.0


def naive_instance_blend(
    vectors: Tensor, labels: Tensor, partner: Tensor, keep: float
) -> tuple[Tensor, Tensor]:
    """Blended vectors and the `soft` targets."""
    mixed, targets = vectors.clone(), labels.float().clone()
    for i in range(len(labels)):
        for c in range(labels.shape[1]):
            j = int(partner[i])
            if labels[i, c] == 0 and labels[j, c] == 1:
                mixed[i, c] = keep * vectors[i, c] + (1 - keep) * vectors[j, c]
                targets[i, c] = 1 - keep
    return mixed, targets


def naive_graph(vectors: Tensor, adjacency: Tensor, weights: dict[str, Tensor], steps: int) -> Tensor:
    """Gated propagation, node by node, with one matrix per gate."""
    nodes = vectors.clone()
    for _ in range(steps):
        after = nodes.clone()
        for b in range(nodes.shape[0]):
            for c in range(nodes.shape[1]):
                into = sum(adjacency[c, j] * nodes[b, j] for j in range(nodes.shape[1]))
                out = sum(adjacency[j, c] * nodes[b, j] for j in range(nodes.shape[1]))
                a, h = torch.cat([into, out]), nodes[b, c]
                z = torch.sigmoid(weights["Wz"] @ a + weights["bz"] + weights["Uz"] @ h)
                r = torch.sigmoid(weights["Wr"] @ a + weights["br"] + weights["Ur"] @ h)
                new = torch.tanh(weights["Wh"] @ a + weights["bh"] + weights["Uh"] @ (r * h))
                after[b, c] = (1 - z) * h + z * new
        nodes = after
    return nodes


def interpolated_ap(scores: list[float], positive: list[bool]) -> float:
    """Area under the precision envelope, one image at a time; scores must differ."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    precisions, hits = [], 0
    for place, i in enumerate(order, start=1):
        hits += positive[i]
        precisions.append(hits / place)
    total = 0.0
    for place, i in enumerate(order):
        if positive[i]:
            total += max(precisions[place:])
    return total / sum(positive)


def naive_nearest(
    vectors: np.ndarray, others: list[int], asked: list[int], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines about the mean of the others and places in `others`, (Q, k), one pair at a time."""
    centre = sum(vectors[j].astype(np.float64) for j in others) / len(others)
    k = min(k, len(others) - 1)
    cosines, places = np.zeros((len(asked), k)), np.zeros((len(asked), k), np.int64)
    for row, i in enumerate(asked):
        found = []
        for place, j in enumerate(others):
            if j == i:
                continue
            a, b = vectors[i] - centre, vectors[j] - centre
            found.append((float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), place))
        found.sort(reverse=True)
        for n, (cosine, place) in enumerate(found[:k]):
            cosines[row, n], places[row, n] = cosine, place
    return cosines, places


def naive_prior(labels: np.ndarray, column: int) -> float:
    """Share of positives of a category, drawn towards that of all as by four cells."""
    overall = ((labels > 0).sum() + 0.5) / ((labels != 0).sum() + 1)
    known = labels[:, column] != 0
    return float(((labels[:, column] > 0).sum() + 4 * overall) / (known.sum() + 4))


def naive_shift(
    vectors: np.ndarray, speakers: list[int], said: list[float], asked: list[int], prior: float
) -> list[float]:
    """What 30 speakers add to each asked cell's log-odds; `said` in [0, 1], one per speaker."""
    cosines, places = naive_nearest(vectors, speakers, asked, 30)
    shifts = []
    for near, where in zip(cosines, places, strict=True):
        yes = total = 0.0
        for cosine, place in zip(near, where, strict=True):
            weight = math.exp((cosine - 1) / 0.2)
            yes, total = yes + weight * said[place], total + weight
        share = (yes + 0.3 * prior) / (total + 0.3)
        shifts.append(math.log(share / (1 - share)) - math.log(prior / (1 - prior)))
    return shifts


def naive_instances(tokens: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Tokens (n, N, D) averaged where a linear model (D,) scores high, in half the spread of its map: (n, D).

    The spread is over all pictures given; a model without weights takes the plain mean.
    """
    maps = []
    for picture in tokens:
        scores = np.array([float(token @ weight) for token in picture])
        maps.append(scores - scores.mean())
    spread = math.sqrt(float(np.mean(np.square(maps)))) or 1.0
    result = []
    for picture, scores in zip(tokens, maps, strict=True):
        shares = np.exp(0.5 * scores / spread)
        result.append(sum(s * token for s, token in zip(shares / shares.sum(), picture, strict=True)))
    return np.array(result)


class ArraySource:
    """Maps (N, locations, dim) in memory, counting what is read: a real source, as small as can be."""

    def __init__(self, maps: np.ndarray, grid: tuple[int, int]) -> None:
        self.maps, self.grid = maps, grid
        self.locations, self.dim = maps.shape[1], maps.shape[2]
        self.read_rows: list[int] = []

    def __len__(self) -> int:
        return len(self.maps)

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.read_rows.extend(int(row) for row in rows)
        return self.maps[rows]

    def pooled(self) -> np.ndarray:
        return self.maps.astype(np.float32).mean(axis=1)


def localised(
    images: int, *, categories: int = 4, dim: int = 24, side: int = 4, strength: float = 8.0, seed: int = 0
) -> tuple[ArraySource, np.ndarray, np.ndarray]:
    """Pictures in which one location alone shows a category: source, labels (N, C), places (N, C)."""
    pattern = np.random.default_rng(99).standard_normal((categories, dim))
    pattern /= np.linalg.norm(pattern, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((images, categories)) < 0.2, 1, -1).astype(np.int8)
    places = rng.integers(side * side, size=labels.shape)
    maps = rng.standard_normal((images, side * side, dim))
    for image, category in np.argwhere(labels > 0):
        maps[image, places[image, category]] += strength * pattern[category]
    return ArraySource(maps.astype(np.float16), (side, side)), labels, places


@dataclass(frozen=True)
class PlainChoices:
    """What a step draws at random, given, so that two implementations can make the same step."""

    partner: Tensor  # (B,) int64
    classes: Tensor  # (B, C) bool: cells that get a prototype
    quadrants: Tensor  # (B, C) int64: which one


def plain_maps(x: Tensor, words: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Method 2.2: x (B, H, W, D), words (C, S) -> attention-weighted maps m (B, H, W, C, D)."""
    u = x @ weights["fc1"].T
    v = words @ weights["fc2"].T
    g = torch.tanh(u.unsqueeze(3) * v) @ weights["fc3"].T + weights["fc3_bias"]
    e = (g @ weights["fc4"].T + weights["fc4_bias"]).squeeze(-1)
    a = torch.softmax(e.flatten(1, 2), dim=1).view_as(e)
    return a.unsqueeze(-1) * x.unsqueeze(3)


def plain_logits(maps: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Method 2.4 without the graph: maps (B, H, W, C, D) -> sum over the picture, o_c, logits (B, C)."""
    o = torch.tanh(maps.sum(dim=(1, 2)) @ weights["fuse"].T + weights["fuse_bias"])
    return (o * weights["class_weight"]).sum(-1) + weights["class_bias"]


def plain_mix(maps: Tensor, donors: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
    """Maps with `keep` m + (1 - keep) donor at the masked cells (B, C)."""
    return torch.where(mask[:, None, None, :, None], keep * maps + (1 - keep) * donors, maps)


def plain_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Method 3.4: mean over the cells that have a target."""
    positive = torch.nn.functional.softplus(logits) - targets * logits
    negative = torch.nn.functional.softplus(logits)
    element = torch.where(targets > 0, positive, negative)
    return element[targets != 0].mean()


def plain_step(
    x: Tensor,
    labels: Tensor,
    words: Tensor,
    weights: dict[str, Tensor],
    prototypes: Tensor,
    choices: PlainChoices,
) -> tuple[Tensor, Tensor]:
    """The published step on maps (method 2.2, 3.1, 3.3, 3.4): logits (3, B, C) of the views, and their loss.

    x (B, H, W, D), labels (B, C), prototypes (C, 4, H, W, D); weights hold alpha and beta too. The
    contrastive term acts on sums only, never on maps, and is left out.
    """
    maps = plain_maps(x, words, weights)
    alpha, beta = weights["alpha"], weights["beta"]

    receives = (labels == 0) & (labels[choices.partner] == 1)
    instance = plain_mix(maps, maps[choices.partner], receives, alpha)
    instance_targets = torch.where(receives, 1 - alpha, labels.float())

    columns = torch.arange(labels.shape[1])
    chosen = prototypes[columns, choices.quadrants].permute(0, 2, 3, 1, 4)  # (B, H, W, C, D)
    prototype = plain_mix(maps, chosen, choices.classes, beta)
    prototype_targets = torch.where(choices.classes, 1 - beta, labels.float())

    views = [plain_logits(m, weights) for m in (maps, instance, prototype)]
    targets = [labels.float(), instance_targets, prototype_targets]
    losses = [plain_bce(view, target) for view, target in zip(views, targets, strict=True)]
    return torch.stack(views), torch.stack(losses).sum()
