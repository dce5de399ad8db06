"""The cells that can be asked about: which are open now, and what the generation says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from annotator.ordering import strategies
from annotator.ordering.ties import LAST, Hashes, cell_hash
from annotator.suggesting import LoadedGeneration, ProjectStates
from annotator.suggesting.generation import places_of

Positions = npt.NDArray[np.int64]
Scorer = Callable[[Positions], npt.NDArray[np.float32]]
"""Scores (n, m) of the pictures at some positions and of all columns; NaN where nothing can be said."""

_RANDOM = 1 << 33  # keeps the random order apart from the numbers that break ties
ROWS = 4096  # pictures scored at once, so that the memory needed does not grow with the project


def in_parts(start: int, stop: int, rows: int = ROWS) -> Iterator[Positions]:
    """The positions from `start` to below `stop`, `rows` at a time."""
    for first in range(start, stop, rows):
        yield np.arange(first, min(first + rows, stop))


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Pictures (ascending ids) by categories of one project; a position is a place in `image_ids`."""

    image_ids: npt.NDArray[np.int64]
    category_ids: tuple[int, ...]
    states: ProjectStates
    seed: int
    withheld: Mapping[int, Sequence[int]] = field(default_factory=dict)  # position -> categories not to ask

    def open(self, positions: Positions) -> npt.NDArray[np.bool_]:
        """Which cells (n, m) of these pictures nobody has decided and nobody withholds."""
        ids = self.image_ids[positions].tolist()
        found = np.asarray(self.states.block(ids, list(self.category_ids)) == 0)
        if self.withheld:
            for row, position in enumerate(positions.tolist()):
                for category_id in self.withheld.get(position, ()):
                    if category_id in self.category_ids:
                        found[row, self.category_ids.index(category_id)] = False
        return found

    def open_column(self, column: int) -> npt.NDArray[np.bool_]:
        """Which pictures (N,) have an open cell of one category; looks at those ever answered only."""
        category_id = self.category_ids[column]
        ids = np.unique(np.array(self.states.touched(category_id, 0), np.int64))
        found = np.ones(len(self.image_ids), np.bool_)
        places, there = self.places(ids)
        decided = self.states.of_category(category_id, ids[there].tolist()) != 0
        found[places[there][decided]] = False
        return found

    def places(self, image_ids: npt.NDArray[np.int64]) -> tuple[Positions, npt.NDArray[np.bool_]]:
        """Positions (n,) of pictures and whether each is there at all; where it is not, -1."""
        places = places_of(self.image_ids, image_ids)
        return places, places >= 0

    def hashes(self, positions: Positions, columns: Positions) -> Hashes:
        """Tie-breaking numbers (n,) of cells."""
        return cell_hash(self.seed, self.image_ids[positions], np.array(self.category_ids, np.int64)[columns])


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best open cell of each of n pictures: -inf and column -1 where there is none."""

    scores: npt.NDArray[np.float32]
    ties: Hashes
    columns: npt.NDArray[np.int64]


def best_of(cells: Cells, positions: Positions, scores: np.ndarray, open_mask: np.ndarray) -> Best:
    """Best open cell of each picture by `scores` (n, m); equal ones by their hash, the least first."""
    usable = np.where(open_mask & ~np.isnan(scores), scores, -np.inf)
    top = usable.max(axis=1, initial=-np.inf)
    rows, columns = np.nonzero((usable == top[:, None]) & (top > -np.inf)[:, None])
    hashes = cells.hashes(positions[rows], columns)
    ties = np.full(len(top), LAST, np.uint64)
    starts = np.nonzero(np.diff(rows, prepend=-1))[0]
    if len(starts):
        ties[rows[starts]] = np.minimum.reduceat(hashes, starts)
    chosen = np.full(len(top), -1, np.int64)
    least = hashes == ties[rows]
    chosen[rows[least]] = columns[least]
    return Best(scores=top.astype(np.float32), ties=ties, columns=chosen)


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """What a generation says of the cells: `rows` (N,) of the pictures, -1 of later ones; `columns` (m,)."""

    generation: LoadedGeneration
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]

    def probabilities(self, positions: Positions) -> npt.NDArray[np.float32]:
        """Calibrated probabilities (n, m), NaN where a picture came later."""
        return self._of(self.generation.probabilities(), positions)

    def opinions(self, positions: Positions) -> tuple[np.ndarray, np.ndarray]:
        """Log-odds (n, m) by the model alone and by the neighbours alone; only with `has_votes`."""
        votes = self.generation.votes()
        assert votes is not None
        logits = self._of(self.generation.logits(), positions)
        model = self.generation.combiner.logit(self.columns, np.nan_to_num(logits))
        return np.where(np.isnan(logits), np.nan, model), self._of(votes, positions)

    @property
    def has_votes(self) -> bool:
        """False when the generation was made without instance features."""
        return self.generation.votes() is not None

    def _of(self, table: np.ndarray, positions: Positions) -> npt.NDArray[np.float32]:
        rows = self.rows[positions]
        found = np.full((len(rows), len(self.columns)), np.nan, np.float32)
        there = rows >= 0
        found[there] = table[rows[there]][:, self.columns]
        return found


def scorer(strategy: str, cells: Cells, learnt: Learnt | None, positives: Sequence[int]) -> Scorer:
    """Scores of the cells by a strategy; only "random" can do without what was `learnt`.

    `positives` are the known ones of each category when the order is made: coverage goes on from there with
    what is found meanwhile, and never back, so that a score only falls.
    """
    if strategy == "random" or learnt is None:
        categories = np.array(cells.category_ids, np.int64)

        def drawn(positions: Positions) -> npt.NDArray[np.float32]:
            hashes = cell_hash(cells.seed + _RANDOM, cells.image_ids[positions][:, None], categories)
            return (hashes >> np.uint64(40)).astype(np.float32)

        return drawn
    if strategy == "disagreement":
        return lambda positions: strategies.disagreement(*learnt.opinions(positions))
    if strategy == "coverage":

        def rare(positions: Positions) -> npt.NDArray[np.float32]:
            now = [
                max(n, cells.states.positives(c)) for n, c in zip(positives, cells.category_ids, strict=True)
            ]
            return strategies.coverage(learnt.probabilities(positions), np.array(now))

        return rare
    of = {"likely": strategies.likely, "uncertain": strategies.uncertain}.get(
        strategy, strategies.expected_cost
    )
    return lambda positions: of(learnt.probabilities(positions))
