"""The shape of a multipart body, followed while it comes: what would only cost work reaches no parser (A-30).

The parsers behind skip any preamble byte by byte, and one of them keeps texts of any length. Looking for the
boundary is one search in C.
"""

from __future__ import annotations

from enum import Enum, auto
from http import HTTPStatus
from itertools import pairwise

from python_multipart.multipart import parse_options_header

from annotator.api.rules import Unwanted

MOST_PARTS = 1000
HEAD_LIMIT = 8 * 1024  # bytes of a part's headers
TEXT_LIMIT = 64 * 1024  # bytes of a part that is no file
EPILOGUE_LIMIT = 1024  # bytes after the last boundary
TOGETHER = 8  # parts handed on at once: each file is opened while everybody else waits


class _At(Enum):
    START = auto()
    BOUNDARY = auto()
    HEAD = auto()
    CONTENT = auto()
    END = auto()


class Parts:
    """Follows one body. Raises Unwanted (400) as soon as it is not what a browser or a program would send.

    With `files_only` a part that is no file is not taken either.
    """

    def __init__(self, content_type: str, *, files_only: bool = False) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not 0 < len(boundary) <= 200:
            raise _bad("The body's Content-Type names no usable boundary.")
        self._mark = b"\r\n--" + boundary
        self._files_only = files_only
        self._at = _At.START
        self._data = b"\r\n"  # seen and not decided on; the first boundary needs no line before it
        self._place = 0
        self._count = 0
        self._is_file = False
        self._text = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The same bytes, cut so that no piece begins more than `TOGETHER` parts."""
        undecided = self._data[self._place :]
        self._data, self._place = undecided + piece, 0
        cuts: list[int] = []
        while self._step():
            if self._at is _At.CONTENT and self._count % TOGETHER == 0:
                cuts.append(max(0, self._place - len(undecided)))
        edges = sorted({0, *cuts, len(piece)})
        return [piece[start:end] for start, end in pairwise(edges)] or [b""]

    def finish(self) -> None:
        """The body is over: Unwanted unless its last boundary has come."""
        if self._at is not _At.END:
            raise _bad("The body ends before its last boundary.")

    def _step(self) -> bool:
        """Decide on the next bytes; False when more have to come first."""
        left = len(self._data) - self._place
        if self._at is _At.START:
            return self._start(left)
        if self._at is _At.BOUNDARY:
            return left >= 2 and self._boundary(self._data[self._place : self._place + 2])
        if self._at is _At.HEAD:
            return self._head(left)
        if self._at is _At.CONTENT:
            return self._content()
        if left > EPILOGUE_LIMIT:
            raise _bad("The body goes on after its last boundary.")
        return False

    def _start(self, left: int) -> bool:
        found = self._data.find(self._mark, 0, len(self._mark) + 2)
        if found < 0:
            if left >= len(self._mark) + 2:
                raise _bad("The body does not begin with its boundary.")
            return False
        self._at, self._place = _At.BOUNDARY, found + len(self._mark)
        return True

    def _boundary(self, follows: bytes) -> bool:
        if follows == b"--":
            self._at, self._place = _At.END, self._place + 2
        elif follows == b"\r\n":
            self._at = _At.HEAD  # its line end stays: a part without headers has an empty line at once
        else:
            self._at = _At.CONTENT  # bytes of the part that only begin like the boundary
        return True

    def _head(self, left: int) -> bool:
        end = self._data.find(b"\r\n\r\n", self._place, self._place + HEAD_LIMIT)
        if end < 0:
            if left >= HEAD_LIMIT:
                raise _bad(f"The headers of part {self._count + 1} are longer than {HEAD_LIMIT} bytes.")
            return False
        self._count += 1
        if self._count > MOST_PARTS:
            raise _bad(f"The body has more than {MOST_PARTS} parts.")
        self._is_file = _names_a_file(self._data[self._place : end])
        if self._files_only and not self._is_file:
            raise _bad(f"Part {self._count} is no file.")
        self._at, self._text = _At.CONTENT, 0
        self._place = end + 2  # a boundary may follow on the empty line
        return True

    def _content(self) -> bool:
        found = self._data.find(self._mark, self._place)
        decided = found if found >= 0 else max(self._place, len(self._data) - len(self._mark) + 1)
        self._text += decided - self._place
        if not self._is_file and self._text > TEXT_LIMIT:
            raise _bad(f"The text in part {self._count} is longer than {TEXT_LIMIT // 1024} KB.")
        self._place = decided
        if found < 0:
            return False
        self._at, self._place = _At.BOUNDARY, found + len(self._mark)
        return True


def _names_a_file(head: bytes) -> bool:
    """As the parsers behind judge it: any other part is a text, and one of them keeps it in memory whole."""
    disposition = b""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-disposition":
            disposition = value.strip()
    return b"filename" in parse_options_header(disposition)[1]


def _bad(message: str) -> Unwanted:
    return Unwanted(HTTPStatus.BAD_REQUEST, "not_multipart", message)
