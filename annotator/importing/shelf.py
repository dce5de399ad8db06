"""Where picture files lie, named by the SHA-256 of the original bytes, and how they get there for good.

An import may count on a file that is there already before its row says so. Imports therefore hold a lock
together, and whoever removes files takes it alone.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from annotator import locking
from annotator.artifacts import sync_folder
from annotator.errors import Conflict, StoreError, is_full, no_room

STALE_SECONDS = 24 * 3600
_PIECE = 2**20
LOCK = "pictures.lock"
WAIT_S = 60.0  # a removal holds the lock for moments only, unless it is stopped or its disk hangs
BREATH_S = 2 * locking.POLL_S  # how long a removal stays away between two steps
_PLACE = "The data folder"


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
    with locking.open_private(data_dir / LOCK) as file:
        if not locking.take(file, _PLACE, wait_s=wait_s):
            raise Conflict("Pictures are being imported; try again when that has ended.")
        yield


class Shelf:
    """Stages files in a folder of its own, on any thread, and moves them to their places in batches.

    StoreError when the disk refuses, Conflict on entering while a removal keeps the pictures to itself.
    """

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir
        self._incoming = data_dir / "incoming" / uuid.uuid4().hex
        self._held = ExitStack()

    def __enter__(self) -> Shelf:
        with ExitStack() as until_held:
            with self._storing():
                self._incoming.mkdir(parents=True)
                until_held.callback(shutil.rmtree, self._incoming, ignore_errors=True)
                lock = until_held.enter_context(locking.open_private(self._root / LOCK))
            if not locking.take(lock, _PLACE, shared=True, wait_s=WAIT_S):
                raise Conflict("Pictures are being removed; try again when that has ended.")
            self._sweep()
            self._held = until_held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _sweep(self) -> None:
        """Remove what imports that were killed have left."""
        for left in self._incoming.parent.iterdir():
            with suppress(FileNotFoundError):  # of an import that ends just now
                if time.time() - left.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)

    def holds(self, relative: str, size: int | None = None) -> bool:
        """Whether the file is there, and of this size."""
        path = self._root / relative
        return path.is_file() and size in (None, path.stat().st_size)

    def stage(self, relative: str, data: bytes) -> Staged | None:
        """Write and sync `data`, to be moved to `relative` later; None when that file holds just this."""
        if self.holds(relative, len(data)) and _same(self._root / relative, data):
            return None
        target = self._root / relative
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


def _same(path: Path, data: bytes) -> bool:
    """Whether a file holds exactly this; one that cannot be read does not."""
    at, wanted = 0, memoryview(data)
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                if piece != wanted[at : at + len(piece)]:
                    return False
                at += len(piece)
    except OSError:
        return False
    return at == len(data)
