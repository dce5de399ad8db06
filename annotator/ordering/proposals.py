"""The mode in which the next seconds are worth most: one picture, or a grid of one category."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annotator.ordering import strategies
from annotator.ordering.board import Chosen
from annotator.ordering.cells import Cells, Learnt, Positions
from annotator.ordering.pace import Pace

GRID = 36  # cells of a grid
KEPT = 512  # best cells kept of a category
_COLUMNS = 16  # columns read at once


@dataclass(frozen=True, kw_only=True)
class BestGrid:
    """The grid of the highest value per second."""

    column: int
    cells: int
    seconds: float
    rate: float
    expected: float  # of its cells that are yes


class GridValues:
    """The cells of every category that are worth most, kept for a whole generation. Not thread-safe.

    Memory: 12 bytes for each of `KEPT` cells of a category. Cells that were answered and are open again are
    seen when a category's cells are read anew, which is when all that were kept are answered.
    """

    def __init__(self, cells: Cells, learnt: Learnt) -> None:
        self._learnt = learnt
        self._known = np.nonzero(learnt.rows >= 0)[0]
        self._kept: list[tuple[Positions, npt.NDArray[np.float32]]] = []
        for start in range(0, len(cells.category_ids), _COLUMNS):
            columns = range(start, min(start + _COLUMNS, len(cells.category_ids)))
            self._kept += self._read(cells, columns)
        self._seen = [-1] * len(cells.category_ids)
        self._now: list[tuple[int, float, float]] = [(0, 0.0, 0.0)] * len(cells.category_ids)

    def _read(self, cells: Cells, columns: range) -> list[tuple[Positions, npt.NDArray[np.float32]]]:
        table = self._learnt.generation.probabilities()
        wanted = self._learnt.columns[columns.start : columns.stop]
        rows = self._learnt.rows[self._known]
        p = np.asarray(table[:, wanted], np.float32)[rows]
        kept = []
        ids = cells.image_ids[self._known]
        for place, column in enumerate(columns):
            top, _ = strategies.rank(
                strategies.expected_cost(p[:, place : place + 1]),
                cells.open_column(column)[self._known, None],
                image_ids=ids,
                category_ids=np.array([cells.category_ids[column]]),
                seed=cells.seed,
                limit=KEPT,
            )
            kept.append((self._known[top], p[top, place]))
        return kept

    def best(self, cells: Cells, pace: Pace) -> BestGrid | None:
        """The best grid of open cells; None when none is open. Of equal ones the first category's."""
        best: BestGrid | None = None
        for column, category_id in enumerate(cells.category_ids):
            count, cost, yes = self._best_of(cells, column, category_id)
            if not count:
                continue
            seconds = pace.opening + count * pace.grid
            if best is None or cost / seconds > best.rate:
                best = BestGrid(
                    column=column, cells=count, seconds=seconds, rate=cost / seconds, expected=yes
                )
        return best

    def _best_of(self, cells: Cells, column: int, category_id: int) -> tuple[int, float, float]:
        """Number, summed cost and expected positives of the best open cells of a category."""
        changed = len(cells.states.touched(category_id, max(0, self._seen[column])))
        if self._seen[column] >= 0 and not changed:
            return self._now[column]
        positions, p = self._open(cells, column, category_id)
        if len(positions) < GRID and len(self._kept[column][0]) == KEPT:
            self._kept[column] = self._read(cells, range(column, column + 1))[0]
            positions, p = self._open(cells, column, category_id)
        self._seen[column] = max(0, self._seen[column]) + changed
        self._now[column] = (len(p), float(strategies.expected_cost(p).sum()), float(p.sum()))
        return self._now[column]

    def _open(self, cells: Cells, column: int, category_id: int) -> tuple[Positions, npt.NDArray[np.float32]]:
        positions, p = self._kept[column]
        ids = cells.image_ids[positions].tolist()
        is_open = cells.states.of_category(category_id, ids) == 0
        return positions[is_open][:GRID], p[is_open][:GRID]


@dataclass(frozen=True, kw_only=True)
class BestPicture:
    """The first picture of the order by value, and what it takes."""

    cells: int
    seconds: float
    rate: float
    expected: float


def best_picture(cells: Cells, learnt: Learnt, chosen: Chosen, pace: Pace, most: int) -> BestPicture | None:
    """How the first of the `chosen` pictures is answered best: its k best cells, with k of the best rate."""
    if not len(chosen.positions):
        return None
    first = chosen.positions[:1]
    p = learnt.probabilities(first)[0][cells.open(first)[0]]
    cost = strategies.expected_cost(p)
    if not len(cost):
        return None  # answered since it was chosen
    order = np.argsort(-cost, kind="stable")[:most]
    seconds = pace.opening + pace.cell * np.arange(1, len(order) + 1)
    rate = np.cumsum(cost[order]) / seconds
    k = int(np.argmax(rate))
    return BestPicture(
        cells=k + 1, seconds=float(seconds[k]), rate=float(rate[k]), expected=float(p[order][: k + 1].sum())
    )
