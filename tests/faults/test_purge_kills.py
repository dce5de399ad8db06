"""A-47: the removal of a project is killed anywhere; the next run finishes it and touches nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annotator.actions import Actions
from annotator.keeping import purge
from annotator.settings import Settings
from annotator.store import Store, checks, now_ms, projects
from tests.annotator.keeping.world import content, files, make_world
from tests.faults.claims import Claims, size
from tests.faults.crash_points import copied, kill_at, needs_strace, points_in, spread
from tests.faults.servers import Mother

DAY = 24 * 3600 * 1000


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    """Does one deed per child."""
    made = Mother("tests.faults.keeping_deed")
    yield made
    made.close()


def prepare(folder: Path, settings: Settings, store: Store) -> dict[str, Any]:
    """A folder whose first project was archived long ago; what must be left in the end."""
    world = make_world(settings, store, folder / "pictures")
    by = world.actions.accounts.machine()
    world.actions.membership.archive(by, world.project.id, "birds")
    store.write(lambda c: projects.set_archived(c, world.project.id, now_ms() - 31 * DAY))
    store.close()
    shutil.copytree(world.data_dir, folder / "data")
    shutil.rmtree(folder / "pictures")
    return left(folder / "data", world.project.id)


def left(data_dir: Path, project_id: int) -> dict[str, Any]:
    """Rows and files of every project but one."""
    found = content(data_dir)["rows"]
    images = [row for row in found["image"] if row[1] != project_id]
    named = {str(cell) for row in images for cell in row if "/" in str(cell)}
    shown = {name: digest for name, digest in files(data_dir).items() if name in named}
    return {
        "project": [row for row in found["project"] if row[0] != project_id],
        "image": images,
        "files": shown,
    }


def finish(data_dir: Path) -> None:
    """What a person does after the kill: purge again, unless it is gone; a start looks after the rest."""
    settings = Settings(data_dir=data_dir, backbone="tiny")
    store = Store.open(settings)
    with store.read() as c:
        assert (checks.wrong_labels(c), checks.wrong_counts(c)) == (0, 0)
    actions = Actions(store, settings)
    by = actions.accounts.machine()
    for found in actions.removing.leaving(by):
        actions.removing.purge(by, found.project.id, "birds", purge.silent)
    purge.sweep(store)
    store.close()


def test_a_removal_killed_anywhere_is_finished_by_the_next(
    mother: Mother, memory_path: Path, claim: Claims, settings: Settings, store: Store
) -> None:
    shown = claim(
        "A-47",
        "A project's removal killed at any file-changing call is finished by the next; others keep all.",
        unit="kills",
    )
    needs_strace()
    fresh = memory_path / "fresh"
    wanted = prepare(fresh, settings, store)
    assert len(wanted["image"]) == 1 and len(wanted["files"]) == 1, "it shares a picture"
    found = points_in(mother, fresh, "purge", more_than=20)
    tried = list(spread(found, size(10, len(found))))
    killed = 0
    for place, point in enumerate(tried):
        folder = copied(fresh, f"at-{place}")
        killed += "ended" not in kill_at(mother, folder, point, "purge", str(folder))
        finish(folder / "data")
        after = content(folder / "data")
        assert left(folder / "data", 0) == wanted, f"killed at {point}"
        assert after["rows"]["decision"] == after["rows"]["label"] == after["rows"]["generation"] == []
        assert len(after["files"]) == 2, f"one picture and its thumbnail are left, killed at {point}"
        assert list((folder / "data").glob("purging-*")) == []
        shutil.rmtree(folder)
    assert killed >= 0.8 * len(tried), "most points must really be reached"
    shown.done(killed, points=len(found))
