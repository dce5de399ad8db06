"""Writing a backup, as a folder or as one tar file, beside its final place.

Files are digested while they are written. The tar file has one possible form for its content (no times, no
owners, nothing optional), so that a reader can hold every byte of it against what it must be.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from annotator.artifacts import sync_file, sync_folder
from annotator.errors import Conflict, StoreError, is_full, no_room
from annotator.keeping.layout import MANIFEST, Entry, Manifest
from annotator.keeping.places import partial, private

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
CHUNK = 2**20


class Unreadable(Exception):
    """A file that should go into the backup cannot be read, or is not there."""


class Pack(Protocol):
    """A backup being written."""

    files: dict[str, Entry]
    scratch: Path  # folder for the copy of the database

    def add(self, name: str, source: Path, *, move: bool = False) -> Entry:
        """Put a file in (`move`: nobody else needs it); after Unreadable nothing of it is in."""

    def finish(self, manifest: Manifest) -> None:
        """Put the list in; nothing can be added after."""


class FolderPack:
    """Files under their names in a folder; `link`: hard links where the disk allows."""

    def __init__(self, folder: Path, *, link: bool) -> None:
        self.files: dict[str, Entry] = {}
        self.scratch = folder / ".scratch"
        self.scratch.mkdir(mode=0o700)
        self._folder = folder
        self._link = link

    def add(self, name: str, source: Path, *, move: bool = False) -> Entry:
        """See `Pack`."""
        target = self._folder / name
        _private_folders(self._folder, target.parent)
        with _opened(source) as file:
            if move or self._link:
                entry = _stream(file, None)
                (os.replace if move else os.link)(source.resolve(), target)
            else:
                entry = self._copied(file, target)
        self.files[name] = entry
        return entry

    def _copied(self, file: IO[Any], target: Path) -> Entry:
        with private(target, "xb") as copy:
            try:
                return _stream(file, copy)
            except Unreadable:
                target.unlink()
                raise

    def finish(self, manifest: Manifest) -> None:
        """See `Pack`."""
        self.scratch.rmdir()
        with private(self._folder / MANIFEST, "xb") as file:
            file.write(manifest.to_bytes())
        os.sync()


class TarPack:
    """Files one after the other in a tar file, the list last."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, Entry] = {}
        self.scratch = folder
        self.path = folder / "backup.tar"
        self._file = private(self.path, "xb")

    def add(self, name: str, source: Path, *, move: bool = False) -> Entry:
        """See `Pack`."""
        with _opened(source) as file:
            size = os.fstat(file.fileno()).st_size
            start = self._file.tell()
            self._file.write(header(name, size))
            try:
                entry = _stream(file, self._file)
                if entry.bytes != size:
                    raise Unreadable(f"{source} changed while it was read")
            except Unreadable:
                self._file.seek(start)
                self._file.truncate()
                raise
        if move:
            source.unlink()
        self._file.write(bytes(-size % BLOCK))
        self.files[name] = entry
        return entry

    def finish(self, manifest: Manifest) -> None:
        """See `Pack`."""
        data = manifest.to_bytes()
        self._file.write(header(MANIFEST, len(data)) + data + bytes(-len(data) % BLOCK) + END)
        self._file.close()
        sync_file(self.path)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def header(name: str, size: int) -> bytes:
    """The tar header of a file, the only one a backup has for this name and size."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


@contextmanager
def packing(target: Path, *, link: bool) -> Iterator[Pack]:
    """A backup that appears at `target` when the block ends well, and leaves nothing behind when it does not.

    A name that ends in .tar makes one file. Conflict when there is something at `target`; StoreError when the
    disk refuses.
    """
    if target.exists() or target.is_symlink():
        raise Conflict(f"{target} is already there; name another place for the backup.")
    if not target.parent.is_dir():
        raise Conflict(f"There is no folder {target.parent} for the backup.")
    try:
        with partial(target, "partial") as folder:
            if target.suffix == ".tar":
                pack = TarPack(folder)
                try:
                    yield pack
                finally:
                    pack.close()
                pack.path.rename(target)
            else:
                yield FolderPack(folder, link=link)
                folder.rename(target)
            sync_folder(target.parent)
    except OSError as error:
        if is_full(error):
            raise no_room(f"The backup {target} could not be written") from error
        raise StoreError(
            f"The backup {target} could not be written ({error.strerror or error}); nothing of it is left."
        ) from error


@contextmanager
def _opened(source: Path) -> Iterator[IO[Any]]:
    try:
        file = source.open("rb")
    except OSError as error:
        raise Unreadable(f"{source} ({error.strerror})") from error
    with file:
        yield file


def _stream(source: IO[Any], target: IO[Any] | None) -> Entry:
    digest, size = hashlib.sha256(), 0
    while block := _read(source):
        digest.update(block)
        size += len(block)
        if target is not None:
            target.write(block)
    return Entry(bytes=size, sha256=digest.hexdigest())


def _read(source: IO[Any]) -> bytes:
    try:
        return bytes(source.read(CHUNK))
    except OSError as error:
        raise Unreadable(f"{source.name} ({error.strerror})") from error


def _private_folders(root: Path, folder: Path) -> None:
    for part in [*reversed(folder.relative_to(root).parents), folder.relative_to(root)]:
        (root / part).mkdir(mode=0o700, exist_ok=True)
