"""R-27: people who ask at the same time get different pictures; who vanishes keeps none; nobody waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from annotator.ordering import Ordering
from annotator.ordering.hands import FIRST, LEASE_S, MORE, MOST, Hands
from annotator.suggesting import Suggester
from tests.annotator.generation_builder import build
from tests.annotator.ordering.conftest import Desk

MakeDesk = Callable[[int], Desk]


class Watch:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def shared(make_desk: MakeDesk, watch: Watch) -> Callable[[int], Desk]:
    """A project of so many pictures, without blind questions, that people work on together."""

    def make(count: int, share: float = 0.0) -> Desk:
        desk = make_desk(count)
        changed = desk.settings.model_copy(update={"random_share": share})
        desk.ordering = Ordering(Suggester(desk.store, changed), changed, clock=watch)
        return desk

    return make


@pytest.mark.parametrize("strategy", ["value", "uncertain", "random", "diverse"])
def test_fifty_people_who_ask_at_once_get_fifty_different_pictures(
    shared: Callable[[int], Desk], strategy: str
) -> None:
    desk = shared(50 * FIRST)
    desk.decide((0, 0, 1))
    build(desk.store, desk.project, with_instances=False)
    hands = [desk.deck(strategy=strategy, user_id=user).ids[:FIRST] for user in range(1, 51)]
    given = [image for hand in hands for image in hand]
    assert len(given) == len(set(given)) == 50 * FIRST


def test_alone_the_order_is_what_it_is_without_anybody(shared: Callable[[int], Desk]) -> None:
    desk = shared(60)
    anybody = desk.deck()
    assert desk.deck(user_id=7) == anybody
    assert desk.deck(user_id=7) == anybody, "one's own pictures are not passed over"
    assert desk.deck() == anybody, "nobody else is known to somebody without a name"


def test_where_overlap_is_wanted_everybody_gets_the_same(shared: Callable[[int], Desk], watch: Watch) -> None:
    desk = shared(60)
    changed = desk.settings.model_copy(update={"random_share": 0.0, "overlap": True})
    desk.ordering = Ordering(Suggester(desk.store, changed), changed, clock=watch)
    assert desk.deck(user_id=1) == desk.deck(user_id=2)
    grids = [desk.grid(0, user_id=user) for user in (1, 2)]
    assert grids[0] == grids[1] and grids[0].cells


def test_what_others_look_at_comes_last_and_nothing_is_left_out(shared: Callable[[int], Desk]) -> None:
    desk = shared(60)
    first = desk.deck(user_id=1).ids
    second = desk.deck(user_id=2).ids
    assert second == (*first[FIRST:], *first[:FIRST])
    assert desk.deck(5, user_id=3).ids == first[2 * FIRST : 2 * FIRST + 5]


def test_where_little_is_left_nobody_waits(shared: Callable[[int], Desk]) -> None:
    desk = shared(3)
    decks = [desk.deck(user_id=user).ids for user in range(1, 6)]
    assert [sorted(found) for found in decks] == [desk.ids] * 5


def test_a_page_that_asks_again_gets_more_that_is_its_own(shared: Callable[[int], Desk]) -> None:
    desk = shared(60)
    first = desk.deck(user_id=1).ids
    assert desk.deck(user_id=1).ids == first
    assert desk.deck(user_id=2).ids[0] == first[FIRST + MORE]


def test_pictures_of_somebody_who_vanished_come_back(shared: Callable[[int], Desk], watch: Watch) -> None:
    desk = shared(60)
    first = desk.deck(user_id=1).ids
    watch.now += LEASE_S - 1
    assert desk.deck(5, user_id=2).ids == first[FIRST : FIRST + 5]
    watch.now += 2
    assert desk.deck(5, user_id=3).ids[0] == first[0]


def test_blind_questions_are_shared_out_as_well_and_keep_their_share(shared: Callable[..., Desk]) -> None:
    desk = shared(400, 0.1)
    blind = []
    for user in range(1, 9):
        asked = desk.deck(user_id=user).questions[:20]
        mine = [(one.image_id, one.category_id) for one in asked if one.blind]
        assert len(mine) == 2, "as many as somebody alone is asked"
        blind += mine
    firsts = blind[::2]
    assert len(set(firsts)) == len(firsts)


def test_where_little_is_left_the_same_blind_questions_are_asked_of_everybody(
    shared: Callable[..., Desk],
) -> None:
    desk = shared(12, 0.25)
    blind = [[one.image_id for one in desk.deck(user_id=user).questions if one.blind] for user in range(1, 5)]
    assert blind[0] and blind[1:] == blind[:1] * 3


def test_grids_of_one_category_show_different_pictures(shared: Callable[[int], Desk]) -> None:
    desk = shared(60)
    mine = {cell.image_id for cell in desk.grid(limit=20, user_id=1).cells}
    theirs = {cell.image_id for cell in desk.grid(limit=20, user_id=2).cells}
    assert (len(mine), len(theirs), mine & theirs) == (20, 20, set())
    assert not set(desk.deck(20, user_id=4).ids) & (mine | theirs)
    other = desk.grid(1, limit=20, user_id=5).cells
    assert {cell.image_id for cell in other} & mine, "another category asks about other cells"


def test_a_hand_is_bounded_and_empties_with_time(watch: Watch) -> None:
    hands = Hands(watch)
    for _ in range(100):
        hands.take(1, range(5000))
    assert hands.of_others(2) == set(range(MOST))
    watch.now += LEASE_S
    assert hands.of_others(2) == set()
    hands.take(1, range(5000))
    assert hands.of_others(2) == set(range(FIRST))
