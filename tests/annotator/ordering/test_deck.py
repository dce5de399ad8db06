"""Which picture comes next."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from annotator.errors import BadInput, NotFound
from annotator.ordering import STRATEGIES
from annotator.records import Image, ImageState
from annotator.store import categories, images, now_ms
from tests.annotator.generation_builder import build, write_features
from tests.annotator.ordering.conftest import Desk

MakeDesk = Callable[[int], Desk]


def logit(p: object) -> np.ndarray:
    return np.log(np.asarray(p, float) / (1 - np.asarray(p, float)))


def trained(desk: Desk, p: np.ndarray) -> None:
    """A generation whose probabilities are `p` where nobody has decided, and one yes of each category."""
    desk.decide(*[(0, k, 1) for k in range(len(desk.categories))])
    build(desk.store, desk.project, logits=logit(p), with_instances=False)


def test_without_pictures_the_note_says_to_import(make_desk: MakeDesk) -> None:
    found = make_desk(0).deck()
    assert found.ids == ()
    assert "import" in found.note


def test_before_features_the_import_order_is_spread_out(desk: Desk) -> None:
    found = desk.deck()
    assert found.strategy == "interleaved"
    assert found.generation_id is None
    assert sorted(found.ids) == desk.ids
    assert sorted(desk.places(found)[:4]) == [0, 4, 8, 12]
    assert desk.deck() == found
    assert desk.deck(5).ids == found.ids[:5]
    assert found.questions[0].category_id is None and "spread" in found.questions[0].why


def test_pictures_nobody_has_touched_come_before_half_done_ones(desk: Desk) -> None:
    first = desk.places(desk.deck())[0]
    desk.decide((first, 0, 1))
    found = desk.deck()
    assert found.ids[-1] == desk.ids[first]
    assert sorted(found.ids) == desk.ids


def test_finished_pictures_leave_the_deck_and_come_back_when_a_cell_is_cleared(desk: Desk) -> None:
    desk.decide((3, 0, 1), (3, 1, -1), (3, 2, 2))
    assert desk.ids[3] not in desk.deck().ids
    desk.decide((3, 1, 0))
    assert desk.ids[3] in desk.deck().ids


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_when_all_is_decided_the_deck_is_empty_and_a_new_category_opens_it_again(
    desk: Desk, strategy: str
) -> None:
    desk.decide(*[(i, k, 1) for i in range(16) for k in range(3)])
    build(desk.store, desk.project)
    done = desk.deck(strategy=strategy)
    assert done.questions == () and done.proposal is None
    assert "decided for every picture" in done.note
    assert desk.grid(strategy=strategy).cells == () and "cat is left" in desk.grid().why
    desk.add("new")
    assert len(desk.deck(strategy=strategy).ids) == 16


def test_without_a_category_every_picture_is_open(desk: Desk) -> None:
    for category in desk.categories:
        desk.store.write(lambda c, i=category.id: categories.archive(c, i, now=now_ms()))
    assert len(desk.deck().ids) == 16


def test_a_damaged_generation_is_named_and_the_order_before_it_is_used(desk: Desk) -> None:
    desk.decide((0, 0, 1))
    built = build(desk.store, desk.project)
    (built.folder / "logits.npy").write_bytes(b"x")
    found = desk.deck(strategy="likely")
    assert found.strategy == "interleaved"
    assert found.generation_id is None
    assert "logits.npy" in found.note
    assert len(desk.grid().cells) == 15


def test_missing_pictures_are_left_out_and_the_limit_is_still_filled(desk: Desk) -> None:
    order = desk.deck().ids
    for image_id in order[:3]:
        desk.store.write(lambda c, i=image_id: images.set_state(c, i, ImageState.MISSING))
    assert desk.deck(4).ids == order[3:7]
    for image_id in order:
        desk.store.write(lambda c, i=image_id: images.set_state(c, i, ImageState.MISSING))
    assert "missing" in desk.deck().note


def test_an_order_that_does_not_exist_is_named(desk: Desk) -> None:
    with pytest.raises(BadInput, match=r'no order "best".*likely'):
        desk.deck(strategy="best")
    with pytest.raises(BadInput, match="best"):
        desk.grid(strategy="best")


def test_an_order_that_cannot_be_used_yet_says_so_only_when_it_was_wished_for(desk: Desk) -> None:
    assert '"likely"' in desk.deck(strategy="likely").note
    assert desk.deck().note == ""
    assert desk.deck(strategy="random").strategy == "random"


def test_a_deck_of_one_category_asks_about_no_other(desk: Desk) -> None:
    trained(desk, np.full((16, 3), 0.5))
    found = desk.deck(category_id=desk.categories[1].id)
    assert {question.category_id for question in found.questions} == {desk.categories[1].id}
    assert len(found.ids) == 15  # picture 0 has its yes
    assert found.proposal is None
    desk.store.write(lambda c: categories.archive(c, desk.categories[1].id, now=now_ms()))
    with pytest.raises(NotFound, match="no active category"):
        desk.deck(category_id=desk.categories[1].id)


def test_likely_asks_the_highest_probability_of_any_open_cell_first(desk: Desk) -> None:
    p = np.full((16, 3), 0.1)
    p[4, 2], p[9, 0], p[11, 1] = 0.9, 0.8, 0.7
    trained(desk, p)
    found = desk.deck(strategy="likely")
    assert desk.places(found)[:3] == [4, 9, 11]
    assert [q.category_id for q in found.questions[:3]] == [desk.categories[k].id for k in (2, 0, 1)]
    assert found.questions[0].why == "boat: likely yes (90 %), rare so far (1 known yes)"
    desk.decide((4, 2, -1))
    assert desk.places(desk.deck(strategy="likely"))[:2] == [9, 11]
    desk.decide((4, 2, 0))  # taken back: it is first again
    assert desk.places(desk.deck(strategy="likely"))[:3] == [4, 9, 11]


def test_uncertain_asks_what_is_nearest_to_one_half(desk: Desk) -> None:
    p = np.full((16, 3), 0.99)
    p[9, 0], p[5, 1], p[12, 2] = 0.5, 0.6, 0.25
    trained(desk, p)
    found = desk.deck(strategy="uncertain")
    assert desk.places(found)[:3] == [9, 5, 12]
    assert found.questions[0].why == "cat: uncertain (50 % yes)"


def test_value_asks_what_is_likely_but_not_certain(desk: Desk) -> None:
    p = np.full((16, 3), 0.01)
    p[3], p[7], p[8] = [0.94, 0.01, 0.01], [0.5, 0.01, 0.01], [0.999, 0.01, 0.01]
    trained(desk, p)
    found = desk.deck()
    assert found.strategy == "value"
    assert desk.places(found)[:2] == [3, 7]


def test_value_counts_all_that_one_opening_is_good_for(desk: Desk) -> None:
    p = np.full((16, 3), 0.01)
    p[3], p[7] = [0.9, 0.01, 0.01], [0.8, 0.8, 0.8]
    trained(desk, p)
    assert desk.places(desk.deck())[:2] == [7, 3]
    assert desk.places(desk.deck(strategy="likely"))[:2] == [3, 7]


def test_coverage_prefers_the_category_with_few_known_yes_and_yields_as_it_fills(desk: Desk) -> None:
    desk.decide(*[(i, 0, 1) for i in range(8)], (0, 1, 1))
    p = np.full((16, 3), 0.02)
    p[10, 0], p[11, 1], p[12, 1] = 0.9, 0.6, 0.5
    build(desk.store, desk.project, logits=logit(p), with_instances=False)
    found = desk.deck(strategy="coverage")
    assert desk.places(found)[:3] == [11, 12, 10]
    assert "dog: 1 known yes so far" in found.questions[0].why
    desk.decide((11, 1, 1), (13, 1, 1), (14, 1, 1), (15, 1, 1))
    # log(7/6) * 0.5 is below log(10/9) * 0.9.
    assert desk.places(desk.deck(strategy="coverage"))[:2] == [10, 12]


def test_disagreement_names_both_opinions(desk: Desk) -> None:
    desk.decide((0, 0, 1), (1, 0, -1))
    instances = np.random.default_rng(0).normal(size=(16, 3, 8))
    instances[5, 0] = instances[1, 0]  # looks like a known no
    logits = np.full((16, 3), -4.0)
    logits[5, 0] = 4.0  # and the model says yes
    build(
        desk.store,
        desk.project,
        logits=logits,
        instances=instances / np.linalg.norm(instances, axis=2)[..., None],
    )
    found = desk.deck(strategy="disagreement")
    assert found.strategy == "disagreement"
    assert desk.places(found)[0] == 5
    assert found.questions[0].why.startswith("cat: model says 98 %, similar pictures ")


def test_without_votes_disagreement_becomes_uncertainty_and_says_so(desk: Desk) -> None:
    trained(desk, np.full((16, 3), 0.5))
    found = desk.deck(strategy="disagreement")
    assert found.strategy == "uncertain" and '"disagreement"' in found.note


def test_random_is_the_same_whatever_the_model_says(desk: Desk) -> None:
    before = desk.deck(strategy="random")
    trained(desk, np.random.default_rng(0).uniform(0.1, 0.9, (16, 3)))
    after = desk.deck(strategy="random")
    kept = [one for one in before.questions if one.image_id != desk.ids[0]]
    assert [(q.image_id, q.category_id) for q in after.questions] == [
        (q.image_id, q.category_id) for q in kept
    ]
    desk.again(seed=7)
    assert desk.deck(strategy="random").ids != after.ids


def test_ties_are_broken_by_the_seed_and_not_by_the_order_of_import(make_desk: MakeDesk) -> None:
    desk = make_desk(60)
    trained(desk, np.full((60, 3), 0.5))
    orders = {}
    for seed in (0, 1):
        desk.again(seed=seed)
        first = desk.deck(12, strategy="likely")
        assert desk.deck(12, strategy="likely") == first
        orders[seed] = first.ids
        columns = [question.category_id for question in first.questions if not question.blind]
        assert len(set(columns)) == 3
    assert orders[0] != orders[1]
    assert list(orders[0]) != sorted(orders[0])


def test_a_new_generation_gives_a_new_order(desk: Desk) -> None:
    desk.decide((0, 0, 1), (0, 1, 1), (0, 2, 1))
    for image in (4, 11):
        p = np.full((16, 3), 0.1)
        p[image] = 0.8
        built = build(desk.store, desk.project, logits=logit(p))
        found = desk.deck()
        assert found.ids[0] == desk.ids[image] and found.generation_id == built.record.id


def test_pictures_newer_than_the_generation_are_not_forgotten(
    desk: Desk, add_images: Callable[..., list[Image]]
) -> None:
    desk.again(random_share=0.0)
    desk.decide((0, 0, 1))
    build(desk.store, desk.project)
    desk.deck()
    new = add_images(desk.project, 3, start=16)
    found = desk.deck()
    assert set(found.ids[-3:]) == {image.id for image in new}
    assert "last training" in found.questions[-1].why


def test_an_archived_category_is_not_asked_and_leads_no_picture(desk: Desk) -> None:
    p = np.full((16, 3), 0.2)
    p[6, 2] = 0.9
    trained(desk, p)
    assert desk.places(desk.deck(strategy="likely"))[0] == 6
    desk.store.write(lambda c: categories.archive(c, desk.categories[2].id, now=now_ms()))
    found = desk.deck(strategy="likely")
    assert desk.categories[2].id not in {question.category_id for question in found.questions}


def test_diverse_after_a_training_spreads_pictures_and_leads_with_the_least_sure_cell(desk: Desk) -> None:
    clusters(desk)
    p = np.full((16, 3), 0.02)
    p[:, 1] = 0.4
    trained(desk, p)
    found = desk.deck(strategy="diverse")
    assert len({place // 4 for place in desk.places(found)[:3]}) == 3  # picture 0, half done, comes last
    assert {question.category_id for question in found.questions[:4]} == {desk.categories[1].id}


def clusters(desk: Desk) -> None:
    """Features in four clusters of four pictures."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 32)) * 5
    pooled = (centres[np.arange(16) // 4] + rng.normal(size=(16, 32)) * 0.05).astype(np.float32)
    write_features(desk.store.data_dir, [image.sha256 for image in desk.images], pooled)


def test_with_features_the_first_pictures_cover_every_cluster(desk: Desk) -> None:
    clusters(desk)
    found = desk.deck()
    assert found.strategy == "diverse"
    assert {place // 4 for place in desk.places(found)[:4]} == {0, 1, 2, 3}
    assert sorted(found.ids) == desk.ids
    assert desk.deck().ids == found.ids


def test_while_features_are_still_made_the_order_is_spread_out(desk: Desk) -> None:
    pooled = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    write_features(desk.store.data_dir, [image.sha256 for image in desk.images[:5]], pooled)
    assert desk.deck().strategy == "interleaved"


def test_after_the_first_yes_of_a_late_category_the_nearest_pictures_come_first(desk: Desk) -> None:
    clusters(desk)
    trained(desk, np.full((16, 3), 0.5))
    late = desk.add("late")
    desk.categories.append(late)
    assert desk.grid(3).why == "late: pictures unlike each other"
    desk.decide((9, 3, 1))
    found = desk.grid(3, 3)
    assert {desk.ids.index(cell.image_id) for cell in found.cells} == {8, 10, 11}
    assert all(cell.probability is None for cell in found.cells)
    assert "most like the known yes" in found.why
    desk.decide((2, 3, 1), (8, 3, -1))
    assert {desk.ids.index(cell.image_id) for cell in desk.grid(3, 5).cells} == {10, 11, 0, 1, 3}
    deck = desk.deck(category_id=late.id)
    assert deck.strategy == "nearby" and desk.places(deck)[0] in {10, 11, 0, 1, 3}
    assert len(deck.questions) == 13  # the far ones too, after the near ones
    desk.decide((2, 3, 0))  # taken back: only the first yes counts
    assert {desk.ids.index(cell.image_id) for cell in desk.grid(3, 2).cells} == {10, 11}


def test_a_grid_asks_open_cells_of_one_category_with_their_probabilities(desk: Desk) -> None:
    p = np.full((16, 3), 0.3)
    p[:, 0] = np.linspace(0.05, 0.8, 16)
    trained(desk, p)
    desk.decide((15, 0, 1))
    found = desk.grid(0, 4)
    assert [desk.ids.index(cell.image_id) for cell in found.cells] == [14, 13, 12, 11]
    assert [cell.probability for cell in found.cells] == pytest.approx(p[[14, 13, 12, 11], 0], abs=1e-3)
    assert found.cells[0].name == "p14.jpg" and found.generation_id is not None
    assert found.seconds == pytest.approx(1.0 + 4 * 0.6, rel=0.2)
    assert "likely but not certain" in found.why


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_order_gives_every_open_cell_of_a_category_once(desk: Desk, strategy: str) -> None:
    desk.decide((0, 0, 1), (1, 0, 2), (2, 0, -1))
    build(desk.store, desk.project)
    found = [cell.image_id for cell in desk.grid(0, 100, strategy=strategy).cells]
    assert sorted(found) == desk.ids[3:]


def test_no_call_looks_at_all_pictures_again(make_desk: MakeDesk) -> None:
    desk = make_desk(700)
    p = np.random.default_rng(0).uniform(0.05, 0.95, (700, 3))
    trained(desk, p)
    desk.deck(10)
    room = desk.ordering._rooms[desk.project.id]
    (board,) = room._boards.values()
    builds = room.builds
    for place in range(20):
        found = desk.deck(10)
        desk.decide((desk.ids.index(found.questions[0].image_id), place % 3, 1))
    assert room.builds == builds
    assert board.scored / 21 < 300
