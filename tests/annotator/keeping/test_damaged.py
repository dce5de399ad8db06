"""A backup that is not exactly what was written is refused, and the data folder stays as it is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotator.errors import BadFile
from annotator.keeping.backup import back_up
from annotator.keeping.layout import parse
from annotator.keeping.packing import BLOCK, END, header
from annotator.keeping.restore import restore, verify
from db.engine import sqlite_module
from tests.annotator.keeping.world import World, content
from tests.faults.claims import Claims, size

SEED = 20261126
Harm = Callable[[Path], None]


def names_of(backup: Path) -> list[Path]:
    return sorted(path for path in backup.rglob("*") if path.is_file())


def harm_bytes(data: bytes, rng: random.Random) -> bytes:
    """One bit flipped, a piece cut off, doubled, blanked or exchanged."""
    changed = bytearray(data)
    sort, place = rng.randrange(6), rng.randrange(len(data))
    if sort <= 1:
        changed[place] ^= 1 << rng.randrange(8)
    elif sort == 2:
        del changed[place:]
    elif sort == 3:
        changed[place:place] = data[place : place + 1 + rng.randrange(600)] or b"x"
    elif sort == 4:
        end = min(len(data), place + 1 + rng.randrange(4096))
        changed[place:end] = bytes(end - place)
    else:
        changed += b"\0" * rng.choice((1, 512, 1024))
    return bytes(changed)


def harm_folder(folder: Path, rng: random.Random) -> str:
    """Something wrong in one file of a folder, or with its files."""
    chosen = rng.choice(names_of(folder))
    name = chosen.relative_to(folder).as_posix()
    sort = rng.randrange(5)
    if sort == 0:
        chosen.unlink()
    elif sort == 1:
        (folder / "originals" / "zz").mkdir(exist_ok=True)
        shutil.copy(chosen, folder / "originals" / "zz" / "more.jpg")
    else:
        before = chosen.read_bytes()
        after = before
        while after == before:
            after = harm_bytes(before, rng)
        chosen.write_bytes(after)
    return f"{sort} {name}"


def test_damaged_backups_are_refused_and_the_data_stays(
    world: World, tmp_path: Path, claim: Claims, stop: Callable[[], None]
) -> None:
    shown = claim(
        "N-12", "Damaged backups are refused and leave live data untouched.", unit="backups", seed=SEED
    )
    whole = [back_up(world.data_dir, tmp_path / name).target for name in ("whole", "whole.tar")]
    stop()
    before, rng, refused = content(world.data_dir), random.Random(SEED), 0
    for number in range(size(20, 200)):
        target = tmp_path / ("bad" if number % 2 else "bad.tar")
        if number % 2:
            shutil.copytree(whole[0], target)
            what = harm_folder(target, rng)
        else:
            data = whole[1].read_bytes()
            harmed = data
            while harmed == data:
                harmed = harm_bytes(data, rng)
            target.write_bytes(harmed)
            what = "file"
        with pytest.raises(BadFile):
            restore(target, world.data_dir, replace=True)
            pytest.fail(f"number {number} was restored: {what}")
        assert content(world.data_dir) == before
        assert not [path for path in tmp_path.iterdir() if "restor" in path.name]
        refused += 1
        _remove(target)
    for good in whole:  # they were damaged copies, and the originals are still good
        verify(good)
    shown.done(refused)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def test_every_bit_of_the_ends_of_a_tar_backup_counts(world: World, tmp_path: Path) -> None:
    """Headers, padding and end: no byte of the file is one that nobody checks."""
    good = back_up(world.data_dir, tmp_path / "a.tar", pictures=False).target
    data = good.read_bytes()
    places = [*range(0, BLOCK, 13), *range(len(data) - 2 * BLOCK - 40, len(data), 37)]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1
        good.write_bytes(bytes(changed))
        with pytest.raises(BadFile):
            verify(good)
    for cut in (1, BLOCK, 2 * BLOCK, 2 * BLOCK + 1, len(data) - 10):
        good.write_bytes(data[:-cut])
        with pytest.raises(BadFile):
            verify(good)
    good.write_bytes(data)
    verify(good)


def tar_with(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        for info, data in members:
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o600
    return info


@pytest.mark.parametrize(
    "info",
    [
        member("../escape"),
        member("/etc/escape"),
        member("originals/../../escape"),
        member("originals/ab/.hidden"),
        member("originals//x"),
        member("other/x"),
        member("annotator.db", tarfile.SYMTYPE, "/etc/passwd"),
        member("annotator.db", tarfile.LNKTYPE, "/etc/passwd"),
        member("annotator.db", tarfile.FIFOTYPE),
        member("annotator.db", tarfile.CHRTYPE),
        member("originals", tarfile.DIRTYPE),
        member("a" * 300),
    ],
    ids=lambda info: f"{info.name[:20]} {info.type!r}",
)
def test_a_hostile_tar_file_writes_nothing_anywhere(
    info: tarfile.TarInfo, world: World, tmp_path: Path
) -> None:
    before = content(world.data_dir)
    bad = tar_with(tmp_path / "bad.tar", (info, b"x" if info.type == tarfile.REGTYPE else b""))
    with pytest.raises(BadFile):
        restore(bad, tmp_path / "again")
    assert not (tmp_path / "again").exists() and content(world.data_dir) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar", "data"]
    assert not Path("/etc/escape").exists() and not (tmp_path / "escape").exists()


def rewrite(backup: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the list of a folder backup, with a digest that fits: not rot, but another program's doing."""
    path = backup / "manifest.json"
    listed = json.loads(path.read_bytes())
    del listed["digest"]
    change(listed)
    plain = json.dumps(listed, sort_keys=True, separators=(",", ":")).encode()
    listed["digest"] = hashlib.sha256(plain).hexdigest()
    path.write_bytes(json.dumps(listed, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def set_in(name: str, value: Any) -> Harm:
    return lambda backup: rewrite(backup, lambda listed: listed.update({name: value}))


def edit_database(*statements: str) -> Harm:
    """Change the database of a folder backup and its digest in the list."""

    def harm(backup: Path) -> None:
        path = backup / "annotator.db"
        connection = sqlite_module().connect(str(path))
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()
        entry = [path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()]
        rewrite(backup, lambda listed: listed["files"].update({"annotator.db": entry}))

    return harm


def link_out(backup: Path) -> None:
    path = next(path for path in names_of(backup) if path.parts[-3] == "originals")
    elsewhere = backup.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def linked_folder(backup: Path) -> None:
    (backup / "originals").rename(backup.parent / "elsewhere")
    (backup / "originals").symlink_to(backup.parent / "elsewhere")


def pipe(backup: Path) -> None:
    (backup / "annotator.db").unlink()
    os.mkfifo(backup / "annotator.db")


def plug(backup: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(backup / "originals" / "s"))


def exchange_pictures(backup: Path) -> None:
    """Two originals with each other's bytes, and a list that says so."""
    one, other = [path for path in names_of(backup) if path.parts[-3] == "originals"][:2]
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    first, second = (path.relative_to(backup).as_posix() for path in (one, other))

    def change(listed: dict[str, Any]) -> None:
        files = listed["files"]
        files[first], files[second] = files[second], files[first]

    rewrite(backup, change)


def strange_file(backup: Path) -> None:
    path = backup / "originals" / "ab" / "strange.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    entry = [1, hashlib.sha256(b"x").hexdigest()]
    rewrite(backup, lambda listed: listed["files"].update({"originals/ab/strange.jpg": entry}))


def lose_a_picture(backup: Path) -> None:
    path = next(path for path in names_of(backup) if path.parts[-3] == "thumbnails")
    path.unlink()
    name = path.relative_to(backup).as_posix()
    rewrite(backup, lambda listed: listed["files"].pop(name))


WRONG: dict[str, tuple[Harm, str]] = {
    "newer format": (set_in("format", 99), r"has backup format 99, this program reads format 1"),
    "newer schema": (set_in("schema", "9999"), r"schema '9999'.*knows schemas up to"),
    "another schema": (set_in("schema", "0001"), r"another schema than its list says"),
    "another kind": (set_in("kind", "photos"), r"not a backup of this program"),
    "answers added": (
        edit_database("INSERT INTO project (id, name, created_at) VALUES (9, 'x', 1)"),
        r"other answers than its list says",
    ),
    "label changed": (edit_database("UPDATE label SET state = -state WHERE state = 1"), r"other answers"),
    "references": (
        edit_database("PRAGMA foreign_keys=OFF", "DELETE FROM user WHERE name = 'owner'"),
        r"its database is damaged \(a row of",
    ),
    "no tables": (edit_database("DROP TABLE alembic_version"), r"another schema"),
    "link": (link_out, r"which no backup has"),
    "linked folder": (linked_folder, r"which no backup has"),
    "pipe": (pipe, r"which no backup has"),
    "socket": (plug, r"which no backup has"),
    "exchanged": (exchange_pictures, r"is not the file that its database names"),
    "strange file": (strange_file, r"although its database does not name it"),
    "picture lost": (lose_a_picture, r"is missing from it"),
    "file for a folder": (lambda backup: (backup / "note.txt").write_text("x") and None, r"no backup has"),
    "path out": (set_in("files", {"../x": [1, "0" * 64]}), r"impossible file '\.\./x'"),
    "no list": (lambda backup: (backup / "manifest.json").unlink(), r"it has no list of files"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_a_backup_that_contradicts_itself_is_refused_with_the_reason(
    name: str, world: World, tmp_path: Path
) -> None:
    harm, reason = WRONG[name]
    bad = back_up(world.data_dir, tmp_path / "bad").target
    harm(bad)
    before = content(world.data_dir)
    for act in (lambda: verify(bad), lambda: restore(bad, tmp_path / "again")):
        with pytest.raises(BadFile, match=reason):
            act()
    assert not (tmp_path / "again").exists() and content(world.data_dir) == before


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"kind":"annotator-backup"}', b"[" * 100_000,
        b'{"kind":"annotator-backup","format":1}', b'{"kind":"annotator-backup","format":1,"files":[1]}',
        b'{"kind":"annotator-backup","format":1,"files":{"annotator.db":["1",2]},"projects":[3]}',
    ],
    ids=range(10),
)  # fmt: skip
def test_a_list_that_is_none_is_one_sentence(data: bytes) -> None:
    with pytest.raises(BadFile, match=r"^b: \S"):
        parse("b", data)


@pytest.mark.parametrize(
    "content_", [b"", b"PK\x03\x04 a zip", b"words " * 500, END, header("manifest.json", 2) + b"{}"]
)
def test_some_other_file_is_refused(content_: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.tar"
    path.write_bytes(content_)
    with pytest.raises(BadFile, match=r"^other\.tar: "):
        verify(path)
    with pytest.raises(BadFile, match="there is no such backup"):
        verify(tmp_path / "nothing.tar")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadFile, match="not a backup of this program"):
        verify(tmp_path / "folder")
