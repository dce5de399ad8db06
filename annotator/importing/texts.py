"""Label files as text: what they are encoded in, checked to the end before anything is read from them."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from annotator.errors import BadFile

MAX_LABEL_BYTES = 4 * 2**30
_PIECE = 2**20
_SAVE = "save it as UTF-8"
_OTHERS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"%PDF", b"\x1f\x8b")


def check_text(path: Path) -> tuple[str, str]:
    """SHA-256 of a label file and its first character that is no space.

    BadFile unless the whole file is UTF-8 of a sane size with something in it. Memory: a megabyte.
    """
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    first, done, head = "", 0, b""
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                head = head or _checked_head(piece, path.name)
                digest.update(piece)
                pending = len(decoder.getstate()[0])
                try:
                    text = decoder.decode(piece)
                except UnicodeDecodeError as error:
                    raise BadFile(path.name, _not_utf8(done - pending + error.start)) from error
                first = first or text.lstrip("\ufeff \t\r\n")[:1]
                done += len(piece)
                if done > MAX_LABEL_BYTES:
                    raise BadFile(path.name, f"it has more than {MAX_LABEL_BYTES} bytes, the limit")
    except OSError as error:
        raise BadFile(path.name, f"it cannot be read ({error.strerror})") from error
    if decoder.getstate()[0]:
        raise BadFile(path.name, _not_utf8(done - len(decoder.getstate()[0])))
    if not first:
        raise BadFile(path.name, "the file is empty")
    return digest.hexdigest(), first


def encoding(path: Path) -> str:
    """How the text of a checked file is encoded, in words; BadFile when it is gone since."""
    try:
        with path.open("rb") as file:
            marked = file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    except OSError as error:
        raise BadFile(path.name, f"it cannot be read ({error.strerror})") from error
    return "UTF-8 with a byte order mark" if marked else "UTF-8"


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """The text of a checked file, its line ends as they are; BadFile when it has changed since."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except OSError as error:
        raise BadFile(path.name, f"it cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadFile(path.name, "it changed while it was read") from error


def _checked_head(head: bytes, name: str) -> bytes:
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise BadFile(name, f"it is written in UTF-32, {_SAVE}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadFile(name, f"it is written in UTF-16, {_SAVE}")
    start = head[:200]
    if len(start) > 3 and start.count(0) * 3 > len(start):
        raise BadFile(name, f"it looks like UTF-16 without a mark, {_SAVE}")
    if head.startswith(b"PK\x03\x04"):
        raise BadFile(name, "it is a ZIP archive or a spreadsheet, not CSV or JSON")
    if head.startswith(_OTHERS):
        raise BadFile(name, "it is a picture, a document or an archive, not CSV or JSON")
    return head


def _not_utf8(at: int) -> str:
    return f"it is not UTF-8 text (byte {at + 1}); it may be Latin-1 or Windows-1252, {_SAVE}"
