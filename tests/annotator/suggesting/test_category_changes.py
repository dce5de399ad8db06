"""A generation serves the categories it was trained on by their ids, whatever becomes of names and order."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from annotator.store import categories, merging
from tests.annotator.generation_builder import build, decide
from tests.annotator.suggesting.conftest import World


@pytest.fixture
def labelled(world: World) -> World:
    """Ten pictures decided for the first two categories."""
    cells = [world.cell(i, k, 1 if (i + k) % 2 == 0 else -1) for i in range(10) for k in (0, 1)]
    decide(world.store, world.project, cells)
    return world


def test_new_names_another_order_and_a_way_through_the_archive_change_no_number(labelled: World) -> None:
    build(labelled.store, labelled.project)
    before = labelled.probabilities(15)
    ids = [category.id for category in labelled.categories]

    def work(c: Connection) -> None:
        categories.archive(c, ids[1], now=1)
        categories.rename(c, ids[0], "dog")  # the name that another one had
        categories.rename(c, ids[1], "hound")
        categories.restore(c, ids[1])
        categories.reorder(c, labelled.project.id, list(reversed(ids)))

    labelled.store.write(work)
    assert labelled.probabilities(15) == before


def test_what_was_answered_while_a_category_was_archived_counts_after_it_is_back(labelled: World) -> None:
    build(labelled.store, labelled.project)
    category = labelled.categories[0].id
    labelled.store.write(lambda c: categories.archive(c, category, now=1))
    decide(labelled.store, labelled.project, [labelled.cell(15, 0, 1)])
    assert 0 not in labelled.probabilities(15)
    labelled.store.write(lambda c: categories.restore(c, category))
    assert 0 not in labelled.probabilities(15)  # decided by now, so nothing is suggested
    suggestion = next(s for s in labelled.ask(16).suggestions if s.category_id == category)
    assert suggestion.known == 11


def test_a_generation_from_before_a_merge_serves_the_category_that_took_over(labelled: World) -> None:
    build(labelled.store, labelled.project)
    before = labelled.probabilities(15)
    source, target = (labelled.categories[place].id for place in (0, 1))
    decide(labelled.store, labelled.project, [labelled.cell(12, 0, 1)])

    def work(c: Connection) -> int:
        return merging.merge(c, labelled.project.id, source, target, user_id=1, now=9).taken

    assert labelled.store.write(work) == 1
    after = labelled.probabilities(15)
    assert 0 not in after and after.keys() == before.keys() - {0}, "the source is no longer asked"
    assert 1 not in labelled.probabilities(12), "what was taken over is decided"
    suggestion = next(s for s in labelled.ask(15).suggestions if s.category_id == target)
    assert suggestion.known == 11, "and speaks for similar pictures at once"
