"""Every planted fault is found and named, what can be mended is, and nothing that was given is lost."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from annotator.errors import Conflict, StoreError
from annotator.keeping import scan as scanning
from annotator.keeping.backup import silent
from annotator.keeping.doctor import Finding, Level, doctor
from annotator.keeping.files import ORPHANS
from annotator.records import ImageState
from annotator.settings import Settings
from annotator.store import images, jobs
from db.engine import sqlite_module
from db.migrate import upgrade
from tests.annotator.keeping.world import World, content, files
from tests.db.released import make
from tests.faults.claims import Claims

LONG_AGO = time.time() - 3 * 24 * 3600


def visit(
    settings: Settings, *, deep: bool = False, repair: bool = False, accept: bool = False
) -> dict[str, Finding]:
    found = list(doctor(settings, deep=deep, repair=repair, accept_missing=accept, on_progress=silent))
    return {one.check: one for one in found}


def told(settings: Settings, **how: bool) -> dict[str, tuple[Level, int | None]]:
    """What is not fine, by check."""
    return {
        check: (one.level, one.count)
        for check, one in visit(settings, **how).items()
        if one.level is not Level.FINE and check != "room"
    }


def execute(settings: Settings, *statements: str) -> None:
    """Change rows behind the store's back."""
    with closing(sqlite_module().connect(str(settings.database), isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def state_of(world: World, image_id: int) -> ImageState:
    with world.store.read() as c:
        return images.get(c, image_id).state


def file_of(world: World, image_id: int) -> Path:
    with world.store.read() as c:
        return world.data_dir / images.get(c, image_id).original


def test_a_healthy_folder_has_no_problem(world: World) -> None:
    found = visit(world.settings, deep=True)
    assert {one.level for check, one in found.items() if check != "room"} == {Level.FINE}
    assert list(found) == [
        "database", "labels", "counts", "originals", "digests", "8-bit pictures", "thumbnails", "states",
        "orphans", "generations", "temporary", "permissions", "jobs", "room",
    ]  # fmt: skip
    assert found["labels"].words == "0 cells have a label that is not their last decision"


def test_missing_orphaned_and_changed_files_are_found(world: World, claim: Claims) -> None:
    shown = claim(
        "R-29", "A missing, an orphaned and a changed file are each found by the doctor.", unit="faults"
    )
    gone, changed = file_of(world, world.ids[1]), file_of(world, world.ids[2])
    gone.unlink()
    changed.write_bytes(b"other bytes of the same name")
    orphan = world.data_dir / "originals" / "ab" / f"{'ab' * 32}.jpg"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"left by a killed import")
    os.utime(orphan, (LONG_AGO, LONG_AGO))
    found = told(world.settings, deep=True)
    assert found["originals"] == found["digests"] == found["orphans"] == (Level.PROBLEM, 1)
    assert "digests" not in told(world.settings), "only a deep look reads the bytes"
    changed.write_bytes(b"")
    assert told(world.settings)["digests"] == (Level.PROBLEM, 1), "an empty file is seen at once"
    shown.done(3)


def test_repair_moves_orphans_aside_and_deletes_none(world: World, stop: Callable[[], None]) -> None:
    stop()
    paths = [world.data_dir / root / "ab" / f"{'ab' * 32}.jpg" for root in ("originals", "thumbnails")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"orphan")
        os.utime(path, (LONG_AGO, LONG_AGO))
    fresh = world.data_dir / "originals" / "cd" / f"{'cd' * 32}.jpg"
    fresh.parent.mkdir(exist_ok=True)
    fresh.write_bytes(b"an import is about to write its row")
    assert told(world.settings, repair=True)["orphans"] == (Level.REPAIRED, 2)
    for path in paths:
        assert not path.exists()
        assert (world.data_dir / ORPHANS / path.relative_to(world.data_dir)).read_bytes() == b"orphan"
    assert fresh.exists() and "orphans" not in told(world.settings)


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        ("UPDATE label SET state = 2 WHERE state = 1", {"labels", "counts"}),
        ("UPDATE label SET source = 'imported' WHERE state = 1", {"labels"}),
        ("DELETE FROM label WHERE state = 1", {"labels", "counts"}),
        (
            "INSERT INTO label SELECT image_id, category_id, 1, source, user_id, seq, decided_at, NULL, NULL "
            "FROM decision WHERE op_id = 'cleared'",
            {"labels", "counts"},
        ),
        ("UPDATE category_stat SET positive = positive + 1", {"counts"}),
        ("DELETE FROM category_stat", {"counts"}),
    ],
    ids=["state", "source", "lost", "too many", "count", "no counts"],
)
def test_labels_and_counts_are_made_again_from_the_decisions(
    world: World, stop: Callable[[], None], harm: str, expected: set[str]
) -> None:
    stop()
    before = content(world.data_dir)
    execute(world.settings, harm)
    assert content(world.data_dir) != before
    found = told(world.settings)
    assert set(found) == expected and {level for level, _ in found.values()} == {Level.PROBLEM}
    assert all(count for _, count in found.values())
    mended = told(world.settings, repair=True)
    assert set(mended) == expected and {level for level, _ in mended.values()} == {Level.REPAIRED}
    assert content(world.data_dir) == before and told(world.settings) == {}


