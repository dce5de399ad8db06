"""Suggestions before the first generation, and for what a generation does not cover."""

from __future__ import annotations

import numpy as np
import pytest

from annotator.records import CellState
from annotator.store import categories, now_ms
from annotator.suggesting import PooledFeatures
from annotator.suggesting.pooled import cache_folder
from annotator.suggesting.suggester import ALL_DECIDED, NO_CATEGORY, NO_YES, NOTHING_LABELLED
from tests.annotator.generation_builder import build, decide, unit, write_features
from tests.annotator.suggesting.conftest import World


def clustered(world: World, rng: np.random.Generator) -> np.ndarray:
    """Even images look alike, odd images look alike."""
    centres = rng.normal(size=(2, 16)) * 3
    return (
        centres[np.arange(len(world.images)) % 2] + rng.normal(size=(len(world.images), 16)) * 0.1
    ).astype(np.float32)


def give_features(world: World, pooled: np.ndarray, first: int = 0) -> None:
    keys = [image.sha256 for image in world.images[first : first + len(pooled)]]
    write_features(world.store.data_dir, keys, pooled)


def test_with_nothing_labelled_the_list_is_empty_and_says_what_to_do(world: World) -> None:
    answer = world.ask(0)
    assert answer.suggestions == ()
    assert answer.note == NOTHING_LABELLED
    assert "Press /" in answer.note and "Enter" in answer.note


def test_without_categories_the_note_says_how_to_add_one(world: World) -> None:
    for category in world.categories:
        world.store.write(lambda c, i=category.id: categories.archive(c, i, now=now_ms()))
    assert world.ask(0).note == NO_CATEGORY


def test_without_features_the_suggestion_is_the_base_rate_and_says_so(world: World) -> None:
    decide(world.store, world.project, [world.cell(0, 0, 1), world.cell(1, 0, -1), world.cell(0, 1, 1)])
    found = world.ask(5).suggestions
    assert {one.basis for one in found} == {"prior"}
    assert [world.place(one.category_id) for one in found] == [1, 0]
    assert all(0 < one.probability < 1 and one.evidence == () for one in found)


def test_categories_without_a_yes_are_not_suggested(world: World) -> None:
    decide(world.store, world.project, [world.cell(0, 0, -1), world.cell(1, 1, 2)])
    answer = world.ask(5)
    assert answer.suggestions == ()
    assert answer.note == NO_YES


def test_similar_pictures_vote_and_are_shown_as_evidence(world: World, rng: np.random.Generator) -> None:
    give_features(world, clustered(world, rng))
    decide(world.store, world.project, [world.cell(i, 0, 1 if i % 2 == 0 else -1) for i in range(8)])
    even, odd = world.ask(10).suggestions[0], world.ask(11).suggestions[0]
    assert even.basis == odd.basis == "neighbours"
    assert even.probability > 0.7 > 0.3 > odd.probability
    assert even.known == 8
    yes = [one for one in even.evidence if one.state is CellState.POSITIVE]
    no = [one for one in even.evidence if one.state is CellState.NEGATIVE]
    assert len(yes) == len(no) == 3
    assert all(world.ids.index(one.image_id) % 2 == 0 for one in yes)
    assert [one.similarity for one in yes] == sorted((one.similarity for one in yes), reverse=True)
    assert min(one.similarity for one in yes) > max(one.similarity for one in no)


def test_unknown_and_unsure_cells_do_not_count_against_a_category(
    world: World, rng: np.random.Generator
) -> None:
    give_features(world, clustered(world, rng))
    decide(world.store, world.project, [world.cell(i, 0, 1) for i in (0, 2)] + [world.cell(1, 0, -1)])
    before = world.probabilities(10)[0]
    # Many alike pictures that are unsure, or decided for something else only.
    decide(world.store, world.project, [world.cell(i, 0, 2) for i in (4, 6)])
    decide(world.store, world.project, [world.cell(i, 2, -1) for i in (8, 12, 14)])
    base = world.suggester.states
    with world.store.read() as c:
        assert base(c, world.project.id).known(world.categories[0].id) == 3
    assert world.probabilities(10)[0] == pytest.approx(before, abs=0.1)
    assert world.probabilities(10)[0] > 0.6


def test_a_decision_moves_the_next_list_at_once_and_taking_it_back_undoes_it(
    world: World, rng: np.random.Generator
) -> None:
    give_features(world, clustered(world, rng))
    decide(world.store, world.project, [world.cell(0, 0, 1), world.cell(1, 0, -1)])
    before = world.probabilities(10)[0]
    decide(world.store, world.project, [world.cell(2, 0, -1), world.cell(4, 0, -1)])
    changed = world.probabilities(10)[0]
    assert changed < before - 0.1
    decide(world.store, world.project, [world.cell(2, 0, 0), world.cell(4, 0, 0)])
    assert world.probabilities(10)[0] == pytest.approx(before)


