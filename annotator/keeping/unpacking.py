"""Reading a backup strictly: what is not exactly as a backup is written is refused.

The tar reader is ours and small. It knows plain files only, and holds every header, every padding byte and
the end against what the writer would have put there: no link, device, path out of the folder or hidden entry
has a place to be, and no byte of the file goes unchecked.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from annotator.errors import BadFile
from annotator.keeping.layout import MANIFEST, MAX_MANIFEST, Entry, Manifest, is_plain, parse
from annotator.keeping.packing import BLOCK, CHUNK, END, header
from annotator.keeping.places import private

Progress = Callable[[int, int | None, str], None]


class Sink(Protocol):
    """Where files of a backup go."""

    def __call__(self, name: str) -> Path | None:
        """The path to write a file to, in a folder that is there; None to check it only."""


def unpack(backup: Path, sink: Sink, on_progress: Progress) -> Manifest:
    """Read a whole backup, give `sink` its files, and return its list, which every file matches.

    BadFile says why it is refused; what `sink` got by then is worth nothing.
    """
    if backup.is_dir():
        found, data = _from_folder(backup, sink, on_progress)
    else:
        found, data = _from_tar(backup, sink, on_progress)
    manifest = parse(backup.name, data)
    for name in sorted(found.keys() | manifest.files.keys()):
        if name not in found:
            raise BadFile(backup.name, f"{name} is missing from it")
        if name not in manifest.files:
            raise BadFile(backup.name, f"{name} is in it but not in its list of files")
        if found[name] != manifest.files[name]:
            raise BadFile(backup.name, f"{name} in it is damaged, it does not match its digest")
    return manifest


def size_of(backup: Path) -> int:
    """Bytes that unpacking will take, about; BadFile when it is neither a folder nor a file."""
    if backup.is_dir() and not (backup / MANIFEST).is_file():
        raise BadFile(backup.name, "it is not a backup of this program, it has no list of files")
    if not backup.is_dir() and not backup.is_file():
        raise BadFile(backup.name, "there is no such backup")
    if backup.is_file():
        return backup.stat().st_size
    return sum(path.lstat().st_size for path in backup.rglob("*"))


def _from_folder(backup: Path, sink: Sink, on_progress: Progress) -> tuple[dict[str, Entry], bytes]:
    data = _whole(backup, backup / MANIFEST)
    total = len(parse(backup.name, data).files)
    found: dict[str, Entry] = {}
    for name in _names(backup, ""):
        if name != MANIFEST:
            with _regular(backup, backup / name) as file:
                size = os.fstat(file.fileno()).st_size
                found[name] = _take(backup, name, file, size, sink)
            on_progress(len(found), total, name)
    return found, data


def _names(backup: Path, below: str) -> Iterator[str]:
    """Every file under a folder; a link or special file is refused."""
    with os.scandir(backup / below) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            name = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _names(backup, f"{name}/")
            elif name == MANIFEST or (entry.is_file(follow_symlinks=False) and is_plain(name)):
                yield name
            else:
                raise BadFile(backup.name, f"it contains {name[:200]!r}, which no backup has")


def _whole(backup: Path, path: Path) -> bytes:
    with _regular(backup, path) as file:
        if os.fstat(file.fileno()).st_size > MAX_MANIFEST:
            raise BadFile(backup.name, "its list of files is too long")
        return bytes(file.read())


@contextmanager
def _regular(backup: Path, path: Path) -> Iterator[IO[Any]]:
    """A plain file of a folder, opened; a link, or a pipe that would never end, is refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise BadFile(backup.name, f"{path.name} in it cannot be read ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadFile(backup.name, f"{path.name} in it is not a file")
        yield file


def _from_tar(backup: Path, sink: Sink, on_progress: Progress) -> tuple[dict[str, Entry], bytes]:
    found: dict[str, Entry] = {}
    with backup.open("rb") as file:
        total = os.fstat(file.fileno()).st_size // CHUNK
        while True:
            name, size = _header(backup, file)
            if name == MANIFEST:
                data = _exactly(backup, file, size) if size <= MAX_MANIFEST else b""
                _padding(backup, file, size)
                if file.read(len(END) + 1) != END:
                    raise BadFile(backup.name, "it does not end where its list of files does")
                return found, data
            if name in found or not is_plain(name):
                raise BadFile(backup.name, f"it contains {name[:200]!r}, which no backup has or has twice")
            found[name] = _take(backup, name, file, size, sink)
            _padding(backup, file, size)
            on_progress(file.tell() // CHUNK, total, name)


def _header(backup: Path, file: IO[Any]) -> tuple[str, int]:
    data = _exactly(backup, file, BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(data, "utf-8", "strict")
        if info.size >= 0 and header(info.name, info.size) == data:
            return info.name, info.size
    except (tarfile.HeaderError, ValueError) as error:
        raise BadFile(
            backup.name, f"it is damaged at byte {file.tell() - BLOCK}, or no backup at all"
        ) from error
    raise BadFile(backup.name, f"it has an entry at byte {file.tell() - BLOCK} that no backup has")


def _padding(backup: Path, file: IO[Any], size: int) -> None:
    if any(_exactly(backup, file, -size % BLOCK)):
        raise BadFile(backup.name, f"it is damaged before byte {file.tell()}")


def _exactly(backup: Path, file: IO[Any], size: int) -> bytes:
    data = bytes(file.read(size))
    if len(data) != size:
        raise BadFile(backup.name, f"it is cut short, it ends at byte {file.tell()}")
    return data


def _take(backup: Path, name: str, file: IO[Any], size: int, sink: Sink) -> Entry:
    """Digest the next `size` bytes, and write them where `sink` says."""
    path = sink(name)
    digest, left = hashlib.sha256(), size
    with io.BytesIO() if path is None else private(path, "xb") as target:
        while left:
            block = _exactly(backup, file, min(left, CHUNK))
            digest.update(block)
            left -= len(block)
            if path is not None:
                target.write(block)
    return Entry(bytes=size, sha256=digest.hexdigest())
