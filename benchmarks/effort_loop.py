"""The simulated annotator of `effort.py`: ways to order questions, and the loop of asking and retraining."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from annotator.ordering import strategies
from annotator.ordering.cold import k_means_plus_plus, projected
from annotator.ordering.pace import Pace
from annotator.ordering.turns import Turns
from dsrb_core.calibration import sigmoid
from dsrb_core.config import TrainConfig
from dsrb_core.labels import Labels
from dsrb_core.methods import method
from dsrb_core.metrics import mean_average_precision
from dsrb_core.tokens import MapSource

Array = npt.NDArray[np.float32]
Cells = npt.NDArray[np.int64]  # places in the flattened table
Order = Callable[[Array], Array]  # probabilities (N, C), NaN where answered -> what is asked first

FIRST_PICTURES = 20  # answered in full before there is a model, spread out by k-means++
GRID_FROM = 12  # cells of one category in one round from which on a grid of that category is shown
GRID = 36
BLIND = 0.05  # the share of random questions, as in the product
TAKEN = 0.96  # expected precision of the final labels; the wanted 0.95 and a margin for its error


@dataclass(frozen=True)
class Way:
    """A model that is retrained and an order in which cells are asked; no model: picture after picture."""

    name: str
    model: str = ""
    order: Order | None = None
    blind: float = 0.0  # share of questions drawn at random
    warm: bool = True  # begins with the first pictures answered in full


@dataclass(frozen=True)
class Problem:
    """Pictures to be labelled (N of `source`), pictures that only judge, complete labels of all."""

    source: MapSource
    labels: Labels
    asked: Cells
    judged: Cells

    @property
    def truth(self) -> npt.NDArray[np.bool_]:
        """(N, C) what the annotator answers."""
        return np.asarray(self.labels[self.asked] == 1)


@dataclass
class Point:
    """Where a run stood after some answers; shares of 1."""

    answers: int
    seconds: float
    recall: float  # positives found, by an answer or by being taken unasked
    precision: float  # of all that is called positive then
    answered: float  # positives found by answers alone
    map: float | None  # on the pictures that only judge


@dataclass
class Run:
    """One way with one seed."""

    way: str
    seed: int
    points: list[Point] = field(default_factory=list)


def in_turn(p: Array) -> Array:
    """The product's order: expected cost, shared out between the set and its categories."""
    cost = strategies.expected_cost(p)
    return Turns.dealt([cost], p.shape[1]).scores(cost)


WAYS = (
    Way("exhaustive"),
    Way("random, linear", "linear", lambda p: np.zeros_like(p), warm=False),
    Way("uncertain, linear", "linear", strategies.uncertain),
    Way("neighbours, likely", "knn", strategies.likely),
    Way("ours", "linear+context", in_turn, blind=BLIND),
)
ABLATIONS = (
    Way("ours, greedy", "linear+context", strategies.expected_cost, blind=BLIND),
    Way("ours, likely in turn", "linear+context", lambda p: Turns.dealt([p], p.shape[1]).scores(p), BLIND),
    Way("linear in turn", "linear", in_turn, blind=BLIND),
    Way("neighbours in turn", "knn", in_turn, blind=BLIND),
    Way("ours with the residual", "assistant+context", in_turn, blind=BLIND),
)


def play(problem: Problem, way: Way, *, seed: int, growth: float, most: float) -> Iterator[Point]:
    """Answer round after round until nearly every positive is known or `most` of the cells are asked.

    A round asks `growth` of what is known already, at least 200 cells, then everything is trained anew.
    """
    truth = problem.truth
    known = np.zeros(truth.shape, np.bool_)
    rng, clock = np.random.default_rng([seed, 7]), Clock()
    if not way.model:
        yield from _exhaustive(truth, clock, growth)
        return
    first = FIRST_PICTURES * truth.shape[1]
    if way.warm:
        pooled = problem.source.pooled()[problem.asked]
        pictures = k_means_plus_plus(projected(pooled, seed=seed), seed=seed, picks=FIRST_PICTURES)
        batch = (pictures[:, None] * truth.shape[1] + np.arange(truth.shape[1])).ravel()
    else:
        batch = rng.permutation(truth.size)[:first]
    while True:
        clock.give(batch, truth.shape[1])
        known.ravel()[batch] = True
        logits = _scores(problem, known, way.model, seed)
        p = sigmoid(logits[problem.asked]).astype(np.float32)
        yield _point(problem, known, p, logits, clock)
        if known.sum() >= most * truth.size or (truth & known).sum() >= 0.995 * truth.sum():
            return
        batch = _batch(known, p, way, size=max(200, int(growth * known.sum())), rng=rng)


