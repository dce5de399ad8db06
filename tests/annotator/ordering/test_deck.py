"""Which picture comes next."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator import ordering
from annotator.ordering import Ordered, Ordering
from annotator.records import Category, Image, ImageState, Project
from annotator.settings import Settings
from annotator.store import Store, categories, images, now_ms
from annotator.suggesting import Suggester
from tests.annotator.generation_builder import build, decide, write_features


class Desk:
    def __init__(self, store: Store, settings: Settings, project: Project, made: list[Image]) -> None:
        self.store, self.project = store, project
        self.ids = [image.id for image in made]
        self.images = made
        self.categories: list[Category] = [
            store.write(lambda c, name=name: categories.add(c, project.id, name, now=now_ms()))
            for name in ("cat", "dog", "boat")
        ]
        self.ordering = Ordering(Suggester(store, settings))

    def deck(self, limit: int = 100) -> Ordered:
        with self.store.read() as c:
            return self.ordering.deck(c, self.project.id, limit)

    def decide(self, *cells: tuple[int, int, int]) -> None:
        rows = [(self.ids[image], self.categories[category].id, state) for image, category, state in cells]
        decide(self.store, self.project, rows, prefix=f"d{self.categories[0].id}-{len(cells)}")


@pytest.fixture
def desk(store: Store, settings: Settings, project: Project, add_images: Callable[..., list[Image]]) -> Desk:
    return Desk(store, settings, project, add_images(project, 16))


def test_without_pictures_the_note_says_to_import(store: Store, settings: Settings, project: Project) -> None:
    found = Desk(store, settings, project, []).deck()
    assert found.ids == ()
    assert "import" in found.note


def test_before_features_the_import_order_is_spread_out(desk: Desk) -> None:
    found = desk.deck()
    assert found.strategy == "interleaved"
    assert found.generation_id is None
    assert sorted(found.ids) == desk.ids
    first = sorted(desk.ids.index(i) for i in found.ids[:4])
    assert first == [0, 4, 8, 12]
    assert desk.deck() == found
    assert desk.deck(5).ids == found.ids[:5]


def test_pictures_nobody_has_touched_come_before_half_done_ones(desk: Desk) -> None:
    first = desk.deck().ids[0]
    desk.decide((desk.ids.index(first), 0, 1))
    found = desk.deck()
    assert found.ids[-1] == first
    assert sorted(found.ids) == desk.ids


def test_finished_pictures_leave_the_deck_and_come_back_when_a_cell_is_cleared(desk: Desk) -> None:
    desk.decide((3, 0, 1), (3, 1, -1), (3, 2, 2))
    assert desk.ids[3] not in desk.deck().ids
    desk.decide((3, 1, 0))
    assert desk.ids[3] in desk.deck().ids


def test_a_new_category_opens_every_picture_again(desk: Desk) -> None:
    desk.decide(*[(i, k, 1) for i in range(16) for k in range(3)])
    done = desk.deck()
    assert done.ids == ()
    assert "decided for every picture" in done.note
    desk.store.write(lambda c: categories.add(c, desk.project.id, "new", now=now_ms()))
    assert len(desk.deck().ids) == 16


def test_without_a_category_every_picture_is_open(desk: Desk) -> None:
    for category in desk.categories:
        desk.store.write(lambda c, i=category.id: categories.archive(c, i, now=now_ms()))
    assert len(desk.deck().ids) == 16


def test_with_features_the_first_pictures_cover_every_cluster(desk: Desk) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 32)) * 5
    pooled = (centres[np.arange(16) // 4] + rng.normal(size=(16, 32)) * 0.05).astype(np.float32)
    write_features(desk.store.data_dir, [image.sha256 for image in desk.images], pooled)
    found = desk.deck()
    assert found.strategy == "diverse"
    assert {desk.ids.index(i) // 4 for i in found.ids[:4]} == {0, 1, 2, 3}
    assert sorted(found.ids) == desk.ids
    assert desk.deck().ids == found.ids


def test_while_features_are_still_made_the_order_is_spread_out(desk: Desk) -> None:
    pooled = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    write_features(desk.store.data_dir, [image.sha256 for image in desk.images[:5]], pooled)
    assert desk.deck().strategy == "interleaved"


def test_after_training_the_most_uncertain_pictures_come_first(desk: Desk) -> None:
    desk.decide((0, 0, 1), (1, 0, -1), (0, 1, 1), (0, 2, 1))
    logits = np.full((16, 3), 6.0)
    logits[[9, 5, 12]] = [[0.0, 0.0, 0.0], [1.0, -1.0, 1.0], [2.0, -2.0, 2.0]]
    built = build(desk.store, desk.project, logits=logits)
    found = desk.deck()
    assert found.strategy == "uncertain"
    assert found.generation_id == built.record.id
    assert [desk.ids.index(i) for i in found.ids[:3]] == [9, 5, 12]
    assert desk.ids[0] not in found.ids


def test_what_is_decided_since_no_longer_counts_as_uncertain(desk: Desk) -> None:
    desk.decide((0, 0, 1), (0, 1, 1), (0, 2, 1))
    logits = np.full((16, 3), 6.0)
    logits[9] = [0.0, 6.0, 6.0]
    logits[5] = [2.0, 6.0, 6.0]
    build(desk.store, desk.project, logits=logits)
    assert [desk.ids.index(i) for i in desk.deck().ids[:2]] == [9, 5]
    desk.decide((9, 0, 1))
    found = [desk.ids.index(i) for i in desk.deck().ids]
    assert found[0] == 5
    assert 9 in found  # its other cells are still open


def test_a_new_generation_gives_a_new_order(desk: Desk) -> None:
    desk.decide((0, 0, 1), (0, 1, 1), (0, 2, 1))
    for image in (4, 11):
        logits = np.full((16, 3), 6.0)
        logits[image] = 0.0
        build(desk.store, desk.project, logits=logits)
        assert desk.deck().ids[0] == desk.ids[image]


def test_pictures_newer_than_the_generation_are_not_forgotten(
    desk: Desk, add_images: Callable[..., list[Image]]
) -> None:
    desk.decide((0, 0, 1))
    build(desk.store, desk.project)
    new = add_images(desk.project, 3, start=16)
    assert set(desk.deck().ids[-3:]) == {image.id for image in new}


def test_a_damaged_generation_is_named_and_the_order_before_it_is_used(desk: Desk) -> None:
    desk.decide((0, 0, 1))
    built = build(desk.store, desk.project)
    (built.folder / "logits.npy").write_bytes(b"x")
    found = desk.deck()
    assert found.strategy == "interleaved"
    assert found.generation_id is None
    assert "logits.npy" in found.note


def test_missing_pictures_are_left_out_and_the_limit_is_still_filled(desk: Desk) -> None:
    order = desk.deck().ids
    for image_id in order[:3]:
        desk.store.write(lambda c, i=image_id: images.set_state(c, i, ImageState.MISSING))
    assert desk.deck(4).ids == order[3:7]
    for image_id in order:
        desk.store.write(lambda c, i=image_id: images.set_state(c, i, ImageState.MISSING))
    assert "missing" in desk.deck().note


@given(st.integers(0, 300))
def test_spreading_out_is_a_permutation_whose_prefixes_cover_evenly(count: int) -> None:
    spread = ordering.interleaved(list(range(count)))
    assert sorted(spread) == list(range(count))
    for prefix in (4, 16):
        if count >= 2 * prefix:
            gaps = np.diff(sorted(spread[:prefix]))
            assert gaps.max() <= 4 * count / prefix


@given(st.integers(1, 40), st.integers(0, 5))
def test_a_diverse_order_is_a_permutation_that_repeats(count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    ids = list(range(100, 100 + count))
    found = ordering.diverse(ids, vectors)
    assert sorted(found) == ids
    assert found == ordering.diverse(ids, vectors)


def test_equal_pictures_do_not_stop_a_diverse_order() -> None:
    assert sorted(ordering.diverse(list(range(9)), np.ones((9, 4), np.float32))) == list(range(9))


def test_entropy_is_one_bit_at_one_half_and_nothing_at_certainty() -> None:
    assert ordering.binary_entropy(np.array([0.5, 0.0, 1.0])) == pytest.approx([1.0, 0.0, 0.0], abs=1e-5)


def test_uncertainty_is_the_mean_of_the_top_unknown_cells() -> None:
    entropies = np.array([[0.9, 0.8, 0.7, 0.1], [1.0, 0.0, 0.0, 0.0]])
    unknown = np.array([[True, True, True, True], [False, True, True, True]])
    assert ordering.uncertainty(entropies, unknown) == pytest.approx([0.8, 0.0])
