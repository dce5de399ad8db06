"""What is frozen is one moment: labels, ids, keys and paths that belong together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from annotator.records import CellState, Image, ImageState, NewDecision, Project, Source
from annotator.snapshotting import freeze
from annotator.store import Store, categories, decisions, images, snapshots


def decide(store: Store, project: Project, *cells: tuple[int, int, CellState]) -> None:
    def work(c: object) -> None:
        start = decisions.head_seq(c, project.id)  # type: ignore[arg-type]
        new = [
            NewDecision(op_id=f"{start}-{place}", image_id=image, category_id=category, state=state)
            for place, (image, category, state) in enumerate(cells)
        ]
        decisions.record(c, project.id, new, user_id=1, now=1)  # type: ignore[arg-type]

    store.write(work)


def test_frozen_rows_and_columns_belong_together(
    store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]
) -> None:
    pictures = add_images(project, 4)
    dog, cat, gone = store.write(lambda c: categories.ensure(c, project.id, ["dog", "cat", "gone"], now=1)[0])
    decide(
        store,
        project,
        (pictures[0].id, dog.id, CellState.POSITIVE),
        (pictures[3].id, cat.id, CellState.NEGATIVE),
        (pictures[1].id, cat.id, CellState.UNSURE),
        (pictures[1].id, gone.id, CellState.POSITIVE),
        (pictures[2].id, dog.id, CellState.POSITIVE),
    )
    store.write(lambda c: categories.archive(c, gone.id, now=2))
    store.write(lambda c: images.set_state(c, pictures[2].id, ImageState.MISSING))
    frozen = freeze(store, project.id)
    usable = [pictures[0], pictures[1], pictures[3]]
    assert frozen.image_ids.tolist() == [image.id for image in usable]
    assert frozen.category_ids.tolist() == [dog.id, cat.id]
    assert [category.name for category in frozen.categories] == ["dog", "cat"]
    assert frozen.labels.dtype == np.int8
    assert frozen.labels.tolist() == [[1, 0], [0, 0], [0, -1]]
    assert frozen.keys == [image.sha256 for image in usable]
    assert frozen.paths == [store.data_dir / image.canonical for image in usable]
    assert frozen.snapshot.up_to_seq == 5
    with store.read() as c:
        assert snapshots.get(c, frozen.snapshot.id) == frozen.snapshot


def test_it_is_known_which_cells_a_strategy_asked(
    store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]
) -> None:
    first, second = add_images(project, 2)
    names = ["key", "group", "bulk", "drawn", "read", "derived", "unsure", "undone", "again", "none"]
    ids = {
        one.name: one.id for one in store.write(lambda c: categories.ensure(c, project.id, names, now=1)[0])
    }

    def say(
        name: str, state: CellState, source: Source = Source.HUMAN, *, drawn: bool = False
    ) -> NewDecision:
        said.append(name)
        return NewDecision(
            op_id=str(len(said)),
            image_id=first.id,
            category_id=ids[name],
            state=state,
            source=source,
            random_stream=drawn,
        )

    said: list[str] = []
    yes, no = CellState.POSITIVE, CellState.NEGATIVE
    new = [
        say("key", yes),
        say("group", no, Source.GROUP),
        say("bulk", yes, Source.BULK),
        say("drawn", yes, drawn=True),
        say("read", no, Source.IMPORTED),
        say("derived", no, Source.DERIVED),
        say("unsure", CellState.UNSURE),
        say("undone", yes),
        say("undone", CellState.UNKNOWN),
        say("again", yes),
        say("again", no, drawn=True),
    ]
    store.write(lambda c: decisions.record(c, project.id, new, user_id=1, now=1))
    frozen = freeze(store, project.id)
    assert frozen.by_strategy.shape == frozen.labels.shape and frozen.by_strategy.dtype == bool
    columns = dict(zip(frozen.category_ids.tolist(), frozen.by_strategy.T, strict=True))
    asked = {name for name in names if columns[ids[name]][0]}
    assert asked == {"key", "group", "bulk"}, "the last answer of a cell counts"
    assert not frozen.by_strategy[1].any() and second.id == frozen.image_ids[1]


def test_freezing_twice_without_a_change_is_one_snapshot(
    store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]
) -> None:
    image = add_images(project, 1)[0]
    dog = store.write(lambda c: categories.add(c, project.id, "dog", now=1))
    decide(store, project, (image.id, dog.id, CellState.POSITIVE))
    first, again = freeze(store, project.id), freeze(store, project.id)
    assert first.snapshot == again.snapshot
    decide(store, project, (image.id, dog.id, CellState.UNKNOWN))
    after = freeze(store, project.id)
    assert after.snapshot.id != first.snapshot.id
    assert after.labels.tolist() == [[0]]


def test_an_empty_project_freezes_to_empty_arrays(store: Store, project: Project) -> None:
    frozen = freeze(store, project.id)
    assert frozen.labels.shape == (0, 0)
    assert (frozen.keys, frozen.paths) == ([], [])


def test_decisions_made_while_freezing_are_not_half_in(
    store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]
) -> None:
    pictures = add_images(project, 3)
    dog = store.write(lambda c: categories.add(c, project.id, "dog", now=1))
    with store.read() as c:
        before = snapshots.describe(c, project.id)
        decide(store, project, (pictures[0].id, dog.id, CellState.POSITIVE))
        matrix = snapshots.label_matrix(c, project.id, [p.id for p in pictures], [dog.id])
        assert snapshots.describe(c, project.id) == before
    assert matrix.tolist() == [[0], [0], [0]]
