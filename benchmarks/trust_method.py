"""What the trust benchmark measures of a trained model: calibration, kinds of neighbours, recall of an index.

Letters: N pictures, C categories, D numbers of a vector, Q pictures that ask, S vectors of an index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsrb_core.calibration import expected_calibration_error, sigmoid
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.index import INSTANCE_FLAT_LIMIT, InstanceIndex
from dsrb_core.labels import Labels
from dsrb_core.method import Rows, Subset
from dsrb_core.neighbour_methods import INSTANCE_DIM, Learnt, floor_alone, suggested
from dsrb_core.predictor import predict
from dsrb_core.splits import evenly
from dsrb_core.tokens import MapSource
from dsrb_core.trainer import fit

BINS = 15
LEAST_CELLS = 200  # hidden cells from which on the calibration of a single category is measured
AT = 10
QUERIES = 50  # confirmed positives of a category that ask for their neighbours, at most
_RECALL_QUERIES = 1000
_NOISE = 0.5  # length of what sets a copy apart from its vector of length 1

Array = npt.NDArray[np.float32]
Instances = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Problem:
    """Maps of all pictures, complete labels (N, C), category names (C,), and the rows that train and test."""

    source: MapSource
    labels: Labels
    categories: list[str]
    train: Rows
    test: Rows

    @property
    def rows(self) -> Rows:
        """Training rows, then test rows: the order of everything below."""
        return np.concatenate([self.train, self.test])


@dataclass(frozen=True)
class Trained:
    """A model's logits (N, C) and instances (N, C, d), and the log-odds (N, C) suggested with them."""

    logits: Array
    instances: Instances
    suggested: Array
    gate: float


def train(problem: Problem, partial: Labels, training: TrainConfig, *, floor: bool) -> Trained:
    """Train on `partial` (n, C), the labels of the training rows, and suggest as the assistant does.

    `floor`: the linear floor alone, else with the residual as far as its check keeps it.
    """
    part, everything = Subset(problem.source, problem.train), Subset(problem.source, problem.rows)
    if floor:
        learnt = floor_alone(part, partial, training)
    else:
        learnt = Learnt.of(fit(part, partial, config=DSRBConfig(), training=training))
    found = suggested(learnt, everything, partial, training=training, context=True)
    logits = np.empty(found.shape, np.float32)
    instances = np.empty((*found.shape, min(INSTANCE_DIM, learnt.model.dim)), np.float16)
    for one in predict(learnt.model, everything, explain=False, device=training.device):
        logits[one.rows], instances[one.rows] = one.logits, one.instances[..., :INSTANCE_DIM]
    return Trained(logits, instances, found, float(learnt.model.gate))


@dataclass(frozen=True)
class Calibration:
    """Calibration error (15 bins) of all cells together, and of the worst category of those with enough."""

    pooled: float
    worst: float
    worst_column: int
    measured: int  # categories with at least `LEAST_CELLS` cells


def calibration(log_odds: Array, labels: Labels) -> Calibration:
    """Of log-odds (n, C) against labels (n, C), 0 where a cell is not to be counted.

    ValueError when no category has enough cells.
    """
    p = sigmoid(log_odds)
    enough = np.flatnonzero(np.count_nonzero(labels, axis=0) >= LEAST_CELLS)
    if not len(enough):
        raise ValueError(f"No category has {LEAST_CELLS} cells to measure calibration on.")
    each = [expected_calibration_error(p[:, c], labels[:, c], bins=BINS) for c in enough.tolist()]
    worst = int(np.argmax(each))
    pooled = expected_calibration_error(p, labels, bins=BINS)
    return Calibration(pooled, each[worst], int(enough[worst]), len(enough))


@dataclass(frozen=True)
class Precision:
    """Share of positives among the ten nearest, mean over categories: of category-specific vectors, of whole
    pictures; `base` is the categories' mean share of positives, what neighbours drawn at random have.
    """

    category: float
    image: float
    base: float
    categories: int


def precision(
    trained: Trained,
    pooled: Array,
    truth: Labels,
    known: Labels,
    *,
    seed: int,
    candidates: npt.NDArray[np.bool_] | None = None,
) -> Precision:
    """Neighbours of confirmed positives: `known` (n, C) of the first rows, by `truth` (N, C).

    `pooled` (N, D) are the whole-picture features. `candidates` (N, C) may be found, all by default, never
    the asking picture itself. Both kinds are compared by cosine about their mean. Categories with fewer than
    11 positives or without a confirmed one are left out; ValueError when that leaves none.
    """
    rng = np.random.default_rng([seed, 2])
    whole, rows = _unit(pooled), []
    for column in range(truth.shape[1]):
        found = truth[:, column] != 0
        positive, asking = truth[:, column] == 1, np.flatnonzero(known[:, column] == 1)
        if candidates is not None:
            found &= candidates[:, column]
        if positive.sum() <= AT or not len(asking) or found.sum() <= AT:
            continue
        asking = rng.permutation(asking)[:QUERIES]
        own = _unit(trained.instances[:, column].astype(np.float32))
        shares = [_share(vectors, positive, asking, found) for vectors in (own, whole)]
        rows.append((*shares, positive[found].mean()))
    if not rows:
        raise ValueError(f"No category has {AT + 1} positives and a confirmed one.")
    category, image, base = np.mean(rows, axis=0).tolist()
    return Precision(category, image, base, len(rows))


def _unit(vectors: Array) -> Array:
    """About their mean and at length 1; a zero vector stays zero."""
    centred = vectors - vectors.mean(axis=0)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6))


def _share(
    vectors: Array, positive: npt.NDArray[np.bool_], asking: Rows, found: npt.NDArray[np.bool_]
) -> float:
    near = vectors[asking] @ vectors.T
    near[:, ~found] = -np.inf
    near[np.arange(len(asking)), asking] = -np.inf
    return float(positive[np.argpartition(-near, AT - 1, axis=1)[:, :AT]].mean())


def recall(instances: Instances, *, size: int, columns: int, seed: int) -> float:
    """Recall@10 of inverted lists against exact search, the least of up to `columns` categories.

    The instances (N, d) of a category are copied with noise until there are `size`, which must be above the
    limit of exact indexes. A thousand further copies ask. By similarity: which of several equal ones is found
    makes no difference.
    """
    if size <= INSTANCE_FLAT_LIMIT:
        raise ValueError(f"{size} vectors are searched exactly; give more than {INSTANCE_FLAT_LIMIT}.")
    rng = np.random.default_rng([seed, 3])
    chosen = evenly(instances.shape[1], columns)
    return min(
        _recall(_unit(instances[:, column].astype(np.float32)), size, rng) for column in chosen.tolist()
    )


def _recall(vectors: Array, size: int, rng: np.random.Generator) -> float:
    stored = _copies(vectors, size, rng)
    asking = _copies(rng.permutation(vectors), _RECALL_QUERIES, rng)
    ids = np.arange(size, dtype=np.int64)
    lists = InstanceIndex.build(ids, stored)
    exact = InstanceIndex.build(ids, stored, flat_limit=size)
    least = exact.search(asking, AT)[1].min(axis=1, keepdims=True)
    return float((lists.search(asking, AT)[1] >= least - 1e-5).mean())


def _copies(vectors: Array, count: int, rng: np.random.Generator) -> Array:
    """`count` vectors of length 1, each one of `vectors` with noise."""
    noise = rng.standard_normal((count, vectors.shape[1]), np.float32) * np.float32(
        _NOISE / vectors.shape[1] ** 0.5
    )
    made = vectors[np.arange(count) % len(vectors)] + noise
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True))
