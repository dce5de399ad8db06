"""What the ordering keeps of one project between two questions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from annotator.ordering import cold, turns
from annotator.ordering.board import REBUILD_AFTER, Board, Chosen
from annotator.ordering.cells import ROWS, Cells, Learnt, Positions, scorer
from annotator.ordering.hands import Hands
from annotator.ordering.named import Guess, Named
from annotator.ordering.nearby import Nearby
from annotator.ordering.pace import Pace, measure
from annotator.ordering.proposals import GridValues
from annotator.ordering.stream import RandomStream
from annotator.ordering.ties import cell_hash
from annotator.records import ImageState
from annotator.store import decisions, images
from annotator.store.decisions import GivenAnswer
from annotator.suggesting import LoadedGeneration, NameVectors, PooledFeatures, ProjectStates

BOARDS = 12  # orders kept of a project
ANSWERS = 2000  # newest answers that pace and random stream look at
_PACE_AFTER = 10  # answers given since, after which the pace is measured anew
_LAST = 8  # pictures that tell whether the worker is through
_GROWTH = 1.25  # pictures more, from which on a diverse order is made anew


@dataclass(frozen=True, kw_only=True)
class Table:
    """The cells of some categories, and what the generation has learnt of those it knows."""

    cells: Cells
    learnt: Learnt | None  # its columns are those of `known`
    known: Cells  # the categories the generation has learnt

    def withholding(self, drawn: Sequence[tuple[int, int]]) -> Table:
        """The same without these cells (position, category id)."""
        kept: dict[int, list[int]] = {}
        for position, category_id in drawn:
            kept.setdefault(position, []).append(category_id)
        return replace(
            self, cells=replace(self.cells, withheld=kept), known=replace(self.known, withheld=kept)
        )


class Room:
    """Orders, draws and ids of one project. Whoever uses it holds `lock`."""

    def __init__(self, project_id: int, seed: int, hands: Hands) -> None:
        self.lock = threading.Lock()
        self.stream = RandomStream(seed)
        self.hands = hands
        self.builds = 0  # full passes over the cells so far
        self._project_id = project_id
        self._seed = seed
        self._ids: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._rows: tuple[int, npt.NDArray[np.int64]] = (0, np.empty(0, np.int64))
        self._boards: OrderedDict[tuple[object, ...], Board] = OrderedDict()
        self._grids: tuple[tuple[object, ...], GridValues] | None = None
        self._nearby: Nearby | None = None
        self._named = Named()
        self._diverse: tuple[PooledFeatures, Positions] | None = None
        self._spread: Positions = np.empty(0, np.int64)
        self._touched = np.empty(0, np.bool_)
        self._followed = 0
        self._answers: list[GivenAnswer] = []  # newest first
        self._answered = 0  # the `seq` of the newest
        self._paces: dict[int | None, tuple[int, Pace]] = {}

    def table(
        self,
        conn: Connection,
        states: ProjectStates,
        generation: LoadedGeneration | None,
        category_ids: Sequence[int],
    ) -> Table:
        """The cells of these categories as of now."""
        new = images.ids(conn, self._project_id, after=int(self._ids[-1]) if len(self._ids) else 0)
        if new:
            self._ids = np.concatenate([self._ids, np.array(new, np.int64)])
        cells = Cells(image_ids=self._ids, category_ids=tuple(category_ids), states=states, seed=self._seed)
        columns = [] if generation is None else [generation.column(c) for c in category_ids]
        pairs = [(c, column) for c, column in zip(category_ids, columns, strict=False) if column is not None]
        known = replace(cells, category_ids=tuple(c for c, _ in pairs))
        if generation is None or not pairs:
            return Table(cells=cells, learnt=None, known=known)
        learnt = Learnt(
            generation=generation,
            rows=self._rows_of(generation),
            columns=np.array([column for _, column in pairs], np.int64),
        )
        return Table(cells=cells, learnt=learnt, known=known)

    def _rows_of(self, generation: LoadedGeneration) -> npt.NDArray[np.int64]:
        if self._rows[0] != generation.id or len(self._rows[1]) != len(self._ids):
            self._rows = generation.id, generation.rows(self._ids)
        return self._rows[1]

    def answers(self, conn: Connection, states: ProjectStates) -> list[GivenAnswer]:
        """The newest answers, newest first; only those that are new are read."""
        if self._answered < states.seq:  # which may be of a later moment than this connection sees
            head = decisions.head_seq(conn, self._project_id)
            new = decisions.given(conn, self._project_id, after=self._answered, limit=ANSWERS)
            self._answers = (new + self._answers)[:ANSWERS]
            self._answered = max(self._answered, head)
        return self._answers

    def pace(self, conn: Connection, states: ProjectStates, user_id: int | None) -> Pace:
        """Pace of a person, or of everybody, measured anew after every few answers."""
        answers = self.answers(conn, states)
        made = self._paces.get(user_id)
        if made is None or self._answered - made[0] >= _PACE_AFTER:
            made = self._paces[user_id] = self._answered, measure(answers, user_id)
        return made[1]

    def best(
        self,
        table: Table,
        strategy: str,
        limit: int,
        *,
        pace: Pace,
        most: int,
        skip: Positions | None = None,
    ) -> Chosen:
        """The `limit` best pictures by a strategy; the first call for a generation looks at every cell."""
        learnt = None if strategy == "random" else table.learnt
        cells = table.cells if learnt is None else table.known
        most = most if strategy == "value" and len(cells.category_ids) > 1 else 1
        key = (strategy, None if learnt is None else learnt.generation.id, cells.category_ids, most)
        board = self._boards.get(key)
        if board is not None:
            changed = self._changed(board, cells, learnt)
            if len(changed) <= REBUILD_AFTER:
                self._boards.move_to_end(key)
                return board.first(cells, limit, pace, changed, skip=skip)
        positives = [cells.states.positives(c) for c in cells.category_ids]
        cells_now = replace(cells, withheld={})
        score = scorer(strategy, cells, learnt, positives)
        if strategy == "value" and learnt is not None and len(cells.category_ids) > 1:
            score = turns.in_turns(cells_now, score)
        board = Board(cells_now, score, most=most)
        self.builds += 1
        self._keep(key, board)
        return board.first(cells, limit, pace, self._changed(board, cells, learnt), skip=skip)

    @staticmethod
    def _changed(board: Board, cells: Cells, learnt: Learnt | None) -> Positions:
        changed = board.changed(cells)
        return changed if learnt is None else changed[learnt.rows[changed] >= 0]

    def _keep(self, key: tuple[object, ...], board: Board) -> None:
        for old in [old for old in self._boards if old[1] not in (None, key[1])]:
            if key[1] is not None:
                del self._boards[old]  # of a generation that is gone
        self._boards[key] = board
        self._boards.move_to_end(key)
        while len(self._boards) > BOARDS:
            self._boards.popitem(last=False)

    def grids(self, table: Table) -> GridValues | None:
        """What grids are worth; None before anything is learnt."""
        if table.learnt is None:
            return None
        key = (table.learnt.generation.id, table.known.category_ids, len(table.cells.image_ids))
        if self._grids is None or self._grids[0] != key:
            self.builds += 1
            self._grids = key, GridValues(table.known, table.learnt)
        return self._grids[1]

    def nearby(self, features: PooledFeatures) -> Nearby:
        """Orders of whole pictures by these features."""
        if self._nearby is None or self._nearby.features is not features:
            self._nearby = Nearby(features)
        return self._nearby

    def named(
        self,
        cells: Cells,
        generation: LoadedGeneration,
        vectors: NameVectors,
        names: Mapping[int, str],
        category_id: int,
    ) -> Guess | None:
        """Where a category without a yes may be, by its name."""
        return self._named.guess(cells, generation, self._rows_of(generation), vectors, names, category_id)

    def diverse(self, conn: Connection, features: PooledFeatures | None) -> Positions | None:
        """Positions of all pictures, unlike ones first; None while features are missing."""
        count = len(self._ids)
        if features is None or count < 2:
            return None
        made = self._diverse
        if made is None or made[0] is not features or count > _GROWTH * len(made[1]):
            sample = self._sample()
            # The worker reads pictures in order, so the last ones tell at little cost whether it is through.
            if not self._all_read(conn, features, sample[-_LAST:]):
                return None
            points, read = [], []
            for start in range(0, len(sample), ROWS):
                part = sample[start : start + ROWS]
                if not self._all_read(conn, features, part):
                    return None
                present, vectors = features.of(conn, self._ids[part].tolist())
                points.append(cold.projected(vectors, seed=self._seed))
                read.append(part[np.isin(self._ids[part], present)])
            picks = cold.k_means_plus_plus(np.concatenate(points), seed=self._seed)
            made = self._diverse = features, cold.then_rest(np.concatenate(read)[picks], count)
        return np.concatenate([made[1], np.arange(len(made[1]), count)])

    def _all_read(self, conn: Connection, features: PooledFeatures, positions: Positions) -> bool:
        """Whether no picture still waits for its features; one that cannot be shown does not wait."""
        part = self._ids[positions]
        absent = part[~np.isin(part, features.of(conn, part.tolist())[0])].tolist()
        there = images.there(conn, absent)
        return all(i in there and there[i].state is not ImageState.READY for i in absent)

    def interleaved(self) -> Positions:
        """Positions of all pictures, spread over the order of import."""
        if len(self._spread) != len(self._ids):
            self._spread = cold.interleaved(len(self._ids))
        return self._spread

    def _sample(self) -> Positions:
        """Positions that are spread out by their features: all, or the same even sample at every call."""
        if len(self._ids) <= cold.DIVERSE_LIMIT:
            return np.arange(len(self._ids))
        drawn = cell_hash(self._seed, self._ids, 0)
        return np.sort(np.argpartition(drawn, cold.DIVERSE_LIMIT)[: cold.DIVERSE_LIMIT])

    def untouched_first(self, order: Positions, cells: Cells) -> Positions:
        """`order` with the pictures that have a decided cell behind the others."""
        if len(self._touched) < len(self._ids):
            more = np.zeros(len(self._ids) - len(self._touched), np.bool_)
            self._touched = np.concatenate([self._touched, more])
        new = cells.states.images(self._followed)
        self._followed += len(new)
        places, there = cells.places(np.array(new, np.int64))
        self._touched[places[there]] = True
        behind = self._touched[order]
        return np.concatenate([order[~behind], order[behind]])
