"""Nearest decided instances: per category from a generation's indexes, else over whole pictures."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from annotator.errors import ArtifactDamaged
from annotator.suggesting.generation import LoadedGeneration
from annotator.suggesting.pooled import PooledFeatures
from annotator.suggesting.states import ProjectStates
from dsrb_core.index import ImageIndex, InstanceIndex

_log = logging.getLogger(__name__)

MAX_INDEXES = 1024  # category indexes kept in memory


@dataclass(frozen=True, kw_only=True)
class Near:
    """Neighbours, most similar first, with the states their cells have now."""

    ids: np.ndarray  # (n,) int64
    similarities: np.ndarray  # (n,) float32
    states: np.ndarray  # (n,) int8


class CategoryIndex:
    """Decided instances of one category as they are now. Thread-safe."""

    def __init__(
        self, category_id: int, column: int, *, generation: LoadedGeneration, states: ProjectStates
    ) -> None:
        self._category_id = category_id
        self._column = column
        self._generation = generation
        self._states = states
        self._lock = threading.Lock()
        self._index: InstanceIndex = generation.load_index(category_id)
        # The index is of the snapshot: bring in what was decided since, put out what was taken back.
        self._seen = len(states.touched(category_id, 0))
        if len(self._index):
            there, _ = self._index.search(np.zeros(self._index.dim, np.float32), len(self._index))
            self._follow(there)
        self._follow(states.decided(category_id))

    def _follow(self, image_ids: np.ndarray) -> None:
        """Make the index hold exactly those of `image_ids` whose cell is decided yes or no now."""
        decided = np.abs(self._states.of_category(self._category_id, image_ids.tolist())) == 1
        self._index.remove(image_ids[~decided])
        new = np.array([i for i in np.unique(image_ids[decided]).tolist() if i not in self._index], np.int64)
        rows = self._generation.rows(new)
        new, rows = new[rows >= 0], rows[rows >= 0]
        if len(new):
            vectors = self._generation.vectors_of(rows, self._column)
            usable = np.isfinite(vectors).all(axis=1)
            self._index.add(new[usable], vectors[usable])

    def nearest(self, vector: np.ndarray, k: int, *, exclude: int) -> Near:
        """At most `k` decided instances most like `vector`, never the image `exclude`."""
        with self._lock:
            changed = self._states.touched(self._category_id, self._seen)
            if changed:
                self._seen += len(changed)
                self._follow(np.array(changed, np.int64))
            if not len(self._index) or not np.isfinite(vector).all():
                ids, similarities = np.empty(0, np.int64), np.empty(0, np.float32)
            else:
                ids, similarities = self._index.search(vector, k, exclude=exclude)
        states = self._states.of_category(self._category_id, ids.tolist())
        return Near(ids=ids, similarities=similarities, states=states)

    def __len__(self) -> int:
        return len(self._index)


class CategoryIndexes:
    """The indexes of one generation, each loaded when it is first asked for. Thread-safe.

    An index that is damaged is logged once and named in `problem`; the rest go on working.
    """

    def __init__(
        self, generation: LoadedGeneration, states: ProjectStates, *, limit: int = MAX_INDEXES
    ) -> None:
        self._generation = generation
        self._states = states
        self._limit = limit
        self._lock = threading.Lock()
        self._loaded: OrderedDict[int, CategoryIndex] = OrderedDict()
        self._damaged: dict[int, str] = {}

    def of(self, category_id: int, column: int) -> CategoryIndex | None:
        """The index of a category; None when it is damaged."""
        with self._lock:
            if category_id in self._damaged:
                return None
            found = self._loaded.get(category_id)
            if found is None:
                try:
                    found = CategoryIndex(
                        category_id, column, generation=self._generation, states=self._states
                    )
                except ArtifactDamaged as error:
                    _log.error("%s", error)
                    self._damaged[category_id] = str(error)
                    return None
                self._loaded[category_id] = found
            self._loaded.move_to_end(category_id)
            while len(self._loaded) > self._limit:
                self._loaded.popitem(last=False)
            return found

    @property
    def problem(self) -> str:
        """What is damaged, as a sentence; empty when nothing is."""
        with self._lock:
            return next(iter(self._damaged.values()), "")


class WholePictures:
    """Pictures with at least one decided cell, by their pooled features. Thread-safe."""

    def __init__(self, features: PooledFeatures, states: ProjectStates) -> None:
        self._features = features
        self._states = states
        self._lock = threading.Lock()
        self._index = ImageIndex.build(np.empty(0, np.int64), np.empty((0, features.dim), np.float32))
        self._seen = 0
        self._waiting: list[int] = []  # decided before their features were there

    def nearest(self, conn: Connection, image_id: int, k: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Ids and cosines of at most `k` other pictures; None when this one has no features yet."""
        present, vector = self._features.of(conn, [image_id])
        if not present:
            return None
        with self._lock:
            self._join(conn)
            if not len(self._index):
                return np.empty(0, np.int64), np.empty(0, np.float32)
            ids, similarities = self._index.search(vector[0], k, exclude=image_id)
        return ids, similarities

    def _join(self, conn: Connection) -> None:
        new = self._states.images(self._seen)
        self._seen += len(new)
        self._waiting += new
        if self._waiting:
            present, vectors = self._features.of(conn, self._waiting)
            if present:
                self._index.add(present, vectors)
                there = set(present)
                self._waiting = [image_id for image_id in self._waiting if image_id not in there]
