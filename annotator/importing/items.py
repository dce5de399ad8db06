"""What every way of bringing pictures hands to `intake`: items to read, files refused, things to note."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO

from annotator.decoding.formats import HEAD, recognise
from annotator.decoding.pixels import MAX_BYTES
from annotator.errors import BadFile
from annotator.records import RefusedFile

LABEL_SUFFIXES = frozenset({".csv", ".json"})
PIECE = 2**20  # an unpacker is never asked for more at once
MAX_NAME = 4_096  # characters of a whole path
MAX_PART = 255
HIDDEN = "it is a hidden file"


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file that may be a picture; `read` raises BadFile or OSError and may be called on any thread."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Everything a folder, archive or upload holds."""

    where: str  # named when there is no picture in it
    items: list[Item] = field(default_factory=list)
    refused: list[RefusedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, name: str, reason: str) -> None:
        """List a file that is not taken."""
        self.refused.append(RefusedFile(name=name, reason=reason))

    def set_aside(self, name: str) -> bool:
        """Deal with hidden files and label files; True when `name` is one."""
        if is_hidden(name):
            self.refuse(name, HIDDEN)
        elif PurePosixPath(name).suffix.lower() in LABEL_SUFFIXES:
            self.notes.append(f"{name} looks like a label file; it can be imported as labels.")
        else:
            return False
        return True


def read_picture(file: BinaryIO, name: str, size: int) -> bytes:
    """All bytes of a picture; other files are refused after their first bytes.

    `size` is what the file is said to have; what counts is how much comes.
    """
    head = file.read(HEAD)
    recognise(head, name)
    if size > MAX_BYTES:
        raise BadFile(name, f"it has {size} bytes, the limit is {MAX_BYTES}")
    pieces = [head]
    count = len(head)
    while piece := file.read(PIECE):
        pieces.append(piece)
        count += len(piece)
        if count > MAX_BYTES:
            raise BadFile(name, f"it has more than {MAX_BYTES} bytes, the limit")
    return b"".join(pieces)


def clause(error: BaseException) -> str:
    """What a library says about a file, short and on one line; it may quote the file itself."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in str(error)).split())
    return text if len(text) <= 120 else f"{text[:117]}..."


def is_hidden(name: str) -> bool:
    """Whether any part of a path is hidden, or a leftover of an archiver."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def safe_name(raw: str) -> str:
    """A path from an archive or a browser as a relative name with forward slashes, in NFC.

    BadFile when it leads out of its folder or nothing is left of it.
    """
    text = raw.encode("utf-8", "backslashreplace").decode("utf-8")
    slashes = re.sub(r"^[A-Za-z]:(?=/)", "", unicodedata.normalize("NFC", text).replace("\\", "/"))
    parts = [part for part in slashes.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadFile(text, "its path leads out of the folder")
    if not parts:
        raise BadFile(text or "(no name)", "it has no name")
    if "\0" in text or len(slashes) > MAX_NAME:
        raise BadFile(f"{text[:60]}...", "its name has a NUL" if "\0" in text else "its name is too long")
    return "/".join(_cut(part) for part in parts)


def _cut(part: str) -> str:
    """A part of a path as long as file systems allow, its ending kept."""
    ending = PurePosixPath(part).suffix[-20:]
    return part if len(part) <= MAX_PART else part[: MAX_PART - len(ending)] + ending
