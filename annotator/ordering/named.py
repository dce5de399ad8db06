"""Pictures where a category without a yes is guessed to be, by categories whose names are similar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annotator.ordering.cells import Cells, Positions
from annotator.suggesting import LoadedGeneration, NameVectors
from dsrb_core.names import mixed_scores, most_similar, name_weights

TOLD = 2  # similar names that the reason for a question shows
_KEPT = 4  # categories whose order is kept


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Positions of the pictures the generation knows, most likely first, and the names that said so."""

    order: Positions
    similar: tuple[str, ...]


class Named:
    """Guesses of one project. Not thread-safe. One pass over the learnt scores per category, generation
    and name, then kept; 8 bytes a picture for each of the last few categories.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, int, str], tuple[NameVectors, Guess | None]] = {}

    def guess(
        self,
        cells: Cells,
        generation: LoadedGeneration,
        rows: npt.NDArray[np.int64],
        vectors: NameVectors,
        names: Mapping[int, str],
        category_id: int,
    ) -> Guess | None:
        """Where the yes of an active category may be; None when too few learnt names have vectors.

        `rows` (N,) of the pictures in the generation, -1 of later ones, which are left out; `names` of all
        active categories. Equal pictures are ordered by their hash.
        """
        key = (generation.id, len(rows), category_id, names[category_id])
        made = self._made.get(key)
        if made is None or made[0] is not vectors:  # names have changed, this one's or another's
            made = vectors, _guess(cells, generation, rows, vectors, names, category_id)
            self._made.pop(key, None)
            while len(self._made) >= _KEPT:
                del self._made[next(iter(self._made))]
            self._made[key] = made
        return made[1]


def _guess(
    cells: Cells,
    generation: LoadedGeneration,
    rows: npt.NDArray[np.int64],
    vectors: NameVectors,
    names: Mapping[int, str],
    category_id: int,
) -> Guess | None:
    target = vectors.of(category_id, names[category_id])
    learnt = [
        (other, column, vector)
        for other, name in names.items()
        if other != category_id
        and (column := generation.column(other)) is not None
        and (vector := vectors.of(other, name)) is not None
    ]
    if target is None or len(learnt) < 2:
        return None
    weights = name_weights(np.stack([vector for _, _, vector in learnt]), target)
    columns = np.array([column for _, column, _ in learnt], np.int64)
    scores = mixed_scores(generation.logits(), columns, weights)
    there = np.nonzero(rows >= 0)[0]
    ties = cells.hashes(there, np.full(len(there), cells.category_ids.index(category_id)))
    return Guess(
        order=there[np.lexsort((ties, -scores[rows[there]]))],
        similar=tuple(names[learnt[place][0]] for place in most_similar(weights, TOLD).tolist()),
    )
