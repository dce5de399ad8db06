"""A restore brings back what a backup holds, whole, or changes nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotator.actions import Actions
from annotator.errors import Conflict, DiskFull, StoreError
from annotator.keeping import places
from annotator.keeping import restore as restoring
from annotator.keeping.backup import back_up
from annotator.keeping.restore import restore, verify
from annotator.records import GenerationStatus
from annotator.settings import Settings
from annotator.store import Store, checks, generations
from annotator.store.clock import now_ms
from annotator.ui.generations import choices
from tests.annotator.generation_builder import build
from tests.annotator.keeping.world import World, content, files
from tests.db.released import make

Stop = Callable[[], None]


def aside_of(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.glob("data.before-restore-*"))


def hidden(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith("."))


def test_a_restored_folder_holds_what_was_backed_up_and_can_be_served(
    world: World, backup: Path, tmp_path: Path
) -> None:
    before = content(world.data_dir)
    world.answer("later", world.ids[4], world.categories[0])
    done = restore(backup, tmp_path / "again")
    assert content(tmp_path / "again") == before and done.aside is None
    store = Store.open(Settings(data_dir=tmp_path / "again", backbone="tiny"))
    with store.read() as c:
        assert (checks.wrong_labels(c), checks.wrong_counts(c)) == (0, 0)
    store.close()
    assert hidden(tmp_path) == []


def test_nobody_else_can_read_what_was_restored(backup: Path, tmp_path: Path) -> None:
    restore(backup, tmp_path / "again")
    for path in [tmp_path / "again", *(tmp_path / "again").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_backup_without_pictures_brings_back_every_answer(world: World, tmp_path: Path) -> None:
    before = content(world.data_dir)
    made = back_up(world.data_dir, tmp_path / "b.tar", pictures=False)
    restore(made.target, tmp_path / "again")
    assert content(tmp_path / "again")["rows"] == before["rows"]
    assert files(tmp_path / "again", roots=("originals", "canonical", "thumbnails")) == {}


def test_generations_whose_files_are_not_in_the_backup_are_not_offered_after_a_restore(
    world: World, tmp_path: Path
) -> None:
    build(world.store, world.project)  # so the first one is kept, and not in the backup
    with world.store.read() as c:
        newest, first = generations.history(c, world.project.id)
    assert (first.status, newest.status) == (GenerationStatus.RETIRED, GenerationStatus.CURRENT)
    restore(back_up(world.data_dir, tmp_path / "b").target, tmp_path / "again")
    settings = Settings(data_dir=tmp_path / "again", backbone="tiny")
    store = Store.open(settings)
    known = Actions(store, settings).generations(world.project.id)
    assert [one.status for one in known] == [GenerationStatus.CURRENT, GenerationStatus.REMOVED]
    assert choices(known) == ()
    with pytest.raises(Conflict, match="were removed"):
        Actions(store, settings).roll_back(world.project.id, first.id)
    store.close()
    with world.store.read() as c:
        assert generations.get(c, first.id).status is GenerationStatus.RETIRED, "only the restored one"


def test_everybody_has_to_sign_in_again(world: World, tmp_path: Path) -> None:
    world.store.write(
        lambda c: c.exec_driver_sql(
            "INSERT INTO session (token_sha256, user_id, created_at, expires_at) VALUES ('ab', 1, 1, ?)",
            (now_ms() + 10**9,),
        )
    )
    made = back_up(world.data_dir, tmp_path / "b")
    restore(made.target, tmp_path / "again")
    store = Store.open(Settings(data_dir=tmp_path / "again", backbone="tiny"))
    with store.read() as c:
        assert c.exec_driver_sql("SELECT count(*) FROM session").scalar_one() == 0
    store.close()


def test_an_old_backup_of_an_older_schema_is_restored_and_upgraded_at_the_next_start(tmp_path: Path) -> None:
    make("0001", tmp_path / "old" / "annotator.db")
    made = back_up(tmp_path / "old", tmp_path / "b.tar", pictures=False)
    assert made.manifest.schema == "0001"
    restore(made.target, tmp_path / "again")
    rows = content(tmp_path / "again")["rows"]
    assert len(rows["decision"]) == 16 and len(rows["label"]) == 10


@pytest.mark.parametrize("exchange", [True, False], ids=["in one step", "in two steps"])
def test_replace_keeps_what_was_there(
    world: World, backup: Path, tmp_path: Path, stop: Stop, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(world.data_dir)
    world.answer("later", world.ids[4], world.categories[0])
    stop()
    later = content(world.data_dir)
    if not exchange:

        def unable(_one: Path, _other: Path) -> None:
            raise OSError(errno.ENOSYS, "not here")

        monkeypatch.setattr(places, "_exchange", unable)
    done = restore(backup, world.data_dir, replace=True)
    assert done.aside is not None and aside_of(tmp_path) == [done.aside]
    assert content(world.data_dir) == before and content(done.aside) == later != before
    assert hidden(tmp_path) == []
    again = restore(backup, world.data_dir, replace=True)
    assert again.aside not in (None, done.aside) and len(aside_of(tmp_path)) == 2


def test_a_folder_that_holds_anything_is_not_touched_without_replace(backup: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "letter.txt").write_text("dear")
    with pytest.raises(Conflict, match="is not empty"):
        restore(backup, place)
    assert [path.name for path in place.iterdir()] == ["letter.txt"]
    (place / "letter.txt").unlink()
    restore(backup, place)
    assert (place / "annotator.db").is_file()


def test_places_that_cannot_be_are_refused(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Conflict, match="is not a folder"):
        restore(backup, tmp_path / "file")
    with pytest.raises(Conflict, match="There is no folder"):
        restore(backup, tmp_path / "no" / "where")


@pytest.mark.parametrize("name", ["server.lock", "worker.lock"])
def test_a_running_server_or_worker_is_not_robbed_of_its_folder(
    world: World, backup: Path, tmp_path: Path, stop: Stop, name: str
) -> None:
    stop()
    before = content(world.data_dir)
    with (world.data_dir / name).open("w") as lock:
        lock.write('{"pid": 4711, "server": null}' if name == "worker.lock" else "4711 on host")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(
            StoreError, match=r"is in use by another annotator \(process 4711.*\); stop it first"
        ):
            restore(backup, world.data_dir, replace=True)
    assert content(world.data_dir) == before and aside_of(tmp_path) == []
    restore(backup, world.data_dir, replace=True)


def test_too_little_room_is_said_before_anything_is_written(
    world: World, backup: Path, tmp_path: Path, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop()
    before = content(world.data_dir)
    monkeypatch.setattr(restoring, "MARGIN_BYTES", 2**60)
    with pytest.raises(DiskFull, match="MiB"):
        restore(backup, world.data_dir, replace=True)
    assert content(world.data_dir) == before and aside_of(tmp_path) == [] and hidden(tmp_path) == []


@pytest.mark.parametrize("moment", ["end_sessions", "check", "put_in_place"])
def test_an_error_at_any_moment_leaves_the_old_folder(
    world: World, backup: Path, tmp_path: Path, stop: Stop, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop()
    before = content(world.data_dir)

    def failing(*_given: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    target = restoring.backups if moment == "end_sessions" else restoring
    monkeypatch.setattr(target, moment, failing)
    with pytest.raises(StoreError, match=r"could not be restored to .*what was there is as it was"):
        restore(backup, world.data_dir, replace=True)
    assert content(world.data_dir) == before and aside_of(tmp_path) == [] and hidden(tmp_path) == []


def test_an_exchange_that_fails_gives_both_folders_their_names_back(
    world: World, backup: Path, tmp_path: Path, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop()
    before = content(world.data_dir)
    real = places._exchange

    def busy(one: Path, other: Path) -> None:
        if other == world.data_dir:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        real(one, other)

    monkeypatch.setattr(places, "_exchange", busy)
    with pytest.raises(StoreError, match="busy"):
        restore(backup, world.data_dir, replace=True)
    assert content(world.data_dir) == before and aside_of(tmp_path) == [] and hidden(tmp_path) == []


def test_verify_changes_nothing_anywhere(world: World, backup: Path, tmp_path: Path) -> None:
    before, names = content(world.data_dir), sorted(path.name for path in tmp_path.iterdir())
    verify(backup)
    assert content(world.data_dir) == before and sorted(path.name for path in tmp_path.iterdir()) == names
