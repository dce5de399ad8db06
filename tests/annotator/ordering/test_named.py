"""A category without a yes is looked for where categories with similar names are likely."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from annotator.ordering import Grid
from annotator.store import categories
from annotator.suggesting.names import NameVectors, names_file, read_names
from tests.annotator.generation_builder import build
from tests.annotator.ordering.conftest import Desk

CAT, DOG, BOAT = np.eye(3, dtype=np.float32)


def write(desk: Desk, **vectors: np.ndarray) -> None:
    """What the worker writes: vectors of the names that are given here."""
    with desk.store.read() as c:
        active = {one.id: one.name for one in categories.list_active(c, desk.project.id)}
    made = NameVectors(
        source="text",
        names=active,
        vectors={i: vectors[name] for i, name in active.items() if name in vectors},
    )
    path = names_file(desk.settings.data_dir, desk.project.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.to_bytes())


@pytest.fixture
def learnt(desk: Desk) -> Desk:
    """Cats in the first pictures, dogs in the last, boats in the middle; one yes of each."""
    desk.decide(*[(0, k, 1) for k in range(3)])
    place = np.linspace(-4, 4, 16)
    build(desk.store, desk.project, logits=np.stack([-place, place, 4 - place**2], axis=1))
    return desk


def late(desk: Desk, name: str, **vectors: np.ndarray) -> Grid:
    desk.categories.append(desk.add(name))
    write(desk, cat=CAT, dog=DOG, boat=BOAT, **vectors)
    return desk.grid(len(desk.categories) - 1)


def places(desk: Desk, grid: Grid) -> list[int]:
    return [desk.ids.index(cell.image_id) for cell in grid.cells]


def test_a_late_category_is_looked_for_where_its_likest_name_is_likely(learnt: Desk) -> None:
    grid = late(learnt, "wolf", wolf=0.9 * DOG + 0.1 * CAT)
    assert places(learnt, grid) == list(range(15, -1, -1))
    assert "guessed from its name" in grid.why and "dog or cat" in grid.why
    assert all(cell.probability is None for cell in grid.cells)  # an order, no probability
    kitten = late(learnt, "kitten", kitten=CAT)
    assert places(learnt, kitten) == list(range(16))


def test_the_deck_of_the_category_says_the_same(learnt: Desk) -> None:
    late(learnt, "wolf", wolf=DOG)
    found = learnt.deck(category_id=learnt.categories[-1].id)
    assert learnt.places(found) == list(range(15, -1, -1))
    assert found.strategy == "named"
    assert found.questions[0].why == "wolf: guessed from its name, the picture looks like dog or cat"


def test_the_first_yes_ends_the_guess(learnt: Desk) -> None:
    late(learnt, "wolf", wolf=DOG)
    learnt.decide((5, 3, -1))
    assert "guessed" in learnt.grid(3).why
    learnt.decide((6, 3, 1))
    assert "guessed" not in learnt.grid(3).why


def test_what_is_decided_is_not_asked_again(learnt: Desk) -> None:
    late(learnt, "wolf", wolf=DOG)
    learnt.decide((15, 3, -1), (13, 3, 2))
    assert places(learnt, learnt.grid(3, limit=3)) == [14, 12, 11]


def test_a_new_name_is_not_guessed_from_the_old_one(learnt: Desk) -> None:
    late(learnt, "wolf", wolf=DOG)
    category = learnt.categories[3]
    learnt.store.write(lambda c: categories.rename(c, category.id, "ship"))
    assert "guessed" not in learnt.grid(3).why
    write(learnt, cat=CAT, dog=DOG, boat=BOAT, ship=BOAT)
    assert "boat" in learnt.grid(3).why
    assert set(places(learnt, learnt.grid(3, limit=2))) == {7, 8}


def test_without_vectors_nothing_is_guessed(learnt: Desk) -> None:
    grid = late(learnt, "wolf")
    assert "guessed" not in grid.why and len(grid.cells) == 16
    names_file(learnt.settings.data_dir, learnt.project.id).write_bytes(b"no vectors")
    assert "guessed" not in learnt.grid(3).why


def test_one_learnt_name_is_too_few(learnt: Desk) -> None:
    learnt.categories.append(learnt.add("wolf"))
    write(learnt, dog=DOG, wolf=DOG)
    assert "guessed" not in learnt.grid(3).why


def test_at_random_stays_at_random(learnt: Desk) -> None:
    late(learnt, "wolf", wolf=DOG)
    assert "random" in learnt.grid(3, strategy="random").why


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    made = NameVectors(source="glove:x", names={3: "Ärger 猫", 7: "dog"}, vectors={7: DOG})
    path = tmp_path / "names.npz"
    path.write_bytes(made.to_bytes())
    found = read_names(path)
    assert found is not None
    assert (found.source, dict(found.names), list(found.vectors)) == (
        "glove:x",
        {3: "Ärger 猫", 7: "dog"},
        [7],
    )
    assert found.of(7, "dog") is not None and found.of(7, "Dog") is None and found.of(3, "Ärger 猫") is None
    none = NameVectors(source="text", names={}, vectors={})
    path.write_bytes(none.to_bytes())
    assert read_names(path) == none


@pytest.mark.parametrize("damage", [lambda b: b[:50], lambda b: b[:-40], lambda b: b"", lambda b: b"x" * 300])
def test_a_damaged_file_is_none(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    made = NameVectors(source="text", names={7: "dog"}, vectors={7: DOG})
    (tmp_path / "names.npz").write_bytes(damage(made.to_bytes()))
    assert read_names(tmp_path / "names.npz") is None
    assert read_names(tmp_path / "missing.npz") is None
