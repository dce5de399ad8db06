"""Where picture files lie, named by the SHA-256 of the original bytes, and how they get there for good.

An import may count on a file that is there already before its row says so. Imports therefore hold a lock
together, and whoever removes files takes it alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from annotator.artifacts import sync_folder
from annotator.errors import Conflict, StoreError, is_full, no_room

STALE_SECONDS = 24 * 3600
LOCK = "pictures.lock"
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A synced temporary file and the place it is meant for."""

    temporary: Path
    target: Path


def original(sha256: str, ext: str) -> str:
    """Path of the bytes as given, relative to the data folder."""
    return f"originals/{sha256[:2]}/{sha256}.{ext}"


def canonical(sha256: str, ext: str) -> str:
    """Path of the upright 8-bit picture where the original is none, relative to the data folder."""
    return f"canonical/{sha256[:2]}/{sha256}.{ext}"


def thumbnail(sha256: str) -> str:
    """Path of the thumbnail, relative to the data folder."""
    return f"thumbnails/{sha256[:2]}/{sha256}.jpg"


@contextmanager
def alone(data_dir: Path, *, wait_s: float) -> Iterator[None]:
    """Keep imports out for a moment; Conflict when one is at work for longer than `wait_s`."""
    with _lock_file(data_dir) as file:
        end = time.monotonic() + wait_s
        while not _taken(file):
            if time.monotonic() > end:
                raise Conflict("Pictures are being imported; try again when that has ended.")
            time.sleep(_POLL_S)
        yield


def _lock_file(data_dir: Path) -> IO[str]:
    path = data_dir / LOCK
    return open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


class Shelf:
    """Stages files in a folder of its own, on any thread, and moves them to their places in batches.

    StoreError when the disk refuses.
    """

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir
        self._incoming = data_dir / "incoming" / uuid.uuid4().hex
        self._lock: IO[str] | None = None

    def __enter__(self) -> Shelf:
        with self._storing():
            self._incoming.mkdir(parents=True)
            self._lock = _lock_file(self._root)
            fcntl.flock(self._lock, fcntl.LOCK_SH)  # a removal holds it for moments
        for left in self._incoming.parent.iterdir():  # of imports that were killed
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._incoming, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def holds(self, relative: str) -> bool:
        """Whether the file is there."""
        return (self._root / relative).is_file()

    def stage(self, relative: str, data: bytes) -> Staged | None:
        """Write and sync `data`, to be moved to `relative` later; None when that file is already complete."""
        target = self._root / relative
        if target.is_file() and target.stat().st_size == len(data):
            return None
        temporary = self._incoming / uuid.uuid4().hex
        with self._storing(), temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return Staged(temporary=temporary, target=target)

    def settle(self, staged: Sequence[Staged]) -> None:
        """Move staged files to their places; they are there for good when this returns."""
        folders = set()
        with self._storing():
            for file in staged:
                file.target.parent.mkdir(parents=True, exist_ok=True)
                file.temporary.replace(file.target)
                folders |= {file.target.parent, file.target.parent.parent, self._root}
            for folder in sorted(folders):
                sync_folder(folder)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if is_full(error):
                raise no_room("Pictures cannot be stored") from error
            raise StoreError(
                f"Pictures cannot be stored in {self._root} ({error.strerror or error}); "
                "make room there and import again."
            ) from error
