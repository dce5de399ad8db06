"""A large JSON object read piece by piece: lists at its top level come element by element.

Python's own decoder does the work, on as much text as one element needs, so memory depends on the largest
element and not on the file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NoReturn, TextIO

PIECE = 2**18
MAX_ELEMENT = 32 * 2**20  # characters
_SPACE = re.compile(r"[ \t\r\n]*")
_MARGIN = 16  # an error so close to the end of what was read may be for want of the rest


class _List:
    """Stands for a list whose elements follow."""


LIST: Final = _List()


class NotJson(ValueError):
    """The text is no JSON object of ours; the message is one clause."""


def members(file: TextIO) -> Iterator[tuple[str, int, Any]]:
    """Every member of the object in `file`, in the order of the file, as (key, place, value).

    A list gives (key, -1, LIST), then (key, 0, element), (key, 1, element) ...; all else (key, -1, value).
    NotJson for anything that is not exactly one JSON object, for NaN and Infinity, and for a key twice.
    """
    yield from _Stream(file).members()


class _Stream:
    """A window on the text that moves on and grows as needed."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._before = 0  # characters already let go
        self._ended = False
        self._decode = json.JSONDecoder(parse_constant=_no_number, object_pairs_hook=_object).raw_decode

    def members(self) -> Iterator[tuple[str, int, Any]]:
        if self._next() != "{":
            raise NotJson("the top level must be an object with images, annotations and categories")
        self._at += 1
        keys: set[str] = set()
        sign = self._next()
        while sign != "}":
            key = self._key(keys)
            if self._next() == "[":
                yield key, -1, LIST
                yield from self._elements(key)
            else:
                yield key, -1, self._value()
            sign = self._separator("}")
        self._at += 1
        if self._next():
            self._fail("Extra data")

    def _key(self, keys: set[str]) -> str:
        if self._next() != '"':
            self._fail("Expecting property name enclosed in double quotes")
        key: str = self._value()
        if key in keys:
            raise _twice(key)
        keys.add(key)
        if self._next() != ":":
            self._fail("Expecting ':' delimiter")
        self._at += 1
        return key

    def _elements(self, key: str) -> Iterator[tuple[str, int, Any]]:
        self._at += 1
        place = 0
        sign = self._next()
        while sign != "]":
            yield key, place, self._value()
            place += 1
            sign = self._separator("]")
        self._at += 1

    def _separator(self, end: str) -> str:
        """Step over a comma that another entry follows, or stop at the end; what is there then."""
        sign = self._next()
        if sign == ",":
            self._at += 1
            sign = self._next()
            if sign == end:
                self._fail("Illegal trailing comma")
        elif sign != end:
            self._fail("Expecting ',' delimiter")
        return sign

    def _next(self) -> str:
        """The next character that is no space; empty at the end of the text."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def _value(self) -> Any:
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_go_on(error):
                    self._fail(error.msg, error.pos)
            except RecursionError as error:
                raise NotJson("it is nested too deeply") from error
            except NotJson:
                raise
            except ValueError as error:  # Python's own limit
                raise NotJson("one of its numbers has thousands of digits") from error
            else:
                # a number at the edge of the window may have more digits
                if self._ended or end + _MARGIN < len(self._text) or isinstance(value, str | list | dict):
                    self._at = end
                    return value
            self._more()

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos + _MARGIN >= len(self._text)

    def _more(self) -> None:
        """Let go of what is read and double what is left: large elements cost no more than their size."""
        rest = self._text[self._at :]
        if len(rest) > MAX_ELEMENT:
            raise NotJson(f"one of its values has more than {MAX_ELEMENT} characters")
        self._before += self._at
        piece = self._file.read(max(PIECE, len(rest)))
        self._ended = not piece
        self._text, self._at = rest + piece, 0

    def _fail(self, what: str, at: int | None = None) -> NoReturn:
        place = self._before + (self._at if at is None else at)
        raise NotJson(f"it is not valid JSON ({what} at character {place + 1})")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # which of the two counts is not ours to say
        raise _twice(next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
    return found


def _twice(key: str) -> NotJson:
    return NotJson(f'"{key[:40]}" is there twice')


def _no_number(word: str) -> NoReturn:
    raise NotJson(f"it is not valid JSON ({word} is not a number of JSON)")
