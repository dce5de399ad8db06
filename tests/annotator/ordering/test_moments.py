"""Requests that overlap: one that began earlier sees less than what the room already knows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from annotator.ordering import STRATEGIES
from annotator.records import Image, ImageState
from annotator.store import categories, images, now_ms, projects
from tests.annotator.generation_builder import build, write_features
from tests.annotator.ordering.conftest import Desk

MakeDesk = Callable[[int], Desk]
AddImages = Callable[..., list[Image]]


@pytest.mark.parametrize("strategy", [None, "random"])
def test_a_request_from_before_an_import_is_answered_with_the_pictures_it_can_see(
    desk: Desk, add_images: AddImages, strategy: str | None
) -> None:
    desk.again(random_share=0.5)
    with desk.store.read() as before:
        projects.get(before, desk.project.id)  # its moment is now
        add_images(desk.project, 40, start=16)
        assert len(desk.deck(200).ids) == 56
        found = desk.ordering.deck(before, desk.project.id, 100, strategy=strategy)
        assert set(found.ids) == set(desk.ids)
        cells = desk.ordering.grid(before, desk.project.id, desk.categories[0].id, 100).cells
        assert {cell.image_id for cell in cells} == set(desk.ids)


def test_a_request_from_before_an_import_does_without_the_features_of_later_pictures(
    desk: Desk, add_images: AddImages
) -> None:
    with desk.store.read() as before:
        projects.get(before, desk.project.id)
        later = add_images(desk.project, 4, start=16)
        pooled = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
        write_features(desk.store.data_dir, [one.sha256 for one in [*desk.images, *later]], pooled)
        with desk.store.read() as now:
            desk.ordering._room(desk.project.id).table(
                now, desk.ordering._suggester.states(now, desk.project.id), None, [desk.categories[0].id]
            )
        assert set(desk.ordering.deck(before, desk.project.id, 100).ids) == set(desk.ids)
    assert desk.deck().strategy == "diverse"


def test_answers_are_counted_even_when_an_older_request_comes_in_between(make_desk: MakeDesk) -> None:
    desk = make_desk(80)

    def first() -> int:
        return next(place for place, question in enumerate(desk.deck(40).questions) if question.blind)

    desk.decide((79, 0, -1))
    assert first() == 18
    with desk.store.read() as before:
        projects.get(before, desk.project.id)
        desk.decide(*[(place, 0, -1) for place in range(7)])
        with desk.store.read() as now:
            desk.ordering._suggester.states(now, desk.project.id)
        desk.ordering.deck(before, desk.project.id, 40)
    assert first() == 11


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_pictures_and_categories_every_order_is_empty(make_desk: MakeDesk, strategy: str) -> None:
    desk = make_desk(0)
    for category in desk.categories:
        desk.store.write(lambda c, i=category.id: categories.archive(c, i, now=now_ms()))
    assert desk.deck(strategy=strategy).questions == ()


@pytest.mark.parametrize("state", [ImageState.REFUSED, ImageState.MISSING])
@pytest.mark.parametrize("place", [3, 15])
def test_a_picture_that_cannot_be_read_does_not_keep_the_others_from_being_spread_out(
    desk: Desk, state: ImageState, place: int
) -> None:
    kept = [image for image in desk.images if image.id != desk.ids[place]]
    pooled = np.random.default_rng(0).normal(size=(15, 8)).astype(np.float32)
    write_features(desk.store.data_dir, [image.sha256 for image in kept], pooled)
    assert desk.deck().strategy == "interleaved"  # its features may still come
    desk.store.write(lambda c: images.set_state(c, desk.ids[place], state))
    found = desk.deck()
    assert found.strategy == "diverse"
    assert sorted(found.ids) == [image.id for image in kept]


def test_the_last_open_cell_may_be_answered_while_the_deck_is_made(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.decide(*[(i, k, 1) for i in range(16) for k in range(3) if (i, k) != (7, 2)])
    build(desk.store, desk.project)
    room = desk.ordering._room(desk.project.id)
    best = room.best

    def answered_meanwhile(table: object, strategy: str, limit: int, **more: object) -> object:
        chosen = best(table, strategy, limit, **more)
        if limit == 1:  # the proposal
            desk.decide((7, 2, 1))
            with desk.store.read() as now:
                desk.ordering._suggester.states(now, desk.project.id)
        return chosen

    monkeypatch.setattr(room, "best", answered_meanwhile)
    assert desk.deck().questions != ()
    assert desk.deck().proposal is None
