"""A backup back into a data folder: checked whole in a folder beside, then put in place in one step."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from annotator.artifacts import sync_folder
from annotator.errors import Conflict, DiskFull, StoreError, is_full, no_room
from annotator.keeping import layout
from annotator.keeping.backup import Progress, silent
from annotator.keeping.checking import check, check_schema
from annotator.keeping.layout import Manifest
from annotator.keeping.places import nobody_at_work, partial, put_in_place
from annotator.keeping.unpacking import Sink, size_of, unpack
from annotator.store import backups

MARGIN_BYTES = 64 * 2**20  # room that must be left after a restore
INSIDE = ".data.restoring"  # folder inside a data folder that cannot be renamed, while its files come in
_OURS = frozenset({"lost+found", INSIDE})


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A finished restore; `aside`: where the folder lies that was there before, None when there was none."""

    manifest: Manifest
    aside: Path | None


def verify(backup: Path, on_progress: Progress = silent) -> Manifest:
    """Check a backup completely without restoring it; BadFile says what is wrong."""
    size_of(backup)
    with tempfile.TemporaryDirectory(prefix="annotator-verify-") as scratch:
        database = Path(scratch) / layout.DATABASE
        manifest = unpack(backup, lambda name: database if name == layout.DATABASE else None, on_progress)
        check_schema(backup.name, manifest)
        check(backup.name, manifest, database)
    return manifest


def restore(
    backup: Path, data_dir: Path, *, replace: bool = False, on_progress: Progress = silent
) -> Restored:
    """Make `data_dir` what `backup` holds, or leave it as it is.

    BadFile when the backup is not whole and sound, Conflict when the folder holds data and `replace` was not
    asked for, StoreError when a server runs there or the disk refuses. `replace` keeps the folder that was
    there under another name. Everybody has to sign in again after.
    """
    data_dir = data_dir.resolve()
    occupied = _check_place(data_dir, replace=replace)
    _check_room(backup, data_dir)
    inside = data_dir.is_dir() and data_dir.is_mount()
    try:
        with partial(data_dir / "data" if inside else data_dir, "restoring") as staging:
            manifest = _unpacked(backup, staging, on_progress)
            if inside:
                _move_in(staging, data_dir)
                return Restored(manifest=manifest, aside=None)
            aside = _aside(data_dir) if occupied else None
            _swap(staging, data_dir, aside)
    except OSError as error:
        if is_full(error):
            raise no_room(f"The backup could not be restored to {data_dir}") from error
        raise StoreError(
            f"The backup could not be restored to {data_dir} ({error.strerror or error}); "
            "what was there is as it was."
        ) from error
    return Restored(manifest=manifest, aside=aside)


def _check_place(data_dir: Path, *, replace: bool) -> bool:
    """Whether there is data to be kept aside; refuse what cannot or may not be replaced."""
    if data_dir.exists() and not data_dir.is_dir():
        raise Conflict(f"{data_dir} is not a folder.")
    if not data_dir.parent.is_dir():
        raise Conflict(f"There is no folder {data_dir.parent} to restore into.")
    found = {path.name for path in data_dir.iterdir()} if data_dir.is_dir() else set()
    if layout.DATABASE not in found and (data_dir / INSIDE).is_dir():
        return False  # an earlier restore was killed while its files came in
    if not found - _OURS:
        return False
    if not replace:
        raise Conflict(
            f"{data_dir} is not empty; restore to an empty folder, or add --replace, "
            "which keeps what is there under another name."
        )
    if data_dir.is_mount():
        raise Conflict(
            f"{data_dir} is the root of a file system and cannot be renamed; move its content away first."
        )
    with nobody_at_work(data_dir):
        return True


def _check_room(backup: Path, data_dir: Path) -> None:
    place = data_dir if data_dir.is_dir() and data_dir.is_mount() else data_dir.parent
    wanted, free = size_of(backup) + MARGIN_BYTES, shutil.disk_usage(place).free
    if wanted > free:
        raise DiskFull(
            f"The backup needs {wanted / 2**20:.0f} MiB beside {data_dir}, where {free / 2**20:.0f} are free."
        )


def _unpacked(backup: Path, staging: Path, on_progress: Progress) -> Manifest:
    manifest = unpack(backup, _into(staging), on_progress)
    check_schema(backup.name, manifest)
    check(backup.name, manifest, staging / layout.DATABASE)
    backups.end_sessions(staging / layout.DATABASE)
    backups.mark_files_absent(staging / layout.DATABASE)
    os.sync()
    return manifest


def _into(staging: Path) -> Sink:
    """Files to their names below a folder; the names were found plain before."""

    def sink(name: str) -> Path:
        path = staging / name
        for part in [*reversed(path.relative_to(staging).parents)][1:]:
            (staging / part).mkdir(mode=0o700, exist_ok=True)
        return path

    return sink


def _swap(staging: Path, data_dir: Path, aside: Path | None) -> None:
    if aside is None:
        put_in_place(staging, data_dir, None)
        return
    with nobody_at_work(data_dir):
        put_in_place(staging, data_dir, aside)


def _move_in(staging: Path, data_dir: Path) -> None:
    """Into a folder that cannot be renamed, the database last: without it, it counts as no data folder."""
    names = sorted(path.name for path in staging.iterdir() if path.name != layout.DATABASE)
    try:
        for name in [*names, layout.DATABASE]:
            if (data_dir / name).is_dir():  # of a restore that was killed
                shutil.rmtree(data_dir / name)
            (staging / name).rename(data_dir / name)
    except OSError:
        for name in names:
            shutil.rmtree(data_dir / name, ignore_errors=True)
        raise
    sync_folder(data_dir)


def _aside(data_dir: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    first = data_dir.with_name(f"{data_dir.name}.before-restore-{stamp}")
    number, path = 1, first
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path
