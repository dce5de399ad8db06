"""Pictures most like the known positives of a category that no generation has learnt yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from annotator.ordering.cells import ROWS, Cells, Positions
from annotator.suggesting import PooledFeatures

POSITIVES = 64  # known positives that are compared with
_KEPT = 4  # categories whose order is kept


@dataclass(frozen=True)
class _Made:
    positives: frozenset[int]
    similarities: npt.NDArray[np.float32]  # (N,), -inf where a picture has no features yet
    order: Positions


class Nearby:
    """Orders of whole pictures by the highest cosine to a known positive. Not thread-safe.

    One pass over the features of all pictures when a category is first asked for and one for each time it
    has new positives, of these alone. Memory: 12 bytes a picture for each of the last few categories.
    """

    def __init__(self, features: PooledFeatures) -> None:
        self.features = features
        self._made: dict[int, _Made] = {}

    def order(self, conn: Connection, cells: Cells, category_id: int) -> Positions | None:
        """Positions of all pictures with features, most similar first; None when no positive has any.

        Equal ones are ordered by their hash. ArtifactDamaged when the features cannot be read.
        """
        decided = cells.states.decided(category_id).tolist()
        states = cells.states.of_category(category_id, decided)
        positives = frozenset(
            [i for i, state in zip(decided, states, strict=True) if state == 1][-POSITIVES:]
        )
        made = self._made.get(category_id)
        if made is None or made.positives != positives or len(made.similarities) < len(cells.image_ids):
            made = self._make(conn, cells, category_id, positives, made)
            self._made.pop(category_id, None)
            while len(self._made) >= _KEPT:
                del self._made[next(iter(self._made))]
            self._made[category_id] = made
        return made.order if len(made.order) else None

    def _make(
        self,
        conn: Connection,
        cells: Cells,
        category_id: int,
        positives: frozenset[int],
        before: _Made | None,
    ) -> _Made:
        count = len(cells.image_ids)
        similarities = np.full(count, -np.inf, np.float32)
        new = positives
        if before is not None and before.positives <= positives and len(before.similarities) == count:
            similarities, new = before.similarities.copy(), positives - before.positives
        there, queries = self.features.of(conn, sorted(new))
        if there:
            for start in range(0, count, ROWS):
                part = cells.image_ids[start : start + ROWS]
                present, vectors = self.features.of(conn, part.tolist())
                places = np.searchsorted(cells.image_ids, np.array(present, np.int64))
                near = (vectors @ queries.T).max(axis=1, initial=-np.inf)
                similarities[places] = np.maximum(similarities[places], near)
        known = np.nonzero(np.isfinite(similarities))[0]
        ties = cells.hashes(known, np.full(len(known), cells.category_ids.index(category_id)))
        return _Made(positives, similarities, known[np.lexsort((ties, -similarities[known]))])