def test_the_counts_of_wrong_things_are_right(world: World) -> None:
    execute(
        world.settings,
        "UPDATE label SET state = 2 WHERE image_id = (SELECT min(image_id) FROM label)",
        f"UPDATE category_stat SET unsure = 9 WHERE category_id = {world.categories[1]}",
    )
    found = told(world.settings)
    assert found["labels"][1] == 1 and found["counts"][1] == 2


def test_thumbnails_and_8_bit_pictures_are_made_again(world: World, stop: Callable[[], None]) -> None:
    stop()
    before = files(world.data_dir)
    shutil.rmtree(world.data_dir / "thumbnails")
    shutil.rmtree(world.data_dir / "canonical")
    found = told(world.settings)
    assert found["thumbnails"] == (Level.PROBLEM, 6) and found["8-bit pictures"] == (Level.PROBLEM, 1)
    assert found["states"] == (Level.PROBLEM, 1), "what cannot be shown has to be marked"
    assert told(world.settings, repair=True) == {"derived pictures": (Level.REPAIRED, 6)}
    assert files(world.data_dir) == before and told(world.settings) == {}


def test_nothing_is_made_from_an_original_that_is_not_the_one_imported(
    world: World, stop: Callable[[], None]
) -> None:
    shutil.rmtree(world.data_dir / "thumbnails")
    file_of(world, world.ids[1]).write_bytes(file_of(world, world.ids[2]).read_bytes())
    stop()
    found = told(world.settings, repair=True, deep=True)
    assert found["thumbnails"] == (Level.PROBLEM, 1) and found["derived pictures"] == (Level.REPAIRED, 5)
    assert found["digests"] == (Level.PROBLEM, 1)


def test_states_follow_the_files_and_labels_stay(world: World, stop: Callable[[], None]) -> None:
    labels = content(world.data_dir)["rows"]["label"]
    gone, changed = world.ids[1], world.ids[2]
    kept = {image: file_of(world, image).read_bytes() for image in (gone, changed)}
    file_of(world, gone).unlink()
    file_of(world, changed).write_bytes(b"something else")
    seen = scanning.scan(world.store, deep=True, accept_missing=True, on_progress=silent)
    assert {state: len(ids) for state, ids in seen.states.items()} == {
        ImageState.MISSING: 1,
        ImageState.CHANGED: 1,
    }
    assert (state_of(world, gone), state_of(world, changed)) == (ImageState.MISSING, ImageState.CHANGED)
    assert content(world.data_dir)["rows"]["label"] == labels
    for image, data in kept.items():
        file_of(world, image).write_bytes(data)
    scanning.scan(world.store, deep=False, accept_missing=False, on_progress=silent)
    assert (state_of(world, gone), state_of(world, changed)) == (ImageState.READY, ImageState.CHANGED)
    scanning.scan(world.store, deep=True, accept_missing=False, on_progress=silent)
    assert state_of(world, changed) is ImageState.READY, "its bytes were read and are the imported ones"
    assert told(world.settings, deep=True) == {}


