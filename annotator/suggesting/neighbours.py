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
from dsrb_core.decided_index import DecidedIndex
from dsrb_core.index import ImageIndex

_log = logging.getLogger(__name__)

MAX_INDEXES = 1024  # category indexes kept in memory


@dataclass(frozen=True, kw_only=True)
class Near:
    """Neighbours, most similar first, with the states their cells have now."""

    ids: np.ndarray  # (n,) int64
    similarities: np.ndarray  # (n,) float32
    states: np.ndarray  # (n,) int8


class CategoryIndex:
    """Decided instances of one category as they are now, positives and negatives apart. Thread-safe.

    Begins with the generation's files. Where one is damaged it is built again from the generation's
    instances and the states of this moment; that is logged.
    """

    def __init__(
        self, category_id: int, column: int, *, generation: LoadedGeneration, states: ProjectStates
    ) -> None:
        self._category_id = category_id
        self._column = column
        self._generation = generation
        self._states = states
        self._lock = threading.Lock()
        self._seen = len(states.touched(category_id, 0))
        try:
            self._index = generation.load_index(category_id)
        except ArtifactDamaged as error:
            _log.error("%s It is built again from instances.npy and the answers in the store.", error)
            self._index = self._built()
        else:
            # The files are of the snapshot: bring in what was decided since, put out what was taken back.
            self._follow(np.union1d(self._index.ids, states.decided(category_id)))

    def _built(self) -> DecidedIndex:
        ids, vectors = self._vectors_of(self._states.decided(self._category_id))
        states = self._states.of_category(self._category_id, ids.tolist())
        return DecidedIndex.build(ids, vectors, states)

    def _follow(self, image_ids: np.ndarray) -> None:
        """Make the index hold exactly those of `image_ids` whose cell is yes or no now, on the right side."""
        states = self._states.of_category(self._category_id, image_ids.tolist())
        decided = np.abs(states) == 1
        self._index.remove(image_ids[~decided])
        new = [
            place
            for place in np.flatnonzero(decided)
            if not self._index.holds(int(image_ids[place]), int(states[place]))
        ]
        ids, vectors = self._vectors_of(image_ids[new])
        if len(ids):
            self._index.put(ids, vectors, states[new][np.isin(image_ids[new], ids)])

    def _vectors_of(self, image_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The images that the generation covers with finite numbers, and these (n, d)."""
        rows = self._generation.rows(image_ids)
        ids, vectors = image_ids[rows >= 0], self._generation.vectors_of(rows[rows >= 0], self._column)
        usable = np.isfinite(vectors).all(axis=1)
        return ids[usable], vectors[usable]

    def nearest(self, vector: np.ndarray, k: int, *, exclude: int) -> Near:
        """At most `k` positives and `k` negatives most like `vector`, never the image `exclude`.

        Its first `k` are the `k` nearest of all decided instances.
        """
        with self._lock:
            changed = self._states.touched(self._category_id, self._seen)
            if changed:
                self._seen += len(changed)
                self._follow(np.unique(np.array(changed, np.int64)))
            if not len(self._index) or not np.isfinite(vector).all():
                return Near(
                    ids=np.empty(0, np.int64),
                    similarities=np.empty(0, np.float32),
                    states=np.empty(0, np.int8),
                )
            found = self._index.near(vector[None], k, own=[exclude]).sorted()
        there = found.ids[0] >= 0
        return Near(
            ids=found.ids[0][there], similarities=found.similarities[0][there], states=found.states[0][there]
        )


class CategoryIndexes:
    """The indexes of one generation, each loaded when it is first asked for. Thread-safe."""

    def __init__(
        self, generation: LoadedGeneration, states: ProjectStates, *, limit: int = MAX_INDEXES
    ) -> None:
        self._generation = generation
        self._states = states
        self._limit = limit
        self._lock = threading.Lock()
        self._loaded: OrderedDict[int, CategoryIndex] = OrderedDict()

    def of(self, category_id: int, column: int) -> CategoryIndex:
        """The index of a category."""
        with self._lock:
            found = self._loaded.get(category_id)
            if found is None:
                found = CategoryIndex(category_id, column, generation=self._generation, states=self._states)
                self._loaded[category_id] = found
            self._loaded.move_to_end(category_id)
            while len(self._loaded) > self._limit:
                self._loaded.popitem(last=False)
            return found


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
