"""Each cell is a register whose revision is the `seq` of its label, 0 while it is unknown.

An answer may say which revision its page showed (`base_seq`), and which own answer the page showed on top of
it (`after`). It is refused when the register has moved on since and holds another value: the first one wins,
and the second person is asked. Answers of different cells never meet, equal answers never conflict, and an
answer without a base is taken as it comes (imports, programs that keep no view).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from annotator.errors import BadInput, Conflict
from annotator.records import CellState, ConflictingCell, NewDecision
from annotator.store import users
from annotator.store.batches import UNKNOWN, Cell, Content, Value
from db import schema

Seen = Mapping[str, tuple[int, Content]]  # op_id -> seq and content

_DECISION = schema.Decision


class CellsMoved(Conflict):
    """Answers that would overwrite what the person has not seen; `cells` holds both values of each."""

    def __init__(self, cells: Sequence[ConflictingCell]) -> None:
        first = cells[0]
        more = f", and {len(cells) - 1} more" if len(cells) > 1 else ""
        super().__init__(
            f'{first.user} answered "{first.theirs.word}" for category {first.category_id} of image '
            f'{first.image_id} after this page was loaded, so "{first.mine.word}" was not stored{more}.'
        )
        self.cells = tuple(cells)


class Refused(NamedTuple):
    """An answer that is not stored, what it met, and whether that was in its own batch."""

    decision: NewDecision
    met: Value
    own: bool


class Registers:
    """The cells of one batch, as they are at its place in the order of all answers.

    `held`: those that are decided; `seen`: the operations that are stored already, by op_id.
    """

    def __init__(self, c: Connection, held: Mapping[Cell, Value], seen: Seen) -> None:
        self._connection = c
        self._seen = seen  # grows with the batch
        self._stored = held
        self._now = dict(held)
        self._batch: set[Cell] = set()
        self.refused: list[Refused] = []

    def accepts(self, decision: NewDecision) -> bool:
        """Whether an answer overwrites only what its page showed; otherwise it joins `refused`."""
        base = self.base(decision)
        if base is None:
            return True
        cell = _cell(decision)
        held = self._now.get(cell, UNKNOWN)
        if held.revision == base or held.state == int(decision.state):
            return True
        self.refused.append(Refused(decision, held, cell in self._batch))
        return False

    def base(self, decision: NewDecision) -> int | None:
        """The revision that the page showed; BadInput when `after` names an answer to another cell."""
        if decision.after is None or decision.after not in self._seen:
            return decision.base_seq  # an own answer that never arrived has changed nothing
        seq, (image, category, state) = self._seen[decision.after]
        if (image, category) != _cell(decision):
            raise BadInput(f'The answer "{decision.after}" is about another cell than "{decision.op_id}".')
        return 0 if state == CellState.UNKNOWN else seq

    def put(self, decision: NewDecision, seq: int) -> int | None:
        """Let an accepted answer count for the rest of the batch; the base to keep with it."""
        cell, state = _cell(decision), int(decision.state)
        base = self.base(decision)
        self._now[cell] = UNKNOWN if decision.state is CellState.UNKNOWN else Value(seq, state)
        self._batch.add(cell)
        return base

    def conflicts(self, *, user_id: int, now: int) -> list[ConflictingCell]:
        """The refused answers beside what they met, and who gave that.

        Nothing of the batch is stored, so its own revisions are never told: soon they are those of others.
        """
        names = users.names(self._connection)
        found = []
        for decision, met, own in self.refused:
            cell = _cell(decision)
            who, at = (user_id, now) if own else self._giver(cell)
            found.append(
                ConflictingCell(
                    op_id=decision.op_id,
                    image_id=decision.image_id,
                    category_id=decision.category_id,
                    mine=decision.state,
                    theirs=CellState(met.state),
                    seq=self._stored.get(cell, UNKNOWN).revision,
                    user=names.get(who, ""),
                    decided_at=at,
                )
            )
        return found

    def _giver(self, cell: Cell) -> tuple[int, int]:
        """Who answered a cell last, clearing included, and when; nobody for one that was never answered."""
        query = select(_DECISION.user_id, _DECISION.decided_at).where(
            _DECISION.image_id == cell[0], _DECISION.category_id == cell[1]
        )
        row = self._connection.execute(query.order_by(_DECISION.seq.desc()).limit(1)).one_or_none()
        return (0, 0) if row is None else (row.user_id, row.decided_at)


def _cell(decision: NewDecision) -> Cell:
    return (decision.image_id, decision.category_id)
