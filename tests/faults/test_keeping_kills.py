"""R-35: a restore or backup is killed anywhere; live data are the old or the new, whole; nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annotator.keeping.backup import back_up
from annotator.keeping.restore import restore, verify
from annotator.settings import Settings
from annotator.store import Store
from tests.annotator.keeping.world import content, make_world
from tests.faults.claims import Claims, size
from tests.faults.crash_points import copied, kill_at, needs_strace, points_in, spread
from tests.faults.servers import Mother


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    """Does one deed per child."""
    made = Mother("tests.faults.keeping_deed")
    yield made
    made.close()


def prepare(folder: Path, settings: Settings, store: Store) -> tuple[Any, Any]:
    """A folder with data and a backup of an earlier state; what the backup holds, what the data hold."""
    world = make_world(settings, store, folder / "pictures")
    back_up(world.data_dir, folder / "backup.tar")
    earlier = content(world.data_dir)
    world.answer("later", world.ids[4], world.categories[0])
    store.close()
    shutil.copytree(world.data_dir, folder / "data")
    shutil.rmtree(folder / "pictures")
    return earlier, content(folder / "data")


def test_a_restore_killed_anywhere_leaves_the_old_or_the_new_folder(
    mother: Mother, memory_path: Path, claim: Claims, settings: Settings, store: Store
) -> None:
    shown = claim(
        "R-35",
        "A restore killed at any file-changing call leaves the old or the new data, whole.",
        unit="kills",
    )
    needs_strace()
    fresh = memory_path / "fresh"
    earlier, now = prepare(fresh, settings, store)
    found = points_in(mother, fresh, "restore", more_than=5)
    tried = list(spread(found, size(10, len(found))))
    killed = 0
    for place, point in enumerate(tried):
        folder = copied(fresh, f"at-{place}")
        killed += "ended" not in kill_at(mother, folder, point, "restore", str(folder))
        here = content(folder / "data")
        assert here in (earlier, now), f"killed at {point}"
        kept = [content(path) for path in folder.glob("data.before-restore-*")]
        if here == earlier:
            assert now in kept, f"the old data were lost at {point}"
        restore(folder / "backup.tar", folder / "data", replace=True)
        assert content(folder / "data") == earlier, f"repeated after {point}"
        assert not list(folder.glob(".data.restoring")), "the leftover is swept by the next"
        shutil.rmtree(folder)
    assert killed >= 0.8 * len(tried), "most points must really be reached"
    shown.done(killed, points=len(found))


@pytest.mark.parametrize(("deed", "target"), [("backup", "made.tar"), ("backup-folder", "made")])
def test_a_backup_killed_anywhere_is_whole_or_not_there(
    mother: Mother, memory_path: Path, claim: Claims, settings: Settings, store: Store, deed: str, target: str
) -> None:
    shown = claim("R-35", "A backup killed at any file-changing call is whole or not there.", unit="kills")
    needs_strace()
    fresh = memory_path / "fresh"
    _, now = prepare(fresh, settings, store)
    found = points_in(mother, fresh, deed, more_than=5)
    tried = list(spread(found, size(6, len(found))))
    killed = 0
    for place, point in enumerate(tried):
        folder = copied(fresh, f"at-{place}")
        killed += "ended" not in kill_at(mother, folder, point, deed, str(folder))
        assert content(folder / "data") == now
        made = folder / target
        if not made.exists():
            back_up(folder / "data", made)
            assert not list(folder.glob(".made*")), "the leftover is swept by the next"
        verify(made)
        assert [left for place in folder.glob(".made*") for left in place.iterdir()] == []
        shutil.rmtree(folder)
    assert killed >= 0.6 * len(tried), "most points must really be reached"
    shown.done(killed, points=len(found))
