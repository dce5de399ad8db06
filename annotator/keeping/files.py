"""Files that the database does not speak of: orphans, leftovers, their modes; and damaged generations."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from annotator import artifacts
from annotator.errors import ArtifactDamaged
from annotator.importing import shelf
from annotator.keeping.layout import DATABASE, PICTURES
from annotator.records import Image

ORPHANS = "orphans"
FRESH_SECONDS = 600.0  # an import puts files in place seconds before their rows
STALE_SECONDS = 24 * 3600.0  # temporary files that old belong to nobody who is still at work
_TEMPORARY = (
    "incoming/*",
    "tmp/*",
    "projects/*/generations/.*.tmp",
    "*/*/.*.tmp",
    ".*.tmp",
    "backups/.*.tmp",
)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def thumbnail(image: Image) -> str:
    """Path of a picture's thumbnail, relative to the data folder."""
    return shelf.thumbnail(image.sha256)


def orphans(data_dir: Path, known: Collection[str]) -> list[Path]:
    """Picture files that are not among `known` (relative paths) and not of an import that goes on now."""
    now = time.time()
    return [
        path
        for root in PICTURES
        for path in sorted((data_dir / root).rglob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and path.relative_to(data_dir).as_posix() not in known
        and now - path.stat().st_mtime > FRESH_SECONDS
    ]


def put_aside(data_dir: Path, found: Sequence[Path]) -> None:
    """Move files to `orphans/`, under the path they had; nothing is deleted or overwritten."""
    for path in found:
        target = data_dir / ORPHANS / path.relative_to(data_dir)
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


def left_over(data_dir: Path) -> list[Path]:
    """Temporary files and folders that are older than a day."""
    now = time.time()
    beside = data_dir.parent.glob(f".{data_dir.name}.restoring")  # of a restore that was killed
    found = [path for pattern in _TEMPORARY for path in sorted(data_dir.glob(pattern))]
    return [path for path in (*found, *beside) if now - path.lstat().st_mtime > STALE_SECONDS]


def remove(found: Sequence[Path]) -> None:
    """Remove temporary files and folders."""
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def too_open(data_dir: Path) -> list[Path]:
    """The data folder, its database and its copies, as far as other users of the machine can get at them."""
    return [path for path in _secret(data_dir) if path.stat().st_mode & _OTHERS]


def close(found: Sequence[Path]) -> None:
    """Take all rights from other users."""
    for path in found:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_OTHERS)


def generation_problem(folder: Path, manifest_sha256: str, *, deep: bool) -> str:
    """What is wrong with a published generation, in one sentence; empty when nothing is.

    Not `deep`: its manifest is the published one, and every file has the size it tells.
    """
    try:
        if deep:
            artifacts.verify(folder, manifest_sha256)
            return ""
        return _sizes_problem(folder, manifest_sha256)
    except ArtifactDamaged as error:
        return str(error)


def _sizes_problem(folder: Path, manifest_sha256: str) -> str:
    path = folder / artifacts.MANIFEST
    if not path.is_file():
        return f"{path} is missing."
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest_sha256:
        return f"{path} is not the manifest that was published."
    for name, entry in json.loads(data)["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            return f"{file} is missing or has another size than when it was published."
    return ""


def _secret(data_dir: Path) -> Iterator[Path]:
    yield data_dir
    yield from data_dir.glob(f"{DATABASE}*")
    yield from data_dir.glob("backups")
    yield from data_dir.glob("backups/*.db")