def test_a_refused_picture_stays_refused(world: World) -> None:
    world.store.write(lambda c: images.set_state(c, world.ids[0], ImageState.REFUSED))
    scanning.scan(world.store, deep=True, accept_missing=False, on_progress=silent)
    assert state_of(world, world.ids[0]) is ImageState.REFUSED


@pytest.mark.parametrize(
    ("total", "missing", "asks"),
    [
        (1, 1, True),
        (100, 1, False),
        (100, 2, True),
        (5_000, 50, False),
        (20_000, 100, False),
        (20_000, 101, True),
    ],
)
def test_the_guard_asks_beyond_one_in_a_hundred_or_a_hundred(total: int, missing: int, asks: bool) -> None:
    seen = scanning.Seen(total=total, states={ImageState.MISSING: list(range(missing))})
    assert scanning.too_many(seen) is asks


def test_an_empty_mount_marks_nothing_until_a_person_says_so(world: World, claim: Claims) -> None:
    shown = claim(
        "R-29", "When the files of all pictures are gone, no picture is marked unless asked.", unit="scans"
    )
    before = content(world.data_dir)["rows"]
    (world.data_dir / "originals").rename(world.data_dir / "not mounted")
    with pytest.raises(Conflict, match=r"5 of 6 pictures are missing from .*--accept-missing"):
        scanning.scan(world.store, deep=True, accept_missing=False, on_progress=silent)
    assert content(world.data_dir)["rows"] == before
    scanning.scan(world.store, deep=True, accept_missing=True, on_progress=silent)
    assert state_of(world, world.ids[0]) is ImageState.MISSING
    (world.data_dir / "not mounted").rename(world.data_dir / "originals")
    scanning.scan(world.store, deep=False, accept_missing=False, on_progress=silent)
    assert content(world.data_dir)["rows"] == before
    shown.done(3)


def test_repair_asks_too_and_mends_the_rest(world: World, stop: Callable[[], None]) -> None:
    stop()
    shutil.rmtree(world.data_dir / "originals")
    execute(world.settings, "DELETE FROM category_stat")
    found = visit(world.settings, repair=True)
    assert found["states"].level is Level.PROBLEM and "--accept-missing" in found["states"].words
    assert found["counts"].level is Level.REPAIRED
    assert state_of_closed(world, "missing") == 0
    accepted = told(world.settings, repair=True, accept=True)
    assert accepted["states"] == (Level.REPAIRED, 5) and state_of_closed(world, "missing") == 5


def state_of_closed(world: World, state: str) -> int:
    return [row[7] for row in content(world.data_dir)["rows"]["image"]].count(state)


@pytest.mark.parametrize("deep", [False, True])
def test_a_damaged_generation_is_found_and_a_training_asked_for(
    world: World, stop: Callable[[], None], deep: bool
) -> None:
    stop()
    data = bytearray((world.generation / "logits.npy").read_bytes())
    data[-1] ^= 1
    (world.generation / "logits.npy").write_bytes(bytes(data) if deep else bytes(data[:-1]))
    assert "logits.npy" in visit(world.settings, deep=deep)["generations"].words
    assert told(world.settings, deep=deep) == {"generations": (Level.PROBLEM, None)}
    words = visit(world.settings, deep=deep, repair=True)["generations"].words
    assert "training that replaces it was asked for" in words
    asked = content(world.data_dir)["rows"]["job"]
    assert len([row for row in asked if "retrain" in row and "queued" in row]) == 1
    (world.generation / "manifest.json").write_bytes(b"{}")
    assert "is not the manifest that was published" in visit(world.settings)["generations"].words
    shutil.rmtree(world.generation)
    assert told(world.settings, deep=deep)["generations"] == (Level.PROBLEM, None)


