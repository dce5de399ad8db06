"""Streaming a file that appears complete or not at all, and what to tell about it."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from annotator.artifacts import sync_folder
from annotator.errors import StoreError, is_full, no_room

_PIECE = 2**20


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was written; `cells` are decided cells, `annotations` the positive ones among them."""

    path: Path
    images: int
    annotations: int
    cells: int
    sha256: str


class Part:
    """Text that is found while other text is written and stands behind it: in a file without a name."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.entries = 0

    def add(self, entry: str) -> None:
        """One more entry of a list, on a line of its own."""
        self._file.write((",\n" if self.entries else "\n").encode() + entry.encode("utf-8"))
        self.entries += 1

    def pieces(self) -> Iterator[bytes]:
        """Everything from the beginning; nothing is added after it."""
        self._file.seek(0)
        return iter(partial(self._file.read, _PIECE), b"")


class Output:
    """A file being written; the digest grows with it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, text: str) -> None:
        """Append UTF-8 text."""
        self._append(text.encode("utf-8"))

    def take(self, part: Part) -> None:
        """Append what a part holds."""
        for piece in part.pieces():
            self._append(piece)

    def _append(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)

    @property
    def sha256(self) -> str:
        """Digest of everything written so far."""
        return self._digest.hexdigest()


@contextmanager
def part_beside(path: Path) -> Iterator[Part]:
    """A part of a file, kept on the same disk until the block ends; OSError when it cannot be."""
    with tempfile.TemporaryFile(dir=path.parent) as file:
        yield Part(file)


@contextmanager
def atomic(path: Path) -> Iterator[Output]:
    """A file that takes the place of `path` when the block ends well; StoreError when it cannot."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield Output(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        if is_full(error):
            raise no_room(f"The export {path.name} could not be written") from error
        raise StoreError(f"The export {path} could not be written ({error.strerror or error}).") from error
