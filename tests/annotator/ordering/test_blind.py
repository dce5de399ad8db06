"""The random stream: uniform, the same whatever the model says, and without a suggestion."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.ordering import Question, stream
from annotator.ordering.cells import Cells
from annotator.ordering.service import merged
from annotator.ordering.stream import RandomStream, places_of_blind
from annotator.ordering.ties import cell_hash
from annotator.records import ImageState
from annotator.store import categories, images, now_ms
from annotator.suggesting import ProjectStates
from tests.annotator.generation_builder import build
from tests.annotator.ordering.conftest import Desk

MakeDesk = Callable[[int], Desk]


def blind(desk: Desk, limit: int = 60, **how: object) -> list[tuple[int, int | None]]:
    return [(q.image_id, q.category_id) for q in desk.deck(limit, **how).questions if q.blind]


def test_every_twentieth_question_is_blind_and_never_shown_twice(make_desk: MakeDesk) -> None:
    desk = make_desk(80)
    questions = desk.deck(60).questions
    places = [place for place, question in enumerate(questions) if question.blind]
    # One less where a picture waits for its blind question at the end.
    assert places[:2] == [19, 39] and places[2:] in ([58], [59])
    asked = [question for question in questions if question.blind]
    assert len({(one.image_id, one.category_id) for one in asked}) == 3
    assert {one.why for one in asked} == {"drawn at random: asked without a suggestion"}
    plain = [question.image_id for question in questions if not question.blind]
    assert len(set(plain)) == len(plain)


def test_the_draw_is_the_same_before_and_after_any_training(make_desk: MakeDesk) -> None:
    desk = make_desk(80)
    desk.decide(*[(0, k, 1) for k in range(3)])
    before = blind(desk)
    assert len(before) == 3
    for seed in (1, 2):
        build(desk.store, desk.project, seed=seed)
        for strategy in ("value", "likely", "diverse"):
            assert blind(desk, strategy=strategy) == before
    desk.again()
    assert blind(desk) == before
    desk.again(seed=5)
    assert blind(desk) != before


def test_an_answered_cell_makes_room_for_the_next_draw_and_comes_back_when_taken_back(
    make_desk: MakeDesk,
) -> None:
    desk = make_desk(80)
    first, second, third = blind(desk)
    place = desk.ids.index(first[0])
    column = [category.id for category in desk.categories].index(first[1])
    desk.decide((place, column, -1), mode="blind", random_stream=True)
    after = blind(desk)
    assert after[:2] == [second, third]
    desk.decide((place, column, 0), mode="blind", random_stream=True)
    assert blind(desk)[0] == first


def test_the_share_goes_on_where_the_last_deck_ended(make_desk: MakeDesk) -> None:
    desk = make_desk(80)

    def first() -> int:
        return next(place for place, question in enumerate(desk.deck(40).questions) if question.blind)

    assert first() == 19
    desk.decide(*[(place, k, -1) for place in range(7) for k in range(2)])
    assert first() == 12
    desk.decide(*[(place, 0, -1) for place in range(10, 40)])
    assert first() == 0
    image_id, category_id = blind(desk)[0]
    columns = [category.id for category in desk.categories]
    answer = (desk.ids.index(image_id), columns.index(category_id), 1)
    desk.decide(answer, mode="blind", random_stream=True)
    assert first() == 19


def test_a_share_of_nothing_switches_it_off_and_a_deck_of_one_category_has_none(make_desk: MakeDesk) -> None:
    desk = make_desk(80)
    assert blind(desk, category_id=desk.categories[0].id) == []
    desk.again(random_share=0.0)
    assert blind(desk) == []


def test_archived_categories_and_missing_pictures_are_passed_over(make_desk: MakeDesk) -> None:
    desk = make_desk(80)
    (image_id, category_id), second, _ = blind(desk)
    desk.store.write(lambda c: images.set_state(c, image_id, ImageState.MISSING))
    assert blind(desk)[0] == second
    desk.store.write(lambda c: images.set_state(c, image_id, ImageState.READY))
    desk.store.write(lambda c: categories.archive(c, category_id, now=now_ms()))
    assert category_id not in {category for _, category in blind(desk)}
    assert len(blind(desk)) == 3


def test_the_last_cell_of_all_is_still_asked(desk: Desk) -> None:
    desk.decide(*[(i, k, 1) for i in range(16) for k in range(3) if (i, k) != (7, 2)])
    found = desk.deck()
    assert found.ids == (desk.ids[7],)
    assert len(found.questions) == 1


def test_a_blind_cell_does_not_lead_its_picture(make_desk: MakeDesk) -> None:
    desk = make_desk(40)
    desk.decide(*[(0, k, 1) for k in range(3)])
    desk.again(random_share=0.5)
    logits = np.full((40, 3), -3.0)
    (image_id, category_id), *_ = blind(desk, 4)
    column = [category.id for category in desk.categories].index(category_id)
    logits[desk.ids.index(image_id), column] = 2.0  # the model would lead with it
    build(desk.store, desk.project, logits=logits, with_instances=False)
    questions = desk.deck(40, strategy="likely").questions
    drawn = {(q.image_id, q.category_id) for q in questions if q.blind}
    led = {(q.image_id, q.category_id) for q in questions if not q.blind}
    assert (image_id, category_id) in drawn
    assert not drawn & led


def test_a_cell_that_will_be_asked_blind_comes_last_among_those_of_its_category(make_desk: MakeDesk) -> None:
    desk = make_desk(80)
    p = np.full((80, 3), 0.3)
    desk.decide(*[(0, k, 1) for k in range(3)])
    due = blind(desk, 80)
    assert len(due) == 4
    columns = [category.id for category in desk.categories]
    for image_id, category_id in due:
        p[desk.ids.index(image_id), columns.index(category_id)] = 0.9  # else it would be among the first
    build(desk.store, desk.project, logits=np.log(p / (1 - p)), with_instances=False)
    for column, category_id in enumerate(columns):
        mine = {image for image, category in due if category == category_id}
        shown = {cell.image_id for cell in desk.grid(column, 36).cells}
        asked = {q.image_id for q in desk.deck(36, category_id=category_id).questions}
        assert len(shown) == len(asked) == 36 and not (shown | asked) & mine
        everything = [cell.image_id for cell in desk.grid(column, 100).cells]
        assert sorted(everything) == desk.ids[1:]
        assert set(everything[len(everything) - len(mine) :]) == mine


def test_the_draw_is_uniform_over_unknown_cells() -> None:
    """Chi-square over 20 categories and 20 groups of pictures, one seed; the 0.999 quantile of 19 is 43.8."""
    cells = Cells(
        image_ids=np.arange(1, 4001), category_ids=tuple(range(1, 21)), states=ProjectStates(1), seed=0
    )
    drawn = np.array(list(islice(RandomStream(0).draw(cells), 4000)))
    for counts in (np.bincount(drawn[:, 1], minlength=21)[1:], np.bincount(drawn[:, 0] // 200, minlength=20)):
        assert counts.sum() == 4000
        assert ((counts - 200) ** 2 / 200).sum() < 43.8


@pytest.mark.parametrize("kept", [4, 4096])
def test_the_stream_ends_after_every_cell_and_orders_them_by_their_hash(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEPT", kept)
    cells = Cells(image_ids=np.arange(1, 31), category_ids=(4, 9), states=ProjectStates(1), seed=3)
    drawn = list(RandomStream(3).draw(cells))
    assert sorted(drawn) == [(position, c) for position in range(30) for c in (4, 9)]
    numbers = [int(cell_hash(3 + (1 << 32), cells.image_ids[p : p + 1], c)[0]) for p, c in drawn]
    assert numbers == sorted(numbers)


def test_a_draw_from_millions_of_cells_holds_few_of_them_at_once() -> None:
    """R-48: ten thousand categories; one number for every cell of 4,096 pictures were 300 MB."""
    cells = Cells(
        image_ids=np.arange(1, 501), category_ids=tuple(range(1, 10_001)), states=ProjectStates(1), seed=0
    )
    tracemalloc.start()
    try:
        drawn = next(RandomStream(0).draw(cells))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    numbers = cell_hash(1 << 32, cells.image_ids[:, None], np.arange(1, 10_001))
    least = np.unravel_index(int(numbers.argmin()), numbers.shape)
    assert drawn == (int(least[0]), int(least[1]) + 1)
    assert peak < 8 * 2**20


def test_known_categories_are_not_looked_for_one_by_one() -> None:
    """R-48: with ten thousand of them every request took a second to see that none is new."""
    compared = 0

    class Id(int):
        __hash__ = int.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return int.__eq__(self, other) is True

    def cells() -> Cells:
        ids = tuple(Id(number) for number in range(1, 1_001))
        return Cells(image_ids=np.arange(1, 11), category_ids=ids, states=ProjectStates(1), seed=0)

    draw = RandomStream(0)
    first = next(draw.draw(cells()))
    compared = 0
    assert next(draw.draw(cells())) == first
    assert compared < 20_000


def test_pictures_and_categories_that_come_later_join_the_same_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEPT", 20)
    states = ProjectStates(1)

    def cells(count: int, *category_ids: int) -> Cells:
        return Cells(image_ids=np.arange(1, count + 1), category_ids=category_ids, states=states, seed=0)

    grown = RandomStream(0)
    for now in (cells(10, 1), cells(14, 1), cells(14, 1, 2), cells(300, 1, 2), cells(300, 2)):
        assert list(islice(grown.draw(now), 15)) == list(islice(RandomStream(0).draw(now), 15))


@settings(deadline=None)
@given(st.floats(0.01, 0.5), st.integers(0, 100), st.integers(0, 300))
def test_places_keep_the_share(share: float, since: int, total: int) -> None:
    places = places_of_blind(share, since=since, total=total)
    assert places == sorted(set(places)) and all(0 <= place < total for place in places)
    if since == 0:
        assert abs(len(places) - share * total) <= 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), unique=True, max_size=20), st.lists(st.integers(0, 30), max_size=6))
def test_a_picture_is_shown_with_suggestions_only_after_its_blind_questions(
    pictures: list[int], drawn: list[int]
) -> None:
    asked = [Question(image_id=i, why="") for i in pictures]
    stream_of = [Question(image_id=i, why="", category_id=k, blind=True) for k, i in enumerate(drawn)]
    found = merged(asked, stream_of, [3 + 4 * k for k in range(len(drawn))])
    assert sorted(map(repr, found)) == sorted(map(repr, asked + stream_of))
    for place, question in enumerate(found):
        if question.blind:
            assert question.image_id not in {one.image_id for one in found[:place] if not one.blind}