def _batch(known: npt.NDArray[np.bool_], p: Array, way: Way, *, size: int, rng: np.random.Generator) -> Cells:
    """The cells of the next round; equal ones are drawn by lot."""
    assert way.order is not None
    waiting = np.flatnonzero(~known)
    blind = rng.permutation(waiting)[: int(way.blind * size)]
    scores = way.order(np.where(known, np.nan, p).astype(np.float32)).ravel().astype(np.float64)
    scores[known.ravel()] = -np.inf
    scores[blind] = -np.inf
    order = np.lexsort((rng.random(scores.size), -scores))
    chosen = order[: max(0, min(size, len(waiting)) - len(blind))]
    return np.concatenate([blind, chosen])


def _scores(problem: Problem, known: npt.NDArray[np.bool_], model: str, seed: int) -> Array:
    labels = np.zeros_like(problem.labels)
    labels[problem.asked] = np.where(known, problem.labels[problem.asked], 0)
    return method(model).fit_predict(
        problem.source, labels, problem.asked, problem.judged, seed=seed, training=TrainConfig(seed=seed)
    )


def _point(problem: Problem, known: npt.NDArray[np.bool_], p: Array, logits: Array, clock: Clock) -> Point:
    truth = problem.truth
    found, taken = int((truth & known).sum()), take(p, known, truth)
    right = int((truth & taken).sum())
    return Point(
        answers=int(known.sum()),
        seconds=clock.seconds,
        recall=(found + right) / truth.sum(),
        precision=(found + right) / max(1, found + int(taken.sum())),
        answered=found / truth.sum(),
        map=float(mean_average_precision(logits[problem.judged], problem.labels[problem.judged])),
    )


def take(p: Array, known: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Cells (N, C) that are called positive without being asked: the most likely ones, as many as leave the
    *expected* precision of all that is called positive at `TAKEN`. Of `truth` only answered cells are read.
    """
    waiting = ~known
    ranked = np.sort(p[waiting])[::-1].astype(np.float64)
    sure = int((truth & known).sum())
    expected = (sure + np.cumsum(ranked)) / (sure + np.arange(1, len(ranked) + 1))
    good = np.flatnonzero(expected >= TAKEN)
    return waiting & (p >= ranked[good[-1]]) if len(good) else np.zeros_like(known)


def _exhaustive(truth: npt.NDArray[np.bool_], clock: Clock, growth: float) -> Iterator[Point]:
    """Picture after picture, every category, no model."""
    done, count = 0, truth.shape[1]
    while done < len(truth):
        upto = min(len(truth), max(done + 1, int(done * (1 + growth))))
        clock.give(np.arange(done * count, upto * count), count)
        done, found = upto, float(truth[:upto].sum() / truth.sum())
        yield Point(done * count, clock.seconds, found, 1.0, found, None)


def sorted_by_a_full_model(problem: Problem, shares: Sequence[float], *, seed: int) -> list[float]:
    """The share of cells that finds each share of the positives, most likely first, by a logistic regression
    that knows every label of all *other* pictures: what these features allow without learning on the way.
    """
    others = np.setdiff1d(np.arange(len(problem.labels)), problem.asked)
    logits = method("linear").fit_predict(
        problem.source, problem.labels, others, problem.asked, seed=seed, training=TrainConfig(seed=seed)
    )[problem.asked]
    found = np.cumsum(problem.truth.ravel()[np.argsort(-logits.ravel(), kind="stable")])
    return [float(np.searchsorted(found, share * found[-1]) + 1) / found.size for share in shares]


class Clock:
    """Modelled seconds, by the product's typical pace: cells of a category that fill most of a grid are asked
    in grids, the others picture by picture.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def give(self, batch: Cells, categories: int) -> None:
        """Add the time for one round's cells."""
        pace = Pace()
        rows, columns = batch // categories, batch % categories
        sizes = np.bincount(columns, minlength=categories)
        gridded = sizes >= GRID_FROM
        grids = np.ceil(sizes[gridded] / GRID).sum()
        self.seconds += float(grids * pace.opening + sizes[gridded].sum() * pace.grid)
        single = ~gridded[columns]
        self.seconds += float(len(np.unique(rows[single])) * pace.opening + single.sum() * pace.cell)
