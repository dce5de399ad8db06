"""The random stream: a share of the questions, drawn from all unknown cells alike and asked blind.

Each cell has a number that follows from the seed and its two ids alone; the next blind questions are the
unknown cells with the least numbers. That is a uniform draw without replacement, the same at every call and
whatever any model says. Only cells below a threshold are kept; it rises when they are all decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from annotator.ordering.cells import ROWS, Cells, Positions, in_parts
from annotator.ordering.ties import cell_hash

KEPT = 4096  # cells kept about, at the least
MOST = 2**20  # cells kept beyond which decided ones are left out
AT_ONCE = 2**16  # cells whose numbers are made at once: they stay in the cache of a processor
_GROWTH = 8.0
_BLIND = 1 << 32  # keeps the draw apart from the numbers that break ties


class RandomStream:
    """Cells of one project in the order of the draw. Not thread-safe. Memory: 24 bytes a cell kept."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._share = 0.0  # of all cells that is kept
        self._total = 0  # cells there were when the threshold was set
        self._pictures = 0
        self._category_ids: tuple[int, ...] = ()
        self._hashes = np.empty(0, np.uint64)
        self._positions: Positions = np.empty(0, np.int64)
        self._categories = np.empty(0, np.int64)

    def draw(self, cells: Cells) -> Iterator[tuple[int, int]]:
        """Position and category id of the open cells of `cells`, in the order of the draw."""
        if not len(cells.image_ids) or not cells.category_ids:
            return
        self._follow(cells)
        after = np.uint64(0)
        while True:
            for place in self._open(cells, int(np.searchsorted(self._hashes, after, "left"))):
                yield int(self._positions[place]), int(self._categories[place])
            if self._share >= 1:
                return
            after = _limit(self._share)
            self._collect(cells, min(1.0, self._share * _GROWTH))

    def _follow(self, cells: Cells) -> None:
        """Take in new pictures and categories; an archived category stays, and is passed over."""
        known = set(self._category_ids)
        new = [c for c in cells.category_ids if c not in known]
        count = len(cells.image_ids)
        total = count * len(cells.category_ids)
        if total > 4 * self._total:  # a threshold for few cells would keep too many of these
            self._collect(cells, min(1.0, KEPT / total))
            return
        if count > self._pictures:
            self._add(cells, range(self._pictures, count), self._category_ids)
        if new:
            self._add(cells, range(count), new)
        self._pictures, self._category_ids = count, (*self._category_ids, *new)

    def _collect(self, cells: Cells, share: float) -> None:
        self._share, self._pictures = share, len(cells.image_ids)
        self._total = len(cells.image_ids) * len(cells.category_ids)
        self._category_ids = cells.category_ids
        self._hashes, self._positions = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._categories = np.empty(0, np.int64)
        self._add(cells, range(self._pictures), self._category_ids)

    def _add(self, cells: Cells, positions: range, category_ids: Sequence[int]) -> None:
        """Put the cells below the threshold to their places."""
        limit, categories = _limit(self._share), np.array(category_ids, np.int64)
        crowded = self._share * len(cells.image_ids) * len(cells.category_ids) > MOST
        hashes, kept, of = [self._hashes], [self._positions], [self._categories]
        rows_at_once = max(1, AT_ONCE // max(1, len(categories)))
        for part in in_parts(positions.start, positions.stop, rows_at_once):
            drawn = cell_hash(self._seed + _BLIND, cells.image_ids[part][:, None], categories)
            low = drawn < limit if self._share < 1 else np.ones(drawn.shape, np.bool_)
            rows, columns = np.divmod(np.flatnonzero(low), max(1, len(categories)))
            if crowded:
                ids = cells.image_ids[part].tolist()
                undecided = cells.states.block(ids, categories.tolist())[rows, columns] == 0
                rows, columns = rows[undecided], columns[undecided]
            hashes.append(drawn[rows, columns])
            kept.append(part[rows])
            of.append(categories[columns])
        self._hashes = np.concatenate(hashes)
        order = np.argsort(self._hashes, kind="stable")
        self._hashes = self._hashes[order]
        self._positions = np.concatenate(kept)[order]
        self._categories = np.concatenate(of)[order]

    def _open(self, cells: Cells, start: int) -> Iterator[int]:
        """Places from `start` on whose cells are open now."""
        columns = {c: column for column, c in enumerate(cells.category_ids)}
        size = 64
        while start < len(self._hashes):
            stop = min(start + size, len(self._hashes))
            column = np.array([columns.get(c, -1) for c in self._categories[start:stop].tolist()], np.int64)
            is_open = cells.open(self._positions[start:stop])[np.arange(stop - start), column] & (column >= 0)
            yield from (start + np.nonzero(is_open)[0]).tolist()
            start, size = stop, min(2 * size, ROWS)


def _limit(share: float) -> np.uint64:
    return np.uint64(min(int(share * 2**64), 2**64 - 1))


def places_of_blind(share: float, *, since: int, total: int) -> list[int]:
    """Places of the blind among `total` questions, every 1/share-th, `since` asked after the last one."""
    if share <= 0:
        return []
    every = 1 / share
    first = max(0.0, every - 1 - since)
    count = max(0, int(np.ceil((total - first) / every)))
    places = np.floor(first + every * np.arange(count) + 1e-9).astype(np.int64)
    return [int(place) for place in np.unique(places[places < total])]
