"""One strict reading of JSON before every other (A-43, A-28)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.api.strict_json import DEEPEST, LARGEST, BadValue, NotJson, check


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": 1,}',
        b"nothing",
        b'{"a": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[01]",
        b"[1.]",
        b"[+1]",
        b'["\n"]',
        b"[1] [2]",
        b"\xff\xfe[\x00]\x00",
        b"\xfe\xff\x00[\x00]",
        b"\xef\xbb\xbf[]",
        b"[\x001]",
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b"[" * (DEEPEST + 1) + b"1" + b"]" * (DEEPEST + 1),
    ],
)
def test_what_is_no_json_is_refused_as_such(raw: bytes) -> None:
    with pytest.raises(NotJson):
        check(raw)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b'{"a": 1, "a": 2}', '"a" is given twice'),
        (b'{"a": 1, "\\u0061": 2}', '"a" is given twice'),
        (b'[{"b": {"c": 1, "c": 1}}]', '"c" is given twice'),
        (b'{"score": 1e400}', "score: the number 1e400"),
        (b'{"score": -1e400}', "score: the number -1e400"),
        (b'{"ids": [1, 9007199254740993]}', "ids: the number 9007199254740993"),
        (b'{"id": -9223372036854775808}', "id: the number"),
        (b'{"id": ' + b"9" * 5000 + b"}", "id: the number 99999999999999999999 "),
        (b'{"name": "a\\u0000b"}', r"name: a text must not hold the character U\+0000"),
        (b'{"name": "\\ud800"}', r"name: a text must not hold half a character \(U\+D800\)"),
        (b'{"\\udfff": 1}', "half a character"),
    ],
)
def test_a_value_nothing_takes_is_named(raw: bytes, named: str) -> None:
    with pytest.raises(BadValue, match=named):
        check(raw)


def test_the_largest_number_and_the_deepest_nesting_pass() -> None:
    check(json.dumps({"a": LARGEST, "b": -LARGEST, "c": 0.1, "d": "\N{GRINNING FACE}"}).encode())
    check(b"[" * DEEPEST + b"1" + b"]" * DEEPEST)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST, LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.booleans())
def test_plain_json_passes_however_it_is_written(value: Any, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only)
    if "\\u0000" not in raw:
        check(raw.encode())


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_whatever_do_anything_but_pass_or_be_refused(raw: bytes) -> None:
    try:
        check(raw)
    except (NotJson, BadValue):
        return
    assert json.loads(raw) == json.loads(raw.decode("utf-8"))
