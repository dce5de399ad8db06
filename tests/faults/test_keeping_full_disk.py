"""R-09: an upgrade, backup or restore that runs out of room leaves what was there and nothing half-made."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from annotator.errors import Conflict, DiskFull, StoreError
from annotator.keeping import restore as restoring
from annotator.keeping.backup import back_up
from annotator.keeping.restore import restore, verify
from annotator.settings import Settings
from annotator.store import Store
from db.engine import sqlite_module
from db.migrate import SchemaError, head, revision, upgrade
from tests.annotator.keeping.world import content, make_world
from tests.db.released import dumps, make
from tests.db.test_upgrades import rows
from tests.faults.claims import Claims
from tests.faults.test_full_disk import Filler, disk, filler

__all__ = ["disk", "filler"]
OLD = list(dumps())[-1]
SPARES = (0, 4096, 40_000, 120_000)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"filler"}


def grow(path: Path, megabytes: int) -> None:
    """Make a database so large that the copy before its upgrade is what does not fit."""
    with closing(sqlite_module().connect(str(path))) as connection:
        connection.execute("UPDATE job SET message = ? WHERE id = 1", ("x" * megabytes * 2**20,))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize("megabytes", [0, 3], ids=["small", "large"])
def test_an_upgrade_without_room_leaves_the_old_schema(
    disk: Path, filler: Filler, claim: Claims, megabytes: int
) -> None:
    shown = claim(
        "R-36", "An upgrade on a full disk leaves the old schema; room finishes it.", unit="full disks"
    )
    path = make(OLD, disk / "data" / "annotator.db")
    grow(path, megabytes)
    before, spares = rows(path), [spare + megabytes * 2**19 for spare in SPARES]
    for spare in spares:
        filler.fill(spare)
        with pytest.raises(SchemaError, match="make room and start again"):
            upgrade(path)
        assert revision(path) == OLD and rows(path) == before
        assert not [left for left in (path.parent / "backups").glob("*") if left.name.startswith(".")]
        filler.free()
    upgrade(path)
    assert revision(path) == head() and rows(path) != before
    shown.done(len(spares))


@pytest.mark.parametrize("form", ["backup", "backup.tar"])
def test_a_backup_without_room_leaves_nothing(
    disk: Path, filler: Filler, settings: Settings, store: Store, tmp_path: Path, claim: Claims, form: str
) -> None:
    shown = claim(
        "R-09", "A backup to a full disk leaves nothing, and room makes it work.", unit="full disks"
    )
    world = make_world(settings, store, tmp_path / "pictures")
    for spare in SPARES:
        filler.fill(spare)
        with pytest.raises(DiskFull):
            back_up(world.data_dir, disk / form)
        assert names(disk) == set()
        filler.free()
    verify(back_up(world.data_dir, disk / form).target)
    shown.done(len(SPARES))


def test_a_restore_without_room_leaves_the_old_folder(
    disk: Path,
    filler: Filler,
    settings: Settings,
    store: Store,
    tmp_path: Path,
    claim: Claims,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = claim("R-09", "A restore to a full disk leaves what was there.", unit="full disks")
    world = make_world(settings, store, tmp_path / "pictures")
    backup = back_up(world.data_dir, tmp_path / "b.tar").target
    world.answer("later", world.ids[4], world.categories[0])
    store.close()
    shutil.copytree(world.data_dir, disk / "data")
    before = content(disk / "data")
    monkeypatch.setattr(restoring, "MARGIN_BYTES", -(2**40))  # the check before would end it
    for spare in SPARES:
        filler.fill(spare)
        with pytest.raises(DiskFull):
            restore(backup, disk / "data", replace=True)
        assert names(disk) == {"data"} and content(disk / "data") == before
        filler.free()
    done = restore(backup, disk / "data", replace=True)
    assert done.aside is not None and content(done.aside) == before
    shown.done(len(SPARES))


def test_a_mount_point_is_filled_from_inside_with_the_database_last(
    disk: Path, settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's volume cannot be renamed, so its restore can only begin again, not be half there."""
    world = make_world(settings, store, tmp_path / "pictures")
    backup = back_up(world.data_dir, tmp_path / "b.tar").target
    before = content(world.data_dir)
    store.close()
    real, moved = Path.rename, []

    def stopping(self: Path, target: Path) -> Path:
        if len(moved) == 2:
            raise OSError(5, "Input/output error")
        moved.append(self.name)
        return real(self, target)

    monkeypatch.setattr(restoring, "MARGIN_BYTES", 0)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stopping)
        with pytest.raises(StoreError, match="could not be restored"):
            restore(backup, disk)
    assert names(disk) == set(), "an error takes everything back"
    for left in (restoring.INSIDE, "originals/ab"):  # as a kill does not
        (disk / left).mkdir(parents=True)
    restore(backup, disk)
    assert content(disk) == before
    assert restoring.INSIDE not in names(disk)
    with pytest.raises(Conflict, match="cannot be renamed"):
        restore(backup, disk, replace=True)
    assert content(disk) == before
