"""The in-memory table always equals the label table."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotator.store import categories, decisions, now_ms
from annotator.suggesting import ProjectStates
from tests.annotator.generation_builder import decide
from tests.annotator.suggesting.conftest import World

ANSWERS = st.lists(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from([1, -1, 2, 0])),
        min_size=1,
        max_size=8,
    ),
    min_size=1,
    max_size=6,
)


def refreshed(world: World, states: ProjectStates) -> ProjectStates:
    with world.store.read() as c:
        states.refresh(c)
    return states


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANSWERS)
def test_following_decisions_gives_the_same_table_as_loading_it_afresh(
    world: World, batches: list[list[tuple[int, int, int]]]
) -> None:
    followed = refreshed(world, ProjectStates(world.project.id))
    ids, columns = world.ids, [category.id for category in world.categories]
    for batch in batches:
        decide(world.store, world.project, [world.cell(*cell) for cell in batch])
        refreshed(world, followed)
        fresh = refreshed(world, ProjectStates(world.project.id))
        assert (followed.block(ids, columns) == fresh.block(ids, columns)).all()
        with world.store.read() as c:
            stored = decisions.labels_of(c, ids)
        expected = [
            [int(stored.get(i, {}).get(k).state) if k in stored.get(i, {}) else 0 for k in columns]
            for i in ids
        ]
        assert (followed.block(ids, columns) == np.array(expected)).all()
        for category_id in columns:
            assert followed.positives(category_id) == fresh.positives(category_id)
            assert followed.known(category_id) == fresh.known(category_id)
            assert sorted(followed.decided(category_id)) == sorted(fresh.decided(category_id))
            assert 0 < followed.base_rate(category_id) < 1


def test_a_cleared_cell_is_unknown_again(world: World) -> None:
    decide(world.store, world.project, [world.cell(0, 0, 1)])
    states = refreshed(world, ProjectStates(world.project.id))
    assert states.state(*world.cell(0, 0, 1)[:2]) == 1
    decide(world.store, world.project, [world.cell(0, 0, 0)])
    refreshed(world, states)
    assert states.state(*world.cell(0, 0, 1)[:2]) == 0
    assert not states.anything


def test_unsure_is_a_decision_but_neither_yes_nor_no(world: World) -> None:
    decide(world.store, world.project, [world.cell(0, 0, 2)])
    states = refreshed(world, ProjectStates(world.project.id))
    category = world.categories[0].id
    assert states.state(world.ids[0], category) == 2
    assert states.known(category) == 0
    assert not states.anything
    assert states.images() == [world.ids[0]]


def test_the_table_grows_beyond_its_first_size(world: World) -> None:
    made = [
        world.store.write(lambda c, i=i: categories.add(c, world.project.id, f"more {i}", now=now_ms()))
        for i in range(40)
    ]
    cells = [(world.ids[i % 20], category.id, 1 if i % 2 else -1) for i, category in enumerate(made)]
    decide(world.store, world.project, cells)
    states = refreshed(world, ProjectStates(world.project.id))
    assert [states.state(image, category) for image, category, _ in cells] == [state for _, _, state in cells]


def test_unknown_images_and_categories_read_as_unknown(world: World) -> None:
    states = refreshed(world, ProjectStates(world.project.id))
    assert states.block([1, 999], [5, 6]).tolist() == [[0, 0], [0, 0]]
    assert states.of_category(77, [1, 2]).tolist() == [0, 0]
    assert states.decided(77).size == 0