def test_leftovers_of_killed_runs_are_removed_when_they_are_old(
    world: World, stop: Callable[[], None]
) -> None:
    stop()
    names = ("incoming/1234", "tmp/export-1", "projects/1/generations/.000009.ab.tmp", ".cd.tmp")
    for name in names:
        (world.data_dir / name).mkdir(parents=True)
        (world.data_dir / name / "half").write_bytes(b"half")
    assert "temporary" not in told(world.settings), "somebody may be at work on them"
    for name in names:
        os.utime(world.data_dir / name, (LONG_AGO, LONG_AGO))
    beside = world.data_dir.parent / ".data.restoring"
    beside.mkdir()
    os.utime(beside, (LONG_AGO, LONG_AGO))
    assert told(world.settings)["temporary"] == (Level.PROBLEM, 5)
    before = content(world.data_dir)["rows"]
    assert told(world.settings, repair=True)["temporary"] == (Level.REPAIRED, 5)
    assert not beside.exists()
    assert not [name for name in names if (world.data_dir / name).exists()]
    assert content(world.data_dir)["rows"] == before and world.generation.is_dir()


def test_what_others_could_read_is_closed(world: World, stop: Callable[[], None]) -> None:
    stop()
    world.data_dir.chmod(0o755)
    world.settings.database.chmod(0o644)
    found = visit(world.settings)["permissions"]
    assert found.level is Level.PROBLEM and "annotator.db" in found.words and "data" in found.words
    assert told(world.settings, repair=True)["permissions"][0] is Level.REPAIRED
    assert "permissions" not in told(world.settings)
    assert stat.S_IMODE(world.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(world.settings.database.stat().st_mode) == 0o600


def test_jobs_of_a_dead_worker_and_little_room_are_worth_a_note(world: World) -> None:
    def claimed(c: object) -> None:
        jobs.request(c, world.project.id, "retrain", wanted_seq=1, now=1)
        jobs.claim(c, owner="dead", lease_ms=1, now=1)

    world.store.write(claimed)
    assert told(world.settings) == {"jobs": (Level.NOTE, 1)}
    tight = world.settings.model_copy(update={"disk_low_percent": 100.0})
    assert visit(tight)["room"].level is Level.NOTE


def test_repair_is_refused_while_a_server_runs_and_a_look_is_not(world: World) -> None:
    with (world.data_dir / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="stop it first"):
            visit(world.settings, repair=True)
        assert told(world.settings) == {}


def test_a_database_that_cannot_be_used_is_the_only_finding(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    assert "there is no database" in visit(settings)["database"].words
    make("0001", settings.database)
    assert list(visit(settings)) == ["database"]
    assert "run `annotator migrate`" in visit(settings)["database"].words
    kept = upgrade(settings.database)
    assert kept is not None
    execute(settings, "PRAGMA foreign_keys=OFF", "DELETE FROM image")
    words = visit(settings)["database"].words
    assert "the file is damaged" in words and str(kept.parent) in words and "annotator restore" in words
    settings.database.write_bytes(b"not a database, by far" * 100)
    assert list(visit(settings, repair=True)) == ["database"]
    assert "cannot be read" in visit(settings)["database"].words


def test_a_newer_database_is_left_alone(world: World, stop: Callable[[], None]) -> None:
    execute(world.settings, "UPDATE alembic_version SET version_num = '9999'")
    stop()
    words = visit(world.settings, repair=True)["database"].words
    assert "newer than this program" in words and "restore" not in words


def test_every_line_reads_well_and_says_what_repair_would_do(world: World, stop: Callable[[], None]) -> None:
    stop()
    fine = visit(world.settings)["permissions"]
    assert fine.words == "0 files and folders can be read by other users"
    world.data_dir.chmod(0o755)
    stray = world.data_dir / "thumbnails" / "stray.jpg"
    stray.write_bytes(b"?")
    os.utime(stray, (0, 0))
    found = visit(world.settings)
    assert found["permissions"].words.endswith("can be read by other users; --repair closes them (data)")
    assert found["orphans"].words == "1 files belong to no picture; --repair moves them to orphans/"


def test_a_folder_of_another_user_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restoring a backup over it would be the wrong advice."""
    settings = Settings(data_dir=tmp_path)
    settings.database.write_bytes(b"what cannot be read" * 100)
    assert "annotator restore" in visit(settings)["database"].words
    monkeypatch.setattr(os, "access", lambda *_: False)
    words = visit(settings)["database"].words
    assert "the user whom the folder belongs to" in words and "restore" not in words
