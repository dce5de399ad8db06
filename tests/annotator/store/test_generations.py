"""Which generation is used, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from annotator.errors import Conflict, Gone, NotFound
from annotator.records import Category, Generation, GenerationStatus, Image, Project
from annotator.store import Store, categories, generations, jobs, now_ms, projects, snapshots
from tests.annotator.generation_builder import decide

CURRENT, RETIRED = GenerationStatus.CURRENT, GenerationStatus.RETIRED
REJECTED, REMOVED = GenerationStatus.REJECTED, GenerationStatus.REMOVED


def publish(store: Store, project: Project, *, rejected: bool = False) -> int:
    def work(c):  # type: ignore[no-untyped-def]
        number = generations.reserve(c)
        snapshot = snapshots.freeze(c, project.id, now=1)
        return generations.publish(
            c,
            project_id=project.id,
            snapshot_id=snapshot.id,
            generation_id=number,
            backbone="tiny",
            folder=f"projects/{project.id}/generations/{number:06d}",
            manifest_sha256="0" * 64,
            metrics={},
            now=2,
            rejected=rejected,
        ).id

    made: int = store.write(work)
    return made


def switch(store: Store, project: Project, number: int) -> Generation:
    return store.write(lambda c: generations.switch(c, project.id, number))


def statuses(store: Store, project: Project) -> dict[int, GenerationStatus]:
    with store.read() as c:
        return {one.id: one.status for one in generations.history(c, project.id)}


def test_a_rejected_candidate_leaves_the_current_generation_alone(store: Store, project: Project) -> None:
    first = publish(store, project)
    second = publish(store, project, rejected=True)
    assert statuses(store, project) == {first: CURRENT, second: REJECTED}
    third = publish(store, project)
    assert statuses(store, project) == {first: RETIRED, second: REJECTED, third: CURRENT}


def test_going_back_rejects_what_is_left_and_going_on_retires_it(store: Store, project: Project) -> None:
    first, second = publish(store, project), publish(store, project)
    assert switch(store, project, first).status is CURRENT
    assert statuses(store, project) == {first: CURRENT, second: REJECTED}
    switch(store, project, second)
    assert statuses(store, project) == {first: RETIRED, second: CURRENT}


def test_a_switch_to_the_current_a_removed_or_a_foreign_generation_is_refused(
    store: Store, project: Project
) -> None:
    first, second = publish(store, project), publish(store, project)
    other = store.write(lambda c: projects.create(c, "other", now=1))
    with pytest.raises(Conflict, match=f"Generation {second} is the current one already"):
        switch(store, project, second)
    with pytest.raises(NotFound, match=f"no generation {first}"):
        switch(store, other, first)
    assert store.write(lambda c: generations.mark_removed(c, first))
    with pytest.raises(Conflict, match=f"files of generation {first} were removed"):
        switch(store, project, first)
    assert statuses(store, project) == {first: REMOVED, second: CURRENT}


def test_the_current_generation_is_never_removed(store: Store, project: Project) -> None:
    only = publish(store, project)
    assert not store.write(lambda c: generations.mark_removed(c, only))
    assert statuses(store, project) == {only: CURRENT}


def test_folders_of_archived_projects_are_kept_and_those_of_removed_generations_are_not(
    store: Store, project: Project
) -> None:
    first, second = publish(store, project), publish(store, project)
    store.write(lambda c: generations.mark_removed(c, first))
    store.write(lambda c: projects.set_archived(c, project.id, 5))
    with store.read() as c:
        assert generations.kept_folders(c) == {f"projects/{project.id}/generations/{second:06d}"}


def test_nothing_is_published_into_an_archived_project(store: Store, project: Project) -> None:
    store.write(lambda c: projects.set_archived(c, project.id, 5))
    with pytest.raises(Gone, match="archived while it trained"):
        publish(store, project)
    assert statuses(store, project) == {}


def test_the_jobs_of_an_archived_project_wait_until_it_is_back(store: Store, project: Project) -> None:
    store.write(lambda c: jobs.request(c, project.id, "retrain", wanted_seq=1, now=1))
    store.write(lambda c: projects.set_archived(c, project.id, 5))
    assert store.write(lambda c: jobs.claim(c, owner="w", lease_ms=9, now=6)) is None
    store.write(lambda c: projects.set_archived(c, project.id, None))
    assert store.write(lambda c: jobs.claim(c, owner="w", lease_ms=9, now=7)) is not None


def test_cells_first_decided_after_a_moment(
    store: Store, project: Project, add_images: Callable[..., list[Image]]
) -> None:
    pictures = [image.id for image in add_images(project, 3)]
    made: Category = store.write(lambda c: categories.add(c, project.id, "cat", now=now_ms()))
    seq = decide(store, project, [(pictures[0], made.id, 1)], prefix="before")
    decide(store, project, [(pictures[0], made.id, -1), (pictures[1], made.id, 1)], prefix="after")
    decide(store, project, [(pictures[1], made.id, -1)], prefix="again")
    with store.read() as c:
        assert generations.first_decided_since(c, project.id, seq) == [(pictures[1], made.id)]
        assert len(generations.first_decided_since(c, project.id, 0)) == 2
