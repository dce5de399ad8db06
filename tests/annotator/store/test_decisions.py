"""The label table is the last decision of each cell, and nothing else ever."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotator.errors import BadInput, Conflict, NotFound
from annotator.records import Category, CategoryCount, CellState, Image, NewDecision, Project, Source
from annotator.store import Store, categories, decisions, images, projects, snapshots, users
from tests.conftest import new_image

POSITIVE, NEGATIVE, UNSURE, UNKNOWN = (
    CellState.POSITIVE,
    CellState.NEGATIVE,
    CellState.UNSURE,
    CellState.UNKNOWN,
)
counter = itertools.count()


def new(image: int, category: int, state: CellState, op_id: str | None = None, **more: Any) -> NewDecision:
    name = op_id or f"op-{next(counter)}"
    return NewDecision(op_id=name, image_id=image, category_id=category, state=state, **more)


@pytest.fixture
def cells(
    store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]
) -> tuple[list[Image], list[Category]]:
    made = store.write(lambda c: categories.ensure(c, project.id, ["dog", "cat"], now=1)[0])
    return add_images(project, 3), made


def record(store: Store, project: Project, *new_ones: NewDecision, now: int = 5) -> list[Any]:
    return store.write(lambda c: decisions.record(c, project.id, new_ones, user_id=1, now=now))


def states(store: Store, ids: Sequence[int]) -> dict[tuple[int, int], CellState]:
    with store.read() as c:
        return {
            (image, category): label.state
            for image, labels in decisions.labels_of(c, ids).items()
            for category, label in labels.items()
        }


def test_a_decision_keeps_everything_that_was_on_screen(store: Store, project: Project, cells: Any) -> None:
    (image, *_), (dog, _) = cells
    sent = new(
        image.id,
        dog.id,
        UNSURE,
        "op",
        source=Source.GROUP,
        mode="grid",
        shown_ms=812,
        generation_id=7,
        score=0.25,
        undo_of="before",
        base_seq=0,
    )
    answer = record(store, project, sent, now=99)[0]
    assert (answer.op_id, answer.seq, answer.stored) == ("op", 1, True)
    with store.read() as c:
        row = c.exec_driver_sql("SELECT * FROM decision").mappings().one()
        label = decisions.labels_of(c, [image.id])[image.id][dog.id]
    assert {**row} == {
        "seq": 1,
        "op_id": "op",
        "project_id": project.id,
        "image_id": image.id,
        "category_id": dog.id,
        "state": 2,
        "source": "group",
        "user_id": 1,
        "mode": "grid",
        "shown_ms": 812,
        "generation_id": 7,
        "score": 0.25,
        "random_stream": 0,
        "undo_of": "before",
        "decided_at": 99,
        "base_seq": 0,
    }
    assert (label.state, label.source, label.user_id, label.seq) == (UNSURE, Source.GROUP, 1, 1)
    assert (label.decided_at, label.generation_id, label.score) == (99, 7, 0.25)


@pytest.mark.parametrize("blind", [{"random_stream": True}, {"mode": "blind"}])
def test_a_blind_answer_has_seen_no_score(
    store: Store, project: Project, cells: Any, blind: dict[str, Any]
) -> None:
    (image, *_), (dog, _) = cells
    with pytest.raises(BadInput, match=r"asked without a suggestion.*score 0\.25"):
        record(store, project, new(image.id, dog.id, POSITIVE, "op", score=0.25, **blind))
    assert states(store, [image.id]) == {}
    record(store, project, new(image.id, dog.id, POSITIVE, "op", **blind))
    assert states(store, [image.id]) == {(image.id, dog.id): POSITIVE}


def test_undo_is_a_decision_with_the_state_before(store: Store, project: Project, cells: Any) -> None:
    (image, *_), (dog, _) = cells
    record(store, project, new(image.id, dog.id, POSITIVE, "a"))
    record(store, project, new(image.id, dog.id, NEGATIVE, "b"))
    record(store, project, new(image.id, dog.id, POSITIVE, "c", undo_of="b"))
    assert states(store, [image.id]) == {(image.id, dog.id): POSITIVE}
    record(store, project, new(image.id, dog.id, UNKNOWN, "d", undo_of="a"))
    assert states(store, [image.id]) == {}
    with store.read() as c:
        assert decisions.count_since(c, project.id, 0) == 4
        assert decisions.counts(c, project.id)[0] == CategoryCount(category_id=dog.id)


def test_the_last_of_two_decisions_in_one_call_wins(store: Store, project: Project, cells: Any) -> None:
    (image, *_), (dog, _) = cells
    answers = record(
        store, project, new(image.id, dog.id, POSITIVE, "a"), new(image.id, dog.id, NEGATIVE, "b")
    )
    assert [answer.seq for answer in answers] == [1, 2]
    assert states(store, [image.id]) == {(image.id, dog.id): NEGATIVE}


@pytest.mark.parametrize("calls", [1, 2])
def test_a_label_tells_how_its_last_answer_came_about(
    store: Store, project: Project, cells: Any, calls: int
) -> None:
    (image, *_), (dog, _) = cells
    first = new(image.id, dog.id, POSITIVE, generation_id=1, score=0.5)
    last = new(image.id, dog.id, NEGATIVE, source=Source.BULK, generation_id=2, score=0.25)
    for batch in ([first, last],) if calls == 1 else ([first], [last]):
        record(store, project, *batch, now=batch[0].generation_id or 0)
    with store.read() as c:
        label = decisions.labels_of(c, [image.id])[image.id][dog.id]
    assert (label.state, label.source, label.seq, label.decided_at) == (NEGATIVE, Source.BULK, 2, calls)
    assert (label.generation_id, label.score) == (2, 0.25)


def test_the_same_operation_is_stored_once_even_within_one_call(
    store: Store, project: Project, cells: Any
) -> None:
    (image, *_), (dog, _) = cells
    twice = new(image.id, dog.id, POSITIVE, "same")
    assert [answer.stored for answer in record(store, project, twice, twice)] == [True, False]
    record(store, project, new(image.id, dog.id, NEGATIVE, "newer"))
    late = record(store, project, twice)[0]
    assert (late.stored, late.seq) == (False, 1)
    assert states(store, [image.id]) == {(image.id, dog.id): NEGATIVE}


ODD = [
    '{"a":1}',
    "[1]",
    "null",
    "1",
    "1.0",
    "true",
    'it\'s "so"',
    "a\\u0041",
    "$[0]",
    ":rows %s",
    "\U0001f600é",
]


def test_texts_are_kept_as_they_are_and_known_again_whatever_they_look_like(
    store: Store, project: Project, cells: Any
) -> None:
    (image, *_), (dog, _) = cells
    sent = [new(image.id, dog.id, POSITIVE, text, mode=text, undo_of=text) for text in ODD]
    assert [one.stored for one in record(store, project, *sent)] == [True] * len(ODD)
    assert [one.seq for one in record(store, project, *sent)] == list(range(1, len(ODD) + 1))
    with store.read() as c:
        rows = c.exec_driver_sql("SELECT op_id, mode, undo_of FROM decision ORDER BY seq").all()
    assert [tuple(row) for row in rows] == [(text, text, text) for text in ODD]


def test_numbers_are_kept_to_the_last_digit(store: Store, project: Project, cells: Any) -> None:
    (image, *_), (dog, _) = cells
    scores = [0.1, 1 / 3, 1 - 2**-53, 5e-324, 1.0, 0.0, *np.random.default_rng(0).random(500).tolist()]
    largest = {"shown_ms": 2**63 - 1, "generation_id": 2**63 - 1}
    record(store, project, *[new(image.id, dog.id, POSITIVE, score=score, **largest) for score in scores])
    with store.read() as c:
        rows = c.exec_driver_sql("SELECT score, shown_ms, generation_id FROM decision ORDER BY seq").all()
    assert [tuple(row) for row in rows] == [(score, 2**63 - 1, 2**63 - 1) for score in scores]


def test_an_operation_id_for_another_decision_is_a_conflict(
    store: Store, project: Project, cells: Any
) -> None:
    (image, *_), (dog, cat) = cells
    record(store, project, new(image.id, dog.id, POSITIVE, "same"))
    with pytest.raises(Conflict, match='"same" was already used'):
        record(store, project, new(image.id, cat.id, POSITIVE), new(image.id, dog.id, NEGATIVE, "same"))
    assert states(store, [image.id]) == {(image.id, dog.id): POSITIVE}


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"image_id": 99}, NotFound, "There is no image 99"),
        ({"image_id": 2**70}, NotFound, "There is no image"),
        ({"category_id": 99}, NotFound, "There is no category 99"),
        ({"category_id": -1}, NotFound, "There is no category -1"),
        ({"state": 3}, BadInput, "3 is not a state"),
        ({"op_id": ""}, BadInput, "1 to 200 characters"),
        ({"op_id": "x" * 201}, BadInput, "1 to 200 characters"),
        ({"score": float("nan")}, BadInput, "score nan"),
        ({"shown_ms": -1}, BadInput, "shown_ms -1"),
        ({"generation_id": 2**64}, BadInput, "generation_id"),
        ({"mode": ""}, BadInput, "mode"),
        *(
            ({name: f"a{sign}b", **more}, BadInput, name)
            for name, more in {"op_id": {}, "mode": {}, "undo_of": {}, "after": {"base_seq": 0}}.items()
            for sign in ("\0", "\ud800")  # no library, or not every one, keeps them
        ),
    ],
)
def test_a_bad_decision_stores_nothing_of_its_call(
    store: Store, project: Project, cells: Any, changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    (image, *_), (dog, cat) = cells
    values = {"op_id": "bad", "image_id": image.id, "category_id": dog.id, "state": POSITIVE, **changes}
    with pytest.raises(error, match=sentence):
        record(store, project, new(image.id, cat.id, POSITIVE, "good"), NewDecision(**values))
    with store.read() as c:
        assert decisions.head_seq(c, project.id) == 0
    assert states(store, [image.id]) == {}


def test_cells_of_another_project_are_refused(
    store: Store, project: Project, cells: Any, add_images: Callable[..., list[Image]]
) -> None:
    (image, *_), (dog, _) = cells
    other = store.write(lambda c: projects.create(c, "other", now=1))
    foreign_category = store.write(lambda c: categories.add(c, other.id, "dog", now=1))
    foreign_image = add_images(other, 1)[0]
    with pytest.raises(NotFound, match=f"There is no category {foreign_category.id}."):
        record(store, project, new(image.id, foreign_category.id, POSITIVE))
    with pytest.raises(NotFound, match=f"There is no image {foreign_image.id}."):
        record(store, project, new(foreign_image.id, dog.id, POSITIVE))


def test_an_archived_category_keeps_late_answers_but_is_not_counted(
    store: Store, project: Project, cells: Any
) -> None:
    (image, *_), (dog, cat) = cells
    record(store, project, new(image.id, dog.id, POSITIVE), new(image.id, cat.id, NEGATIVE))
    store.write(lambda c: categories.archive(c, dog.id, now=9))
    record(store, project, new(image.id, dog.id, NEGATIVE))
    assert states(store, [image.id])[image.id, dog.id] is NEGATIVE
    with store.read() as c:
        assert [count.category_id for count in decisions.counts(c, project.id)] == [cat.id]
        assert [label.category_id for label in decisions.labelled_pairs(c, project.id)] == [cat.id]


def test_what_happened_since_a_watermark(store: Store, project: Project, cells: Any) -> None:
    (one, two, _), (dog, cat) = cells
    record(store, project, new(one.id, dog.id, POSITIVE), new(one.id, cat.id, NEGATIVE))
    with store.read() as c:
        mark = decisions.head_seq(c, project.id)
    record(store, project, new(one.id, dog.id, UNKNOWN), new(two.id, dog.id, UNSURE), now=8)
    with store.read() as c:
        assert mark == 2
        assert decisions.count_since(c, project.id, mark) == 2
        changed = [(label.image_id, label.category_id) for label in decisions.since(c, project.id, mark)]
        assert changed == [(two.id, dog.id)]
        assert decisions.touched_since(c, project.id, mark) == {(one.id, dog.id), (two.id, dog.id)}
        assert decisions.decided_images(c, project.id) == 2
        assert decisions.of_category(c, dog.id) == [(two.id, 2)]
        assert decisions.head_seq(c, 99) == 0


CELL = st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(list(CellState)))
ACTIONS = st.lists(st.lists(st.one_of(CELL, st.integers(0, 30)), max_size=6), max_size=12)


@given(calls=ACTIONS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_actions_equals_a_dictionary(store: Store, calls: Any) -> None:
    """An action is a decision on a cell, or the replay of an earlier one (a number)."""
    run = next(counter)
    model: dict[tuple[int, int], CellState] = {}
    asked: set[tuple[int, int]] = set()
    sent: list[NewDecision] = []

    def prepare(c: Any) -> tuple[int, list[int], list[int]]:
        users.owner(c, now=1)
        made = projects.create(c, f"p{run}", now=1).id
        pictures = [images.add(c, made, new_image(f"{n}.jpg"), now=1)[0].id for n in range(3)]
        return made, pictures, [x.id for x in categories.ensure(c, made, ["a", "b"], now=1)[0]]

    project_id, picture_ids, category_ids = store.write(prepare)
    for call in calls:
        batch = []
        for action in call:
            if isinstance(action, int):
                batch += [sent[action % len(sent)]] if sent else []
                continue
            cell = (picture_ids[action[0]], category_ids[action[1]])
            batch.append(new(*cell, action[2]))
            sent.append(batch[-1])
            model[cell] = action[2]
            asked.add(cell)
        store.write(lambda c, b=tuple(batch): decisions.record(c, project_id, b, user_id=1, now=2))
    model = {cell: state for cell, state in model.items() if state is not UNKNOWN}
    assert states(store, picture_ids) == model
    assert model.keys() <= asked
    with store.read() as c:
        for count in decisions.counts(c, project_id):
            for state in (POSITIVE, NEGATIVE, UNSURE):
                expected = sum(s is state and cell[1] == count.category_id for cell, s in model.items())
                assert getattr(count, state.word) == expected
        assert [(x.image_id, x.category_id) for x in decisions.labelled_pairs(c, project_id)] == sorted(model)
        assert decisions.decided_images(c, project_id) == len({image for image, _ in model})
        matrix = snapshots.label_matrix(c, project_id, picture_ids, category_ids)
        assert decisions.count_since(c, project_id, 0) == len(sent)
    expected_matrix = [
        [0 if model.get((i, k)) in (None, UNSURE) else int(model[i, k]) for k in category_ids]
        for i in picture_ids
    ]
    assert matrix.dtype == np.int8
    assert matrix.tolist() == expected_matrix


def test_thousands_of_cells_go_in_one_call(
    store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]
) -> None:
    pictures = add_images(project, 200)
    made = store.write(lambda c: categories.ensure(c, project.id, [f"c{n}" for n in range(40)], now=1)[0])
    every = [
        new(image.id, category.id, NEGATIVE if (image.id + category.id) % 3 else POSITIVE)
        for image in pictures
        for category in made
    ]
    assert all(answer.stored for answer in record(store, project, *every))
    record(store, project, *[new(d.image_id, d.category_id, UNKNOWN) for d in every[::2]])
    with store.read() as c:
        assert sum(x.positive + x.negative for x in decisions.counts(c, project.id)) == 4_000
        assert sum(1 for _ in decisions.labelled_pairs(c, project.id)) == 4_000


def test_unchanged_content_is_the_same_snapshot(store: Store, project: Project, cells: Any) -> None:
    (image, *_), (dog, _) = cells
    record(store, project, new(image.id, dog.id, POSITIVE))

    def freeze(now: int) -> Any:
        return store.write(lambda c: snapshots.freeze(c, project.id, now=now))

    first, again = freeze(10), freeze(20)
    assert first == again
    assert first.up_to_seq == 1
    assert first.counts == {
        "images": 3,
        "decided_images": 1,
        "categories": 2,
        "positive": 1,
        "negative": 0,
        "unsure": 0,
    }
    record(store, project, new(image.id, dog.id, UNSURE))
    second = freeze(30)
    assert (second.id != first.id, second.digest != first.digest) == (True, True)
    store.write(lambda c: categories.rename(c, dog.id, "hound"))
    assert freeze(40).digest != second.digest
    with store.read() as c:
        assert snapshots.get(c, first.id) == first


def test_the_label_matrix_follows_the_ids_it_is_given(store: Store, project: Project, cells: Any) -> None:
    (one, two, three), (dog, cat) = cells
    record(store, project, new(one.id, dog.id, POSITIVE), new(three.id, cat.id, NEGATIVE))
    record(store, project, new(two.id, cat.id, UNSURE))
    with store.read() as c:

        def matrix(rows: list[int], columns: list[int]) -> list[list[int]]:
            return snapshots.label_matrix(c, project.id, rows, columns).tolist()

        assert matrix([one.id, two.id, three.id], [dog.id, cat.id]) == [[1, 0], [0, 0], [0, -1]]
        assert matrix([three.id, one.id], [cat.id, dog.id]) == [[-1, 0], [0, 1]]
        assert matrix([three.id], [cat.id]) == [[-1]]
        assert matrix([], [cat.id]) == []
        assert matrix([one.id], []) == [[]]
