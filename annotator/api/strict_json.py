"""What a JSON body must be before any reader sees it: one meaning, plain numbers, real text.

Python's own reader takes `NaN`, turns `1e400` into infinity, keeps the last of two equal keys and gives up
with a RecursionError on deep nesting. A body that passes here has none of that, so every later reader finds
the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

DEEPEST = 64
LARGEST = 2**53  # whole numbers up to here are exact in a page
_DIGITS = len(str(LARGEST)) + 1  # and a sign; longer ones are not even converted


class NotJson(ValueError):
    """The body cannot be read as JSON (400)."""


class BadValue(ValueError):
    """The body is JSON but holds a value that nothing here takes (422)."""


def check(raw: bytes) -> None:
    """Raise NotJson or BadValue with one sentence; return when the body is plain JSON in UTF-8."""
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise NotJson("The body begins with a byte order mark; send plain UTF-8.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJson(f"The body is not UTF-8 (byte {error.start}).") from None
    for name, value in _values(_read(text)):
        if isinstance(value, BadValue):
            raise BadValue(f"{name[:50]}: {value}" if name else str(value))
        if isinstance(value, str):
            _check_text(name, value)


def _read(text: str) -> Any:
    """The value, with BadValue objects for numbers out of range: their names are known only afterwards."""
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except json.JSONDecodeError as error:
        raise NotJson(f"The body is not JSON (character {error.pos}).") from None
    except RecursionError:
        raise NotJson(_too_deep()) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadValue(f"The key {_shown(key)} is given twice.")
        found[key] = value
    return found


def _constant(word: str) -> NoReturn:
    raise NotJson(f"{word} is not JSON.")


def _float(digits: str) -> float | BadValue:
    value = float(digits)
    return value if math.isfinite(value) else BadValue(f"the number {digits[:20]} is too large.")


def _int(digits: str) -> int | BadValue:
    if len(digits) > _DIGITS or abs(value := int(digits)) > LARGEST:
        return BadValue(f"the number {digits[:20]} has more digits than a page can hold.")
    return value


def _values(found: Any) -> Iterator[tuple[str, Any]]:
    """Every key and every plain value with the key it stands under; NotJson below `DEEPEST` levels."""
    level: list[tuple[str, Any]] = [("", found)]
    for _ in range(DEEPEST + 1):
        below: list[tuple[str, Any]] = []
        for name, value in level:
            if isinstance(value, dict):
                yield from (("", key) for key in value)
                below += value.items()
            elif isinstance(value, list):
                below += ((name, one) for one in value)
            else:
                yield name, value
        if not below:
            return
        level = below
    raise NotJson(_too_deep())


def _too_deep() -> str:
    return f"The body is nested more than {DEEPEST} levels deep."


def _check_text(name: str, value: str) -> None:
    where = f"{name[:50]}: " if name else ""
    if "\0" in value:
        raise BadValue(f"{where}a text must not hold the character U+0000.")
    odd = next((sign for sign in value if "\ud800" <= sign <= "\udfff"), None)
    if odd is not None:
        raise BadValue(f"{where}a text must not hold half a character (U+{ord(odd):04X}).")


def _shown(key: str) -> str:
    return json.dumps(key[:50])
