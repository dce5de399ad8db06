"""Decided instances of one category, positives and negatives apart, that are searched as one. No torch.

Letters: Q vectors that ask, D features, k neighbours, S decided instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from dsrb_core.index import INSTANCE_FLAT_LIMIT, Ids, InstanceIndex, Similarities, Vectors

States = npt.NDArray[np.int8]

POSITIVE, NEGATIVE = 1, -1
NAMES = {POSITIVE: "positive", NEGATIVE: "negative"}


@dataclass(frozen=True)
class Neighbours:
    """Rows of neighbours (Q, n): ids, -1 where there is none; inner products, -inf there; states, 0 there."""

    ids: Ids
    similarities: Similarities
    states: States

    def nearest(self, k: int) -> Neighbours:
        """The k most similar of each row, in no particular order; n is at most k then."""
        if self.ids.shape[1] <= k:
            return self
        return self._taken(np.argpartition(-self.similarities, k - 1, axis=1)[:, :k])

    def sorted(self) -> Neighbours:
        """The same neighbours, most similar first."""
        return self._taken(np.argsort(-self.similarities, axis=1, kind="stable"))

    def _taken(self, places: npt.NDArray[np.int64]) -> Neighbours:
        rows = np.arange(len(places))[:, None]
        return Neighbours(self.ids[rows, places], self.similarities[rows, places], self.states[rows, places])


class DecidedIndex:
    """Two indexes, of the positives and of the negatives; an image id is in one of them at most."""

    def __init__(self, positive: InstanceIndex, negative: InstanceIndex) -> None:
        """ValueError when their vectors differ in length."""
        if positive.dim != negative.dim:
            raise ValueError(f"Positives have {positive.dim} numbers and negatives {negative.dim}.")
        self.of = {POSITIVE: positive, NEGATIVE: negative}

    @classmethod
    def build(
        cls, ids: Ids, vectors: Vectors, states: States, *, flat_limit: int = INSTANCE_FLAT_LIMIT
    ) -> Self:
        """Index vectors (S, D) under their ids (S,) by their states (S,) +1 or -1; others are left out."""
        return cls(
            *(
                InstanceIndex.build(ids[states == state], vectors[states == state], flat_limit=flat_limit)
                for state in (POSITIVE, NEGATIVE)
            )
        )

    def __len__(self) -> int:
        return sum(len(index) for index in self.of.values())

    @property
    def ids(self) -> Ids:
        """Ids (S,) of all instances."""
        return np.concatenate([index.ids for index in self.of.values()])

    @property
    def recall(self) -> float:
        """The lower of the two measured recalls; 1.0 where nothing was measured."""
        return min(1.0 if index.recall is None else index.recall for index in self.of.values())

    def holds(self, image_id: int, state: int) -> bool:
        """True when the image is among those of this state, +1 or -1."""
        return image_id in self.of[state]

    def put(self, ids: Ids, vectors: Vectors, states: States) -> None:
        """Take in vectors (n, D) under their ids with states +1 or -1; known ids change sides.

        ValueError for another state, and as `InstanceIndex.add`.
        """
        if not np.isin(states, (POSITIVE, NEGATIVE)).all():
            raise ValueError("An instance is put in with the state +1 or -1.")
        for state, index in self.of.items():
            mine = states == state
            if not mine.any():
                continue
            index.add(ids[mine], vectors[mine])
            self.of[-state].remove(ids[mine])

    def remove(self, ids: Sequence[int] | Ids) -> int:
        """Forget these ids, passing over unknown ones; returns how many there were."""
        return sum(index.remove(ids) for index in self.of.values())

    def near(self, vectors: Vectors, k: int, *, own: Sequence[int] | Ids | None = None) -> Neighbours:
        """For vectors (Q, D) the k nearest positives, then the k nearest negatives: rows of 2k.

        `own` (Q,) is one id per row that is no neighbour of its row. The k nearest of both together are
        `near(...).nearest(k)`. Errors as `InstanceIndex.search`.
        """
        found = {state: index.search(np.atleast_2d(vectors), k, own=own) for state, index in self.of.items()}
        ids = np.concatenate([one[0] for one in found.values()], axis=1)
        said = np.repeat(np.array(list(found), np.int8), k)
        return Neighbours(
            ids,
            np.concatenate([one[1] for one in found.values()], axis=1),
            np.where(ids >= 0, said, 0).astype(np.int8),
        )

    def save(self, folder: Path, category_id: int) -> None:
        """Write `<category_id>.positive.faiss` and `<category_id>.negative.faiss` into a folder."""
        for state, index in self.of.items():
            index.save(folder / file_name(category_id, state))


def file_name(category_id: int, state: int) -> str:
    """Name of the file of one state, +1 or -1, of a category."""
    return f"{category_id}.{NAMES[state]}.faiss"