def test_an_image_never_votes_for_itself(world: World, rng: np.random.Generator) -> None:
    give_features(world, clustered(world, rng))
    decide(world.store, world.project, [world.cell(10, 0, 1), world.cell(10, 1, 1), world.cell(10, 1, 0)])
    decide(world.store, world.project, [world.cell(0, 1, 1)])
    (found,) = [one for one in world.ask(10).suggestions if world.place(one.category_id) == 1]
    assert {one.image_id for one in found.evidence} == {world.ids[0]}


def test_decided_cells_are_not_asked_again(world: World) -> None:
    decide(world.store, world.project, [world.cell(0, i, 1) for i in range(4)])
    assert world.ask(0).suggestions == ()
    assert world.ask(0).note == ALL_DECIDED
    assert len(world.ask(1).suggestions) == 4
    assert len(world.ask(1, limit=2).suggestions) == 2


def test_features_that_arrive_later_are_used_without_a_restart(
    world: World, rng: np.random.Generator
) -> None:
    pooled = clustered(world, rng)
    decide(world.store, world.project, [world.cell(0, 0, 1), world.cell(1, 0, -1)])
    assert world.ask(10).suggestions[0].basis == "prior"
    give_features(world, pooled[:1])
    assert world.ask(10).suggestions[0].basis == "prior"
    give_features(world, pooled[1:], first=1)
    assert world.ask(10).suggestions[0].basis == "neighbours"
    assert len(world.ask(10).suggestions[0].evidence) == 2


def test_a_feature_cache_that_cannot_be_read_is_logged_and_named(
    world: World, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    give_features(world, clustered(world, rng))
    (world.store.data_dir / "features" / "tiny" / "meta.json").write_text("{", encoding="utf-8")
    decide(world.store, world.project, [world.cell(0, 0, 1)])
    answer = world.ask(10)
    assert answer.suggestions[0].basis == "prior"
    assert "meta.json" in answer.note
    world.ask(10)
    assert caplog.text.count("meta.json") == 1


def test_pictures_newer_than_the_generation_fall_back_to_neighbours(
    world: World, rng: np.random.Generator, add_images: object
) -> None:
    decide(world.store, world.project, [world.cell(i, 0, 1 if i % 2 == 0 else -1) for i in range(6)])
    build(world.store, world.project)
    world.images += add_images(world.project, 4, start=20)  # type: ignore[operator]
    give_features(world, clustered(world, rng))
    old, new = world.ask(10), world.ask(22)
    assert old.suggestions[0].basis == "model+neighbours" and old.generation_id is not None
    assert new.suggestions[0].basis == "neighbours" and new.generation_id is None


def test_categories_newer_than_the_generation_fall_back_to_neighbours(
    world: World, rng: np.random.Generator
) -> None:
    give_features(world, clustered(world, rng))
    decide(world.store, world.project, [world.cell(0, 0, 1), world.cell(1, 0, -1)])
    build(world.store, world.project)
    world.categories.append(
        world.store.write(lambda c: categories.add(c, world.project.id, "new", now=now_ms()))
    )
    decide(world.store, world.project, [world.cell(2, 4, 1), world.cell(2, 1, 1)])
    bases = {world.place(one.category_id): one.basis for one in world.ask(10).suggestions}
    # Category 1 was there but had no yes, so the generation has learned nothing about it.
    assert bases == {0: "model+neighbours", 4: "neighbours", 1: "neighbours"}


def test_the_cache_folder_of_a_backbone_name(world: World) -> None:
    data_dir = world.store.data_dir
    assert cache_folder(data_dir, "lite0-320") is None
    for name in ("lite0-320", "torchvision-resnet50-224", "torchvision-resnet50-448"):
        (data_dir / "features" / name).mkdir(parents=True)
        (data_dir / "features" / name / "meta.json").write_text("{}", encoding="utf-8")
    assert cache_folder(data_dir, "lite0-320") == data_dir / "features" / "lite0-320"
    assert (
        cache_folder(data_dir, "torchvision:resnet50@448")
        == data_dir / "features" / "torchvision-resnet50-448"
    )
    assert (
        cache_folder(data_dir, "torchvision:resnet50") == data_dir / "features" / "torchvision-resnet50-224"
    )
    assert cache_folder(data_dir, "torchvision:vgg16") is None


def test_pooled_features_are_unit_vectors_of_the_pictures_that_have_them(
    world: World, rng: np.random.Generator
) -> None:
    pooled = rng.normal(size=(3, 16)).astype(np.float32)
    give_features(world, pooled)
    features = PooledFeatures(world.store.data_dir / "features" / "tiny")
    with world.store.read() as c:
        present, vectors = features.of(c, [world.ids[2], world.ids[9], world.ids[0]])
    assert present == [world.ids[2], world.ids[0]]
    assert vectors == pytest.approx(unit(pooled[[2, 0]]), abs=1e-3)
