"""Every category gets its turn: the order of value, shared out between the whole set and its categories.

The best cells of the whole set are mostly of few, frequent categories, and a model that is only asked about
those never learns the others: in the simulation of `benchmarks/effort.py` pure greed stops finding positives
at seven in ten. So most places are dealt out to the categories in turn, each giving its best open cells, and
only the rest go to the best cells of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annotator.ordering.cells import Cells, Positions, Scorer, in_parts

Scores = npt.NDArray[np.float32]

SHARE = 0.7
"""Share of the places dealt out in turn; 0.5 to 0.7 found most in the simulation, 0 and 1 clearly less."""
DEALT = 20_000  # places counted through; behind them a cell keeps its own cost


@dataclass(frozen=True, kw_only=True)
class Turns:
    """The highest costs of each category and of the whole set when the order was made; never changes."""

    of_category: Scores  # (C, k) descending
    of_all: Scores  # (m,) descending

    @classmethod
    def dealt(cls, parts: Iterable[np.ndarray], categories: int, *, places: int = DEALT) -> Turns:
        """From all costs (N, C), given as `parts` (n, C) so that they never stand in memory together.

        NaN is a cell that cannot be asked.
        """
        k = max(1, int(SHARE * places / max(1, categories)))
        mine = np.full((categories, 0), -np.inf, np.float32)
        best = np.full(0, -np.inf, np.float32)
        for part in parts:
            costs = np.where(np.isnan(part), -np.inf, part).astype(np.float32)
            mine = _largest(np.concatenate([mine, costs.T], axis=1), k)
            best = _largest(np.concatenate([best, costs.ravel()]), places)
        return cls(of_category=-np.sort(-mine, axis=1), of_all=-np.sort(-best))

    def scores(self, costs: np.ndarray) -> Scores:
        """Costs (n, C) raised to what a cell counts whose turn comes at its place; the same shape.

        The r-th best cell of a category (r = 1, 2 ...) is dealt out in round r, behind about r C (1 - share)
        / share of the best cells of all, and counts no less than the last of those. Sorting by the result is
        the interleaved order; within a category the order stays. Of equal cells the last one's round counts
        for all: there is nothing to choose between them yet.
        """
        raised = np.array(costs, np.float32)
        if not self.of_all.size:
            return raised
        per_round = len(self.of_category) * (1 - SHARE) / SHARE
        for column, best in enumerate(self.of_category):
            turn = np.searchsorted(-best, -raised[:, column], side="right")
            place = np.minimum((turn * per_round).astype(np.int64), len(self.of_all) - 1)
            floor = np.where(turn < len(best), self.of_all[place], -np.inf)
            raised[:, column] = np.maximum(raised[:, column], floor.astype(np.float32))
        raised[np.isnan(costs)] = np.nan
        return raised


def in_turns(cells: Cells, cost: Scorer) -> Scorer:
    """`cost` with every category's turns, as they fall for the cells that are open now."""

    def parts() -> Iterator[Scores]:
        for positions in in_parts(0, len(cells.image_ids)):
            yield np.where(cells.open(positions), cost(positions), np.nan)

    turns = Turns.dealt(parts(), len(cells.category_ids))

    def scores(positions: Positions) -> Scores:
        return turns.scores(cost(positions))

    return scores


def _largest(values: Scores, count: int) -> Scores:
    """The `count` largest along the last axis, in no order."""
    if values.shape[-1] <= count:
        return values
    return np.asarray(-np.partition(-values, count - 1, axis=-1)[..., :count], np.float32)
