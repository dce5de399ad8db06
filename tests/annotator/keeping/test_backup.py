"""A backup holds one moment of everything that cannot be made again, and says what it could not get."""

from __future__ import annotations

import hashlib
import stat
import tarfile
import threading
from pathlib import Path

import pytest

from annotator import __version__
from annotator.errors import Conflict, StoreError
from annotator.importing import shelf
from annotator.keeping import layout
from annotator.keeping.backup import back_up
from annotator.keeping.places import partial
from annotator.keeping.restore import restore, verify
from annotator.store import checks, images
from db.migrate import head
from tests.annotator.keeping.world import World, content, files


def all_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_everything_that_cannot_be_made_again_is_in_and_nothing_else(world: World, tmp_path: Path) -> None:
    for name in (
        "features/tiny/maps.f16",
        "compiled/x",
        "tmp/export",
        "backups/before-0002-1.db",
        "server.lock",
    ):
        (world.data_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (world.data_dir / name).write_bytes(b"can be made again")
    made = back_up(world.data_dir, tmp_path / "backup")
    got = {path.relative_to(made.target).as_posix() for path in all_files(made.target)}
    assert got == {*files(world.data_dir), "annotator.db", "manifest.json"} and not made.remarks
    assert any(name.startswith("canonical/") for name in got)
    assert {f"{world.generation.relative_to(world.data_dir)}/manifest.json"} <= got
    for name, digest in files(world.data_dir).items():
        assert made.manifest.files[name].sha256 == digest


def test_the_list_tells_what_is_in_it(world: World, backup: Path) -> None:
    manifest = verify(backup)
    assert (manifest.program, manifest.schema) == (__version__, head())
    assert manifest.counts["project"] == 2 and manifest.counts["image"] == 6
    assert manifest.counts["decision"] == 9 and manifest.counts["label"] == 7
    assert [(one["name"], one["head_seq"]) for one in manifest.projects] == [("birds", 9), ("other", 0)]
    assert manifest.projects[0]["generation"] == world.generation.relative_to(world.data_dir).as_posix()
    assert manifest.projects[1]["generation"] is None and manifest.pictures


def test_a_tar_backup_is_a_plain_tar_file(world: World, tmp_path: Path) -> None:
    made = back_up(world.data_dir, tmp_path / "b.tar")
    with tarfile.open(made.target) as file:
        members = file.getmembers()
        assert {one.name for one in members} == {*made.manifest.files, "manifest.json"}
        assert all(one.isreg() and one.mode == 0o600 for one in members)
        for one in members:
            extracted = file.extractfile(one)
            assert extracted is not None
            data = extracted.read()
            if one.name != "manifest.json":
                assert hashlib.sha256(data).hexdigest() == made.manifest.files[one.name].sha256


def test_nobody_else_can_read_a_backup(backup: Path) -> None:
    for path in [backup, *backup.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_pictures_can_be_left_out_or_linked(world: World, tmp_path: Path) -> None:
    lean = back_up(world.data_dir, tmp_path / "lean", pictures=False)
    assert not lean.manifest.pictures and not lean.remarks
    assert {name.split("/")[0] for name in lean.manifest.files} == {"annotator.db", "projects"}
    linked = back_up(world.data_dir, tmp_path / "linked", link=True)
    name = next(name for name in linked.manifest.files if name.startswith("originals/"))
    assert (linked.target / name).samefile(world.data_dir / name)
    assert not (linked.target / "annotator.db").samefile(world.settings.database)
    for made in (lean, linked):
        verify(made.target)


@pytest.mark.parametrize("form", ["backup", "backup.tar"])
def test_files_that_are_gone_changed_or_unreadable_are_told_and_the_rest_is_in(
    world: World, tmp_path: Path, form: str
) -> None:
    names = sorted(name for name in files(world.data_dir) if name.startswith("originals/"))
    (world.data_dir / names[0]).unlink()
    (world.data_dir / names[1]).write_bytes(b"other bytes")
    (world.data_dir / names[2]).unlink()
    (world.data_dir / names[2]).mkdir()  # opening it fails, and root may open everything else
    made = back_up(world.data_dir, tmp_path / form)
    assert made.remarks == {
        names[0]: layout.MISSING,
        names[1]: layout.CHANGED,
        names[2]: layout.UNREADABLE,
    }
    assert verify(made.target).remarks == made.remarks
    assert names[1] in made.manifest.files and not {names[0], names[2]} & set(made.manifest.files)


def test_a_file_that_goes_while_the_backup_runs_is_told(world: World, tmp_path: Path) -> None:
    names = sorted(name for name in files(world.data_dir) if name.startswith("thumbnails/"))

    def remove(done: int, _total: int | None, name: str) -> None:
        if name.startswith("originals/") and done == 1:
            (world.data_dir / names[-1]).unlink()

    made = back_up(world.data_dir, tmp_path / "b.tar", on_progress=remove)
    assert made.remarks == {names[-1]: layout.MISSING}
    verify(made.target)


def test_a_picture_that_two_programs_prepared_in_two_ways_has_both_files_in(
    world: World, tmp_path: Path
) -> None:
    """0.1.0 took a JPEG with a colour profile as it is; a newer import into another project does not."""
    with world.store.read() as c:
        old = images.get(c, world.ids[0])
        (twin,) = [one for one in checks.images_after(c, 0) if one.sha256 == old.sha256 and one.id != old.id]
    assert twin.canonical == old.canonical == old.original
    prepared = shelf.canonical(old.sha256, "jpg")
    place = world.data_dir / prepared
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes((world.data_dir / old.original).read_bytes())
    sql = "UPDATE image SET canonical = ? WHERE id = ?"
    world.store.write(lambda c: c.exec_driver_sql(sql, (prepared, twin.id)))
    made = back_up(world.data_dir, tmp_path / "b.tar")
    assert {old.original, prepared} <= set(made.manifest.files)
    verify(made.target)


def test_a_damaged_generation_stays_out_and_is_told(world: World, tmp_path: Path) -> None:
    (world.generation / "logits.npy").write_bytes(b"rot")
    folder = world.generation.relative_to(world.data_dir).as_posix()
    made = back_up(world.data_dir, tmp_path / "b")
    assert made.remarks == {folder: layout.DAMAGED} and made.manifest.projects[0]["generation"] is None
    assert not [name for name in made.manifest.files if name.startswith("projects/")]
    verify(made.target)


def test_a_path_that_no_import_makes_is_never_followed(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(b"secret")
    for path in ("../secret", str(outside), "originals/../../secret", "server.lock"):
        world.store.write(
            lambda c, path=path: c.exec_driver_sql(
                "UPDATE image SET original = ? WHERE id = ?", (path, world.ids[0])
            )
        )
        made = back_up(world.data_dir, tmp_path / f"b{len(path)}")
        assert made.remarks == {path: layout.IMPOSSIBLE}
        assert not [one for one in all_files(made.target) if one.read_bytes() == b"secret"]
        verify(made.target)


def test_a_target_that_is_there_is_not_touched(world: World, tmp_path: Path) -> None:
    for target in (tmp_path / "there", tmp_path / "there.tar"):
        target.write_bytes(b"mine")
        with pytest.raises(Conflict, match="is already there"):
            back_up(world.data_dir, target)
        assert target.read_bytes() == b"mine"
    with pytest.raises(Conflict, match="There is no folder"):
        back_up(world.data_dir, tmp_path / "nowhere" / "b")
    with pytest.raises(StoreError, match="There is no database"):
        back_up(tmp_path / "empty", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_damaged_database_is_not_backed_up(world: World, tmp_path: Path) -> None:
    world.store.close()
    data = bytearray(world.settings.database.read_bytes())
    for start in range(4096 * 3, len(data), 4096):
        data[start : start + 8] = b"\xff" * 8
    world.settings.database.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"annotator\.db"):
        back_up(world.data_dir, tmp_path / "b.tar")
    assert not [path for path in tmp_path.iterdir() if "b.tar" in path.name]


def test_two_backups_to_one_place_do_not_mix(world: World, tmp_path: Path) -> None:
    target = tmp_path / "b"
    with partial(target, "partial"), pytest.raises(Conflict, match="Another run is at work"):
        back_up(world.data_dir, target)
    back_up(world.data_dir, target)
    verify(target)


def test_what_a_killed_backup_left_is_swept_by_the_next(world: World, tmp_path: Path) -> None:
    left = tmp_path / ".b.partial"
    (left / "originals").mkdir(parents=True)
    (left / "annotator.db").write_bytes(b"half")
    made = back_up(world.data_dir, tmp_path / "b")
    assert not left.exists() and verify(made.target)


def test_an_error_while_writing_leaves_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(tmp_path.iterdir())

    def failing(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("annotator.keeping.packing.sync_file", failing)
    with pytest.raises(StoreError, match=r"not be written \(Input/output error\); nothing of it is left"):
        back_up(world.data_dir, tmp_path / "b.tar")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("form", ["backup", "backup.tar"])
def test_every_answer_acknowledged_before_it_began_is_in(world: World, tmp_path: Path, form: str) -> None:
    """Writers go on all the while; what came later may be in, as long as it is whole."""
    acknowledged: list[str] = []
    stop = threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not stop.is_set():
            op = f"load-{writer}-{number:05d}"
            image, category = world.ids[(number + writer) % 5], world.categories[number % 2]
            world.answer(op, image, category)
            acknowledged.append(op)
            number += 1

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    try:
        while len(acknowledged) < 40:
            stop.wait(0.01)
        before = set(acknowledged)
        made = back_up(world.data_dir, tmp_path / form)
        after = len(acknowledged)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert after > len(before), "answers were given while the backup ran"
    restore(made.target, tmp_path / "again")
    ops = {row[1] for row in content(tmp_path / "again")["rows"]["decision"]}
    assert before <= ops and len(ops) == made.manifest.counts["decision"]
