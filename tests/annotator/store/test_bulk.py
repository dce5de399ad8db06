"""Bulk import leaves the database as one decision after the other would."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from annotator.records import CellState, Image, NewDecision, Project, Source
from annotator.store import Store, bulk, categories, decisions, projects
from annotator.store.bulk import ImportedCells

NOW = 77


def tables(c: Any) -> dict[str, list[Any]]:
    """Everything a decision touches."""
    found = {}
    for table, order in (
        ("decision", "seq"),
        ("label", "image_id, category_id"),
        ("category_stat", "category_id"),
    ):
        rows = c.exec_driver_sql(f"SELECT * FROM {table} ORDER BY {order}").mappings()
        found[table] = [dict(row) for row in rows]
    return found


@pytest.fixture
def places(
    store: Store, project: Project, add_images: Callable[..., list[Image]]
) -> tuple[list[int], list[int]]:
    made = store.write(lambda c: categories.ensure(c, project.id, ["dog", "cat", "cow"], now=1)[0])
    return [image.id for image in add_images(project, 5)], [category.id for category in made]


def new_cells(places: tuple[list[int], list[int]], seed: int) -> list[bulk.NewCell]:
    chance = random.Random(seed)
    cells = [(image, category) for image in places[0] for category in places[1]]
    chance.shuffle(cells)
    return [
        (f"op-{seed}-{n}", image, category, chance.choice((1, -1, 2)))
        for n, (image, category) in enumerate(cells[:9])
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_rows_are_those_of_single_decisions(
    store: Store, project: Project, user_id: int, places: Any, seed: int
) -> None:
    class Undone(Exception):
        pass

    def one_by_one(c: Any) -> None:
        for number in (seed, seed + 10):
            for op_id, image, category, state in new_cells(places, number):
                if category in decisions.labels_of(c, [image]).get(image, {}):
                    continue
                new = NewDecision(
                    op_id=op_id, image_id=image, category_id=category, state=CellState(state),
                    source=Source.IMPORTED, mode="import",
                )  # fmt: skip
                decisions.record(c, project.id, [new], user_id=user_id, now=NOW)
        wanted.update(tables(c))
        raise Undone

    wanted: dict[str, list[Any]] = {}
    with pytest.raises(Undone):
        store.write(one_by_one)

    def at_once(c: Any) -> list[ImportedCells]:
        return [
            bulk.import_cells(c, project.id, new_cells(places, number), user_id=user_id, now=NOW)
            for number in (seed, seed + 10)
        ]

    first, second = store.write(at_once)
    with store.read() as c:
        assert tables(c) == wanted
    assert first == ImportedCells(stored=9)
    assert second.stored + second.same + second.kept == 9 and second.seen == 0


def test_decided_cells_and_operations_seen_before_are_left_alone(
    store: Store, project: Project, user_id: int, places: Any
) -> None:
    (image, other, *_), (dog, cat, _) = places

    def work(c: Any) -> ImportedCells:
        old = [
            NewDecision(op_id="a", image_id=image, category_id=dog, state=CellState.NEGATIVE),
            NewDecision(op_id="b", image_id=image, category_id=cat, state=CellState.POSITIVE),
            NewDecision(op_id="c", image_id=other, category_id=dog, state=CellState.POSITIVE),
            NewDecision(op_id="d", image_id=other, category_id=dog, state=CellState.UNKNOWN),
        ]
        decisions.record(c, project.id, old, user_id=user_id, now=1)
        cells = [("n1", image, dog, 1), ("n2", image, cat, 1), ("c", other, dog, 1), ("n3", other, cat, 2)]
        return bulk.import_cells(c, project.id, cells, user_id=user_id, now=NOW)

    assert store.write(work) == ImportedCells(stored=1, same=1, kept=1, seen=1)
    with store.read() as c:
        found = decisions.labels_of(c, [image, other])
    assert {key: label.state for key, label in found[image].items()} == {dog: -1, cat: 1}
    assert {key: label.state for key, label in found[other].items()} == {cat: 2}


def test_cells_of_another_project_are_refused_and_nothing_is_left(
    store: Store, project: Project, user_id: int, places: Any
) -> None:
    other = store.write(lambda c: projects.create(c, "other", now=1))
    cells = [("n1", places[0][0], places[1][0], 1)]
    with pytest.raises(ValueError, match="1 cells are of another project"):
        store.write(lambda c: bulk.import_cells(c, other.id, cells, user_id=user_id, now=NOW))
    with store.read() as c:
        assert tables(c)["decision"] == []
    again = store.write(lambda c: bulk.import_cells(c, project.id, cells, user_id=user_id, now=NOW))
    assert again.stored == 1


def test_no_cells_are_no_work(store: Store, project: Project, user_id: int) -> None:
    found = store.write(lambda c: bulk.import_cells(c, project.id, [], user_id=user_id, now=NOW))
    assert found == ImportedCells()
