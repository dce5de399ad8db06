"""A worker with nothing else to do finishes the removal of a project."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from annotator.actions import Actions
from annotator.keeping import purge
from annotator.records import Image, Project
from annotator.settings import Settings
from annotator.store import Store, images, now_ms, projects
from annotator.worker import loop
from annotator.worker.loop import Worker
from tests.annotator.worker.driving import drain


@pytest.fixture
def put_away(store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]) -> Project:
    add_images(project, 3)
    store.write(lambda c: projects.set_archived(c, project.id, 1))
    return project


def known(store: Store) -> list[str]:
    with store.read() as c:
        rows = c.exec_driver_sql("SELECT name FROM project").scalars()
        return list(rows)


def test_a_removal_that_somebody_began_is_finished_in_a_quiet_moment(
    store: Store, settings: Settings, put_away: Project, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(store, settings)
    drain(worker)
    assert known(store) == ["holiday"], "it is only archived"
    Actions(store, settings).removing.begin(user_id, put_away.id, "holiday")
    drain(worker)
    assert known(store) == ["holiday"], "it has just looked"
    monkeypatch.setattr(loop, "PURGE_S", 0)
    assert worker.step() and known(store) == []
    assert not worker.step(), "then there is nothing to do"


def test_it_begins_one_by_itself_only_where_the_settings_say_so(
    store: Store, settings: Settings, put_away: Project
) -> None:
    by_itself = settings.model_copy(update={"purge_by_itself": True})
    fresh = store.write(lambda c: projects.create(c, "fresh", now=1))
    store.write(lambda c: projects.set_archived(c, fresh.id, now_ms()))
    drain(Worker(store, by_itself))
    assert known(store) == ["fresh"]


def test_a_worker_that_is_to_end_stops_between_two_steps_and_the_next_goes_on(
    store: Store, settings: Settings, put_away: Project, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "PICTURES", 1)
    worker = Worker(store, settings)
    drain(worker)
    Actions(store, settings).removing.begin(user_id, put_away.id, "holiday")
    monkeypatch.setattr(loop, "PURGE_S", 0)
    worker.shutdown.set()
    assert not worker.step(), "nothing was removed whole"
    with store.read() as c:
        assert images.count(c, put_away.id) == 2, "one step of three"
    assert Worker(store, settings).step() and known(store) == []
