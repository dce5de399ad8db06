"""R-23: merging categories adds answers and overwrites none; labels and counts stay what the answers say."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotator.errors import BadInput, Conflict, NotFound
from annotator.records import Category, CellState, Image, Merged, NewDecision, Project, Source
from annotator.store import Store, categories, checks, decisions, history, images, merging, projects
from annotator.store.registers import CellsMoved
from tests.conftest import new_image

YES, NO, UNSURE, UNKNOWN = CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE, CellState.UNKNOWN
counter = itertools.count()

Cells = tuple[list[Image], list[Category]]


@pytest.fixture
def cells(store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]) -> Cells:
    made = store.write(lambda c: categories.ensure(c, project.id, ["dog", "hound", "cat"], now=1)[0])
    return add_images(project, 6), made


def say(
    store: Store, project: Project, image: Image, category: Category, state: CellState, **more: Any
) -> Any:
    new = NewDecision(
        op_id=f"say-{next(counter)}", image_id=image.id, category_id=category.id, state=state, **more
    )
    return store.write(lambda c: decisions.record(c, project.id, [new], user_id=1, now=5))[0]


def held(store: Store, found: list[Image], category: Category) -> list[CellState]:
    with store.read() as c:
        labels = decisions.labels_of(c, [image.id for image in found])
    return [
        labels[image.id][category.id].state if category.id in labels.get(image.id, {}) else UNKNOWN
        for image in found
    ]


def merge(store: Store, project: Project, source: Category, target: Category) -> Merged:
    return store.write(
        lambda c: merging.merge(c, project.id, source.id, target.id, user_id=1, now=next(counter))
    )


def numbers(found: Merged) -> tuple[int, int, int, int]:
    return found.taken, found.same, found.differ, found.cleared


def consistent(store: Store) -> bool:
    with store.read() as c:
        return (checks.wrong_labels(c), checks.wrong_counts(c)) == (0, 0)


def test_unknown_cells_are_taken_over_and_nothing_is_overwritten(
    store: Store, project: Project, cells: Cells
) -> None:
    found, (dog, hound, _) = cells
    for image, mine, theirs in zip(
        found, (YES, NO, UNSURE, YES, NO, UNKNOWN), (UNKNOWN, UNKNOWN, UNKNOWN, YES, YES, NO), strict=True
    ):
        for category, state in ((hound, mine), (dog, theirs)):
            if state is not UNKNOWN:
                say(store, project, image, category, state, score=0.5, generation_id=3, random_stream=False)
    with store.read() as c:
        preview = merging.look(c, project.id, hound.id, dog.id)
    assert numbers(preview) == (3, 1, 1, 0) and not preview.done and not preview.nothing
    assert held(store, found, dog) == [UNKNOWN, UNKNOWN, UNKNOWN, YES, YES, NO], "looking changes nothing"
    done = merge(store, project, hound, dog)
    assert numbers(done) == (3, 1, 1, 0) and done.done and not done.nothing
    assert [(one.name, one.source, one.target) for one in done.differing] == [(found[4].name, NO, YES)]
    assert held(store, found, dog) == [YES, NO, UNSURE, YES, YES, NO]
    assert held(store, found, hound) == [YES, NO, UNSURE, YES, NO, UNKNOWN], "its own answers stay"
    assert consistent(store)
    with store.read() as c:
        assert [one.id for one in categories.list_archived(c, project.id)] == [hound.id]
        (line,) = history.of_image(c, found[0].id, category_id=dog.id, limit=9)
        assert (line.source, line.mode, line.user_id, line.base_seq) == (Source.DERIVED, "merge", 1, 0)
        label = decisions.labels_of(c, [found[0].id])[found[0].id][dog.id]
        assert (label.seq, label.source, label.score, label.generation_id) == (
            line.seq, Source.DERIVED, None, None,
        )  # fmt: skip


def test_merging_again_does_nothing_and_a_cleared_cell_is_not_taken_twice(
    store: Store, project: Project, cells: Cells
) -> None:
    found, (dog, hound, _) = cells
    say(store, project, found[0], hound, YES)
    say(store, project, found[1], hound, NO)
    assert numbers(merge(store, project, hound, dog)) == (2, 0, 0, 0)
    with store.read() as c:
        head = decisions.head_seq(c, project.id)
    again = merge(store, project, hound, dog)
    assert numbers(again) == (0, 2, 0, 0) and again.nothing
    say(store, project, found[0], dog, UNKNOWN)
    third = merge(store, project, hound, dog)
    assert numbers(third) == (0, 1, 0, 1) and third.nothing
    assert held(store, found[:2], dog) == [UNKNOWN, NO], "somebody cleared it on purpose"
    with store.read() as c:
        assert decisions.head_seq(c, project.id) == head + 1
    assert consistent(store)


def test_late_saves_to_the_source_are_kept_and_the_next_merge_takes_them(
    store: Store, project: Project, cells: Cells
) -> None:
    found, (dog, hound, _) = cells
    merge(store, project, hound, dog)
    assert say(store, project, found[2], hound, YES, base_seq=0).stored, "from a tab that was open"
    assert held(store, found[2:3], dog) == [UNKNOWN]
    later = merge(store, project, hound, dog)
    assert numbers(later) == (1, 0, 0, 0) and not later.nothing
    assert held(store, found[2:3], dog) == [YES] and consistent(store)


def test_a_restored_source_has_its_own_answers_and_can_be_merged_elsewhere(
    store: Store, project: Project, cells: Cells
) -> None:
    found, (dog, hound, cat) = cells
    say(store, project, found[0], hound, YES)
    merge(store, project, hound, dog)
    store.write(lambda c: categories.restore(c, hound.id))
    assert held(store, found[:1], hound) == [YES]
    with store.read() as c:
        assert next(one.positive for one in decisions.counts(c, project.id) if one.category_id == hound.id)
    assert numbers(merge(store, project, hound, cat)) == (1, 0, 0, 0)
    assert held(store, found[:1], cat) == [YES] == held(store, found[:1], dog)


def test_a_tab_that_saw_the_cell_unknown_is_asked_before_it_overwrites_a_merged_answer(
    store: Store, project: Project, cells: Cells
) -> None:
    found, (dog, hound, _) = cells
    say(store, project, found[0], hound, YES)
    merge(store, project, hound, dog)
    with pytest.raises(CellsMoved) as moved:
        say(store, project, found[0], dog, NO, base_seq=0)
    assert (moved.value.cells[0].theirs, moved.value.cells[0].user) == (YES, "owner")
    seq = moved.value.cells[0].seq
    assert say(store, project, found[0], dog, YES, base_seq=0).stored, "agreement is no conflict"
    assert say(store, project, found[0], dog, NO, base_seq=seq + 1).stored, "who has seen it may change it"
    assert consistent(store)


def test_what_cannot_be_merged_is_refused_and_nothing_is_written(
    store: Store, project: Project, cells: Cells
) -> None:
    found, (dog, hound, cat) = cells
    say(store, project, found[0], hound, YES)
    other = store.write(lambda c: projects.create(c, "other", now=1))
    foreign = store.write(lambda c: categories.add(c, other.id, "dog", now=1))
    store.write(lambda c: categories.archive(c, cat.id, now=2))
    for source, target, kind, words in (
        (hound, hound, BadInput, "into itself"),
        (hound, foreign, NotFound, f"no category {foreign.id}"),
        (foreign, dog, NotFound, f"no category {foreign.id}"),
        (hound, cat, Conflict, '"cat" is archived'),
    ):
        with pytest.raises(kind, match=words):
            merge(store, project, source, target)
    with store.read() as c:
        assert decisions.head_seq(c, project.id) == 1
        assert len(categories.list_active(c, project.id)) == 2


def test_a_merge_that_fails_at_its_end_leaves_nothing(
    store: Store, project: Project, cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, (dog, hound, _) = cells
    say(store, project, found[0], hound, YES)

    def fail(*_: object, **__: object) -> None:
        raise Conflict("no")

    monkeypatch.setattr(merging.categories, "archive", fail)
    with pytest.raises(Conflict, match="no"):
        merge(store, project, hound, dog)
    monkeypatch.undo()
    assert held(store, found[:1], dog) == [UNKNOWN] and consistent(store)
    with store.read() as c:
        assert decisions.head_seq(c, project.id) == 1
    assert numbers(merge(store, project, hound, dog)) == (1, 0, 0, 0)


def test_at_most_a_hundred_disagreements_are_listed_and_all_are_counted(
    store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]
) -> None:
    dog, hound = store.write(lambda c: categories.ensure(c, project.id, ["dog", "hound"], now=1)[0])
    new = [
        NewDecision(op_id=f"{image.id}-{state}", image_id=image.id, category_id=category.id, state=state)
        for image in add_images(project, merging.SHOWN + 7)
        for category, state in ((dog, YES), (hound, NO))
    ]
    store.write(lambda c: decisions.record(c, project.id, new, user_id=user_id, now=2))
    done = merge(store, project, hound, dog)
    assert (done.differ, len(done.differing)) == (merging.SHOWN + 7, merging.SHOWN)


ANSWERS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(list(CellState))), max_size=12
)
STEPS = st.lists(st.one_of(ANSWERS, st.sampled_from([(0, 1), (1, 0), (1, 2), (2, 1)])), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_course_of_answers_and_merges_ends_as_a_plain_model_says(store: Store, steps: list[Any]) -> None:
    number = next(counter)

    def begin(c: Any) -> tuple[int, list[int], list[int]]:
        project = projects.create(c, f"model {number}", now=1)
        for place in range(4):
            images.add(c, project.id, new_image(f"{place}.jpg"), now=1)
        made, _ = categories.ensure(c, project.id, ["a", "b", "c"], now=1)
        c.exec_driver_sql("INSERT OR IGNORE INTO user (id, name, created_at) VALUES (1, 'owner', 1)")
        return project.id, images.ids(c, project.id), [one.id for one in made]

    project_id, rows, columns = store.write(begin)
    cell: dict[tuple[int, int], tuple[CellState, int]] = {}  # state, and which answer it is
    taken: set[tuple[int, int, int]] = set()  # target, answer of the source, its column
    answers = itertools.count()
    for step in steps:
        if isinstance(step, list):
            for row, column, state in step:
                new = NewDecision(
                    op_id=f"m{number}-{next(counter)}", image_id=rows[row], category_id=columns[column],
                    state=state,
                )  # fmt: skip
                store.write(lambda c, new=new: decisions.record(c, project_id, [new], user_id=1, now=2))
                cell[row, column] = (state, next(answers))
            continue
        source, target = step
        ids = columns[source], columns[target]
        store.write(lambda c, ids=ids: categories.restore(c, ids[1]))
        store.write(lambda c, ids=ids: merging.merge(c, project_id, *ids, user_id=1, now=3))
        for row in range(4):
            state, answer = cell.get((row, source), (UNKNOWN, -1))
            free = cell.get((row, target), (UNKNOWN, -1))[0] is UNKNOWN
            if state is not UNKNOWN and free and (target, answer, source) not in taken:
                taken.add((target, answer, source))
                cell[row, target] = (state, next(answers))
    with store.read() as c:
        labels = decisions.labels_of(c, rows)
    assert {(image, column): one.state for image, of in labels.items() for column, one in of.items()} == {
        (rows[row], columns[column]): state for (row, column), (state, _) in cell.items() if state
    }
    assert consistent(store)
