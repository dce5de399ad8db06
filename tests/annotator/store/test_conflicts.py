"""Nothing is overwritten that its author has not seen; everything else is stored."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from annotator.errors import BadInput
from annotator.records import Category, CellState, Image, Label, NewDecision, Project, StoredDecision
from annotator.store import Store, categories, decisions, history, users
from annotator.store.registers import CellsMoved

POSITIVE, NEGATIVE, UNSURE, UNKNOWN = (
    CellState.POSITIVE,
    CellState.NEGATIVE,
    CellState.UNSURE,
    CellState.UNKNOWN,
)
_ops = itertools.count()


class Desk:
    """Two people, one project with two pictures and two categories, and a clock that ticks."""

    def __init__(self, store: Store, project: Project, images: list[Image], named: list[Category]) -> None:
        self.store = store
        self.project = project
        self.image = images[0].id
        self.other_image = images[1].id
        self.dog, self.cat = (category.id for category in named)
        self.ann = store.write(lambda c: users.owner(c, now=1))
        self.ben = store.write(lambda c: users.create(c, "Ben", None, now=1)).id
        self.clock = itertools.count(100)

    def answer(self, state: CellState, op: str | None = None, **more: Any) -> NewDecision:
        about = {"image_id": self.image, "category_id": self.dog, "op_id": op or f"op-{next(_ops)}"}
        return NewDecision(state=state, **(about | more))

    def give(self, who: int, *new: NewDecision) -> list[StoredDecision]:
        now = next(self.clock)
        return self.store.write(lambda c: decisions.record(c, self.project.id, new, user_id=who, now=now))

    def label(self) -> Label | None:
        with self.store.read() as c:
            return decisions.labels_of(c, [self.image]).get(self.image, {}).get(self.dog)

    def head(self) -> int:
        with self.store.read() as c:
            return decisions.head_seq(c, self.project.id)


@pytest.fixture
def desk(store: Store, project: Project, add_images: Callable[..., list[Image]]) -> Desk:
    named = store.write(lambda c: categories.ensure(c, project.id, ["dog", "cat"], now=1)[0])
    return Desk(store, project, add_images(project, 2), named)


def refused(desk: Desk, who: int, *new: NewDecision) -> CellsMoved:
    head = desk.head()
    with pytest.raises(CellsMoved) as caught:
        desk.give(who, *new)
    assert desk.head() == head, "a refused batch must leave nothing behind"
    return caught.value


def test_the_first_of_two_wins_and_the_second_hears_both_values(desk: Desk) -> None:
    [first] = desk.give(desk.ben, desk.answer(POSITIVE, base_seq=0))
    error = refused(desk, desk.ann, desk.answer(NEGATIVE, "mine", base_seq=0))
    [cell] = error.cells
    assert (cell.op_id, cell.image_id, cell.category_id) == ("mine", desk.image, desk.dog)
    assert (cell.mine, cell.theirs, cell.seq) == (NEGATIVE, POSITIVE, first.seq)
    assert (cell.user, cell.decided_at) == ("Ben", 100)
    assert "Ben" in str(error) and "positive" in str(error) and "negative" in str(error)
    assert desk.label().state is POSITIVE  # type: ignore[union-attr]


def test_who_has_seen_the_newer_value_may_change_it_and_history_keeps_both(desk: Desk) -> None:
    desk.give(desk.ben, desk.answer(POSITIVE, base_seq=0))
    seen = refused(desk, desk.ann, desk.answer(NEGATIVE, base_seq=0)).cells[0].seq
    desk.give(desk.ann, desk.answer(NEGATIVE, base_seq=seen))
    assert desk.label().state is NEGATIVE  # type: ignore[union-attr]
    with desk.store.read() as c:
        lines = history.of_image(c, desk.image, limit=10)
    assert [(line.user, line.state, line.base_seq) for line in lines] == [
        ("owner", NEGATIVE, seen),
        ("Ben", POSITIVE, 0),
    ]


def test_answers_to_different_cells_never_meet(desk: Desk) -> None:
    desk.give(desk.ben, desk.answer(POSITIVE, base_seq=0))
    desk.give(desk.ann, desk.answer(NEGATIVE, base_seq=0, category_id=desk.cat))
    desk.give(desk.ann, desk.answer(NEGATIVE, base_seq=0, image_id=desk.other_image))
    assert desk.head() == 3


def test_the_same_answer_twice_is_agreement(desk: Desk) -> None:
    desk.give(desk.ben, desk.answer(POSITIVE, base_seq=0))
    [second] = desk.give(desk.ann, desk.answer(POSITIVE, base_seq=0))
    assert second.stored
    assert desk.label().user_id == desk.ann  # type: ignore[union-attr]


def test_without_a_base_the_last_one_wins(desk: Desk) -> None:
    desk.give(desk.ben, desk.answer(POSITIVE, base_seq=0))
    desk.give(desk.ann, desk.answer(NEGATIVE))
    assert desk.label().state is NEGATIVE  # type: ignore[union-attr]


def test_a_person_who_changes_their_mind_quickly_never_meets_themselves(desk: Desk) -> None:
    desk.give(
        desk.ann,
        desk.answer(POSITIVE, "y", base_seq=0),
        desk.answer(NEGATIVE, "n", base_seq=0, after="y"),
    )
    desk.give(desk.ann, desk.answer(UNSURE, "u", base_seq=0, after="n"))
    desk.give(desk.ann, desk.answer(UNKNOWN, "z", base_seq=0, after="u", undo_of="u"))
    desk.give(desk.ann, desk.answer(POSITIVE, "again", base_seq=0, after="z"))
    assert desk.label().state is POSITIVE  # type: ignore[union-attr]
    with desk.store.read() as c:
        bases = [line.base_seq for line in history.of_image(c, desk.image, limit=10)]
    assert bases == [0, 3, 2, 1, 0]  # newest first: each says what its page showed


def test_somebody_in_between_the_own_answers_is_noticed(desk: Desk) -> None:
    desk.give(desk.ann, desk.answer(POSITIVE, "y", base_seq=0))
    desk.give(desk.ben, desk.answer(UNSURE, base_seq=1))
    error = refused(desk, desk.ann, desk.answer(NEGATIVE, "n", base_seq=0, after="y"))
    assert error.cells[0].theirs is UNSURE


def test_an_own_answer_that_was_refused_changes_nothing_for_the_next(desk: Desk) -> None:
    desk.give(desk.ben, desk.answer(POSITIVE, base_seq=0))
    refused(desk, desk.ann, desk.answer(NEGATIVE, "n", base_seq=0))
    error = refused(desk, desk.ann, desk.answer(UNSURE, "u", base_seq=0, after="n"))
    assert error.cells[0].theirs is POSITIVE
    desk.give(desk.ann, desk.answer(POSITIVE, "y", base_seq=0, after="n"))  # now they agree


def test_a_cell_that_somebody_cleared_is_a_change_too(desk: Desk) -> None:
    desk.give(desk.ann, desk.answer(POSITIVE, base_seq=0))
    desk.give(desk.ben, desk.answer(UNKNOWN, base_seq=1))
    [cell] = refused(desk, desk.ann, desk.answer(NEGATIVE, base_seq=1)).cells
    assert (cell.theirs, cell.seq, cell.user, cell.decided_at) == (UNKNOWN, 0, "Ben", 101)
    desk.give(desk.ann, desk.answer(NEGATIVE, base_seq=cell.seq))
    assert desk.label().state is NEGATIVE  # type: ignore[union-attr]


def test_an_operation_that_is_already_stored_is_acknowledged_whatever_came_after(desk: Desk) -> None:
    mine = desk.answer(POSITIVE, "mine", base_seq=0)
    desk.give(desk.ann, mine)
    desk.give(desk.ben, desk.answer(NEGATIVE, base_seq=1))
    assert desk.give(desk.ann, mine) == [StoredDecision(op_id="mine", seq=1, stored=False)]
    assert desk.label().state is NEGATIVE  # type: ignore[union-attr]


def test_every_conflict_of_a_batch_is_named_and_nothing_of_it_is_stored(desk: Desk) -> None:
    desk.give(desk.ben, desk.answer(POSITIVE), desk.answer(POSITIVE, category_id=desk.cat))
    batch = [
        desk.answer(NEGATIVE, "free", base_seq=0, image_id=desk.other_image),
        desk.answer(NEGATIVE, "one", base_seq=0),
        desk.answer(UNSURE, "two", base_seq=0, category_id=desk.cat),
    ]
    error = refused(desk, desk.ann, *batch)
    assert [cell.op_id for cell in error.cells] == ["one", "two"]
    assert "1 more" in str(error)
    desk.give(desk.ann, batch[0])


def test_a_conflict_names_what_is_stored_not_what_else_was_in_the_refused_batch(desk: Desk) -> None:
    [bens] = desk.give(desk.ben, desk.answer(NEGATIVE, base_seq=0))
    changed_mind = (
        desk.answer(POSITIVE, "yes", base_seq=0),
        desk.answer(NEGATIVE, "no", base_seq=0, after="yes"),  # agrees with Ben, but waits for "yes"
    )
    [cell] = refused(desk, desk.ann, *changed_mind).cells
    assert (cell.op_id, cell.theirs, cell.user, cell.seq) == ("yes", NEGATIVE, "Ben", bens.seq)
    desk.give(desk.ben, desk.answer(UNSURE, base_seq=bens.seq))
    refused(desk, desk.ann, desk.answer(POSITIVE, "mine", base_seq=cell.seq))  # Ben's newer one was not seen


def test_an_answer_that_meets_one_of_its_own_batch_gets_no_revision_that_another_may_have(desk: Desk) -> None:
    [bens] = desk.give(desk.ben, desk.answer(NEGATIVE, base_seq=0))
    batch = desk.answer(POSITIVE, base_seq=bens.seq), desk.answer(UNSURE, "late", base_seq=0)
    [cell] = refused(desk, desk.ann, *batch).cells
    assert (cell.op_id, cell.theirs, cell.user, cell.seq) == ("late", POSITIVE, "owner", bens.seq)


def test_after_needs_a_base_and_the_same_cell(desk: Desk) -> None:
    desk.give(desk.ann, desk.answer(POSITIVE, "y", base_seq=0))
    with pytest.raises(BadInput, match="base_seq"):
        desk.give(desk.ann, desk.answer(NEGATIVE, after="y"))
    with pytest.raises(BadInput, match="another cell"):
        desk.give(desk.ann, desk.answer(NEGATIVE, base_seq=0, after="y", category_id=desk.cat))
    with pytest.raises(BadInput, match="base_seq -1 is out of range"):
        desk.give(desk.ann, desk.answer(NEGATIVE, base_seq=-1))


def test_history_pages_back_and_narrows_to_one_category(desk: Desk) -> None:
    for number in range(5):
        desk.give(desk.ann, desk.answer(UNSURE if number % 2 else POSITIVE))
    desk.give(desk.ben, desk.answer(NEGATIVE, category_id=desk.cat))
    desk.store.write(lambda c: categories.archive(c, desk.cat, now=9))
    with desk.store.read() as c:
        newest = history.of_image(c, desk.image, limit=2)
        older = history.of_image(c, desk.image, before=newest[-1].seq, limit=10)
        cats = history.of_image(c, desk.image, category_id=desk.cat, limit=10)
    assert [line.seq for line in newest + older] == [6, 5, 4, 3, 2, 1]
    assert [(line.category, line.user) for line in cats] == [("cat", "Ben")]
