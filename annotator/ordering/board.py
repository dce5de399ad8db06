"""Pictures by their best open cell, kept for a whole generation and looked at only as far as needed.

An answer closes a cell and so never raises the score of its picture: the score a picture had when the board
was made is an upper bound of the one it has now. The next pictures are therefore found exactly by scoring
from the top until enough of them are above the bound of all that follow (lazy evaluation, Minoux 1978).
Cells that were answered and are open again are the exception: their pictures are scored every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annotator.ordering import strategies
from annotator.ordering.cells import ROWS, Best, Cells, Positions, Scorer, best_of, in_parts
from annotator.ordering.pace import Pace
from annotator.ordering.ties import LAST, Hashes

REBUILD_AFTER = 2000  # pictures answered since, after which the board is made anew
_FIRST = 64  # pictures scored at least
_ORDERS = 4  # paces whose order is kept


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Pictures in asking order with the column of their best cell."""

    positions: Positions  # (n,)
    columns: npt.NDArray[np.int64]  # (n,)
    scores: npt.NDArray[np.float32]  # (n,)


@dataclass(frozen=True)
class _Order:
    positions: Positions
    scores: npt.NDArray[np.float32]
    ties: Hashes


class Board:
    """The pictures of a project in the order of one strategy. Not thread-safe.

    Memory: 12 bytes a picture, 16 more for each pace an order was asked for, and with `most` above 1 another
    4 `most`.
    """

    def __init__(self, cells: Cells, score: Scorer, *, most: int = 1) -> None:
        """`most` above 1 orders pictures by value per second of their best cells, else by the best one."""
        self._category_ids = cells.category_ids
        self._score = score
        self._most = most
        self._count = len(cells.image_ids)
        self._seen = {c: len(cells.states.touched(c, 0)) for c in cells.category_ids}
        self._orders: dict[tuple[float, float], _Order] = {}
        self.scored = 0  # pictures scored since the board was made, building it not counted
        parts = [self._scored(cells, positions) for positions in in_parts(0, self._count)]
        width = 1 if most == 1 else min(most, len(cells.category_ids))
        self._base = np.concatenate([base for base, _ in parts] or [np.empty((0, width), np.float32)])
        self._ties = np.concatenate([best.ties for _, best in parts] or [np.empty(0, np.uint64)])

    def changed(self, cells: Cells) -> Positions:
        """Positions of pictures that were answered since the board was made, or came after it."""
        ids = [i for c, seen in self._seen.items() for i in cells.states.touched(c, seen)]
        places, there = cells.places(np.unique(np.array(ids, np.int64)))
        return np.union1d(places[there], np.arange(self._count, len(cells.image_ids)))

    def first(
        self, cells: Cells, limit: int, pace: Pace, changed: Positions, *, skip: Positions | None = None
    ) -> Chosen:
        """The `limit` best pictures now but for those to `skip`.

        `changed` are the positions to look at besides the order kept.
        """
        order = self._order(pace)
        passed = np.zeros(len(cells.image_ids), np.bool_)
        if skip is not None:
            passed[skip] = True
            changed = changed[~passed[changed]]
        found = [self._now(cells, changed, pace)]
        passed[changed] = True
        at, size = 0, max(_FIRST, limit + limit // 4)
        while True:
            part = order.positions[at : at + size]
            found.append(self._now(cells, part[~passed[part]], pace))
            at, size = at + len(part), 2 * size
            positions, scores, ties, columns = (np.concatenate(one) for one in zip(*found, strict=True))
            place = np.lexsort((ties, -scores))
            if at >= len(order.positions):
                break
            ahead = (scores > order.scores[at]) | ((scores == order.scores[at]) & (ties < order.ties[at]))
            if ahead.sum() >= limit:
                break
        place = place[:limit]
        return Chosen(positions=positions[place], columns=columns[place], scores=scores[place])

    def _now(
        self, cells: Cells, positions: Positions, pace: Pace
    ) -> tuple[Positions, npt.NDArray[np.float32], Hashes, npt.NDArray[np.int64]]:
        base, best = self._scored(cells, positions)
        self.scored += len(positions)
        there = best.columns >= 0
        return positions[there], self._reduced(base, pace)[there], best.ties[there], best.columns[there]

    def _scored(self, cells: Cells, positions: Positions) -> tuple[npt.NDArray[np.float32], Best]:
        """What the score of each picture follows from (n, k), and its best cell."""
        scores, open_mask = self._score(positions), cells.open(positions)
        best = best_of(cells, positions, scores, open_mask)
        if self._most == 1:
            return best.scores[:, None], best
        asked = np.where(open_mask, np.nan_to_num(scores, nan=0.0), 0.0)
        return strategies.prefix_sums(asked, self._most), best

    def _reduced(self, base: npt.NDArray[np.float32], pace: Pace) -> npt.NDArray[np.float32]:
        if self._most == 1:
            return base[:, 0]
        return strategies.rates(base, opening=pace.opening, per_cell=pace.cell)

    def _order(self, pace: Pace) -> _Order:
        key = (pace.opening, pace.cell) if self._most > 1 else (0.0, 0.0)
        made = self._orders.get(key)
        if made is None:
            scores = self._reduced(self._base, pace)
            there = np.nonzero(self._ties != LAST)[0]  # LAST stands where nothing was open
            there = there[np.lexsort((self._ties[there], -scores[there]))]
            made = _Order(there, scores[there], self._ties[there])
            while len(self._orders) >= _ORDERS:
                del self._orders[next(iter(self._orders))]
            self._orders[key] = made
        return made


def in_turn(cells: Cells, order: Positions, limit: int, *, skip: Sequence[int] | Positions = ()) -> Chosen:
    """The first `limit` pictures of a fixed order that have an open cell; column -1, for no cell leads."""
    passed = np.zeros(len(cells.image_ids), np.bool_)
    passed[np.asarray(skip, np.int64)] = True
    kept: list[Positions] = []
    at, size = 0, max(_FIRST, 2 * limit)
    while at < len(order) and sum(map(len, kept)) < limit:
        part = order[at : at + size]
        part = part[~passed[part]]
        # Without a category everything about a picture is still open.
        is_open = cells.open(part).any(axis=1) if cells.category_ids else np.ones(len(part), np.bool_)
        kept.append(part[is_open])
        at, size = at + size, min(2 * size, ROWS)
    positions = np.concatenate([np.empty(0, np.int64), *kept])[:limit]
    return Chosen(
        positions=positions,
        columns=np.full(len(positions), -1, np.int64),
        scores=np.zeros(len(positions), np.float32),
    )
