"""Decided cells of one project in memory, kept current by the decisions since the last look."""

from __future__ import annotations

import threading

import numpy as np
from sqlalchemy import Connection

from annotator.records import CellState
from annotator.store import categories, decisions

_UNKNOWN = int(CellState.UNKNOWN)
_POSITIVE = int(CellState.POSITIVE)
_NEGATIVE = int(CellState.NEGATIVE)


class ProjectStates:
    """A dense int8 table over the images and categories that have at least one decided cell. Thread-safe.

    Rows and columns are handed out in the order of their first decision and never move.
    """

    def __init__(self, project_id: int) -> None:
        self._project_id = project_id
        self._lock = threading.RLock()
        self._table = np.zeros((256, 32), np.int8)
        self._rows: dict[int, int] = {}
        self._columns: dict[int, int] = {}
        self._positive: dict[int, int] = {}
        self._negative: dict[int, int] = {}
        self._touched: dict[int, list[int]] = {}
        self._touched_images: list[int] = []
        self._yes = 0
        self._no = 0
        self.seq = 0

    def refresh(self, conn: Connection) -> None:
        """Take in every decision made since the last call; costs one small query when there is none."""
        with self._lock:
            head = decisions.head_seq(conn, self._project_id)
            if head <= self.seq:
                return
            if self.seq == 0:
                self._load(conn)
            else:
                self._follow(conn)
            self.seq = head

    def _load(self, conn: Connection) -> None:
        # Archived ones too: one may be restored, and what is decided from now on is followed for all of them.
        archived = categories.list_archived(conn, self._project_id)
        for category in [*categories.list_active(conn, self._project_id), *archived]:
            for image_id, state in decisions.of_category(conn, category.id):
                self._set(image_id, category.id, state)

    def _follow(self, conn: Connection) -> None:
        touched = decisions.touched_since(conn, self._project_id, self.seq)
        labels = decisions.labels_of(conn, sorted({image_id for image_id, _ in touched}))
        for image_id, category_id in sorted(touched):
            label = labels.get(image_id, {}).get(category_id)  # none: the cell was cleared
            self._set(image_id, category_id, _UNKNOWN if label is None else int(label.state))

    def _set(self, image_id: int, category_id: int, state: int) -> None:
        row, column = self._row(image_id), self._column(category_id)
        before = int(self._table[row, column])
        if before == state:
            return
        for value, counts in ((_POSITIVE, self._positive), (_NEGATIVE, self._negative)):
            counts[category_id] = counts.get(category_id, 0) + (state == value) - (before == value)
        self._yes += (state == _POSITIVE) - (before == _POSITIVE)
        self._no += (state == _NEGATIVE) - (before == _NEGATIVE)
        self._table[row, column] = state
        self._touched.setdefault(category_id, []).append(image_id)

    def _row(self, image_id: int) -> int:
        row = self._rows.setdefault(image_id, len(self._rows))
        if row == len(self._touched_images):
            self._touched_images.append(image_id)
        if row >= self._table.shape[0]:
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        return row

    def _column(self, category_id: int) -> int:
        column = self._columns.setdefault(category_id, len(self._columns))
        if column >= self._table.shape[1]:
            self._table = np.concatenate([self._table, np.zeros_like(self._table)], axis=1)
        return column

    def state(self, image_id: int, category_id: int) -> int:
        """Current state of a cell as an int, 0 when nobody decided it."""
        with self._lock:
            row, column = self._rows.get(image_id), self._columns.get(category_id)
            return _UNKNOWN if row is None or column is None else int(self._table[row, column])

    def of_category(self, category_id: int, image_ids: list[int]) -> np.ndarray:
        """States (n,) int8 of these images for one category."""
        with self._lock:
            column = self._columns.get(category_id)
            if column is None:
                return np.zeros(len(image_ids), np.int8)
            rows = np.fromiter((self._rows.get(i, -1) for i in image_ids), np.int64, len(image_ids))
            return np.where(rows >= 0, self._table[rows, column], _UNKNOWN).astype(np.int8)

    def block(self, image_ids: list[int], category_ids: list[int]) -> np.ndarray:
        """States (n, m) int8 of these images and categories, 0 where nobody decided."""
        with self._lock:
            rows = np.fromiter((self._rows.get(i, -1) for i in image_ids), np.int64, len(image_ids))
            columns = np.fromiter(
                (self._columns.get(i, -1) for i in category_ids), np.int64, len(category_ids)
            )
            found: np.ndarray = self._table[rows[:, None], columns[None, :]].copy()
            found[rows < 0] = _UNKNOWN
            found[:, columns < 0] = _UNKNOWN
            return found

    def decided(self, category_id: int) -> np.ndarray:
        """Images (n,) int64 whose cell of this category is yes or no now."""
        with self._lock:
            column = self._columns.get(category_id)
            if column is None:
                return np.empty(0, np.int64)
            states = self._table[: len(self._touched_images), column]
            rows = np.nonzero((states == _POSITIVE) | (states == _NEGATIVE))[0]
            return np.array([self._touched_images[row] for row in rows], np.int64)

    def touched(self, category_id: int, after: int) -> list[int]:
        """Images whose cell of this category changed, from the `after`-th change on."""
        with self._lock:
            return self._touched.get(category_id, [])[after:]

    def images(self, after: int = 0) -> list[int]:
        """Images that ever had a decided cell, in order of the first decision, from the `after`-th on."""
        with self._lock:
            return self._touched_images[after:]

    def positives(self, category_id: int) -> int:
        """Confirmed positives of a category now."""
        return self._positive.get(category_id, 0)

    def known(self, category_id: int) -> int:
        """Cells of a category decided yes or no now; unsure does not count."""
        return self._positive.get(category_id, 0) + self._negative.get(category_id, 0)

    def base_rate(self, category_id: int) -> float:
        """Share of yes among the decided cells, pulled to the share in the whole project; within (0, 1)."""
        share = (self._yes + 1) / (self._yes + self._no + 5)
        return (self.positives(category_id) + 2 * share) / (self.known(category_id) + 2)

    @property
    def anything(self) -> bool:
        """True when some cell is decided yes or no."""
        return self._yes + self._no > 0
