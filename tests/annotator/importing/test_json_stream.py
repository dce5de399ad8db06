"""The stream reads what Python's own reader reads, refuses what it refuses, and holds little."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.importing import json_stream
from annotator.importing.json_stream import LIST, NotJson, members

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=5)


class Dribble(io.StringIO):
    """Gives a few characters at a time, whatever is asked."""

    def __init__(self, text: str, size: int) -> None:
        super().__init__(text)
        self._size = size

    def read(self, _size: int | None = -1, /) -> str:
        return super().read(self._size)


def put_together(text: str, size: int = 1_000_000) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, place, value in members(Dribble(text, size)):
        if value is LIST:
            found[key] = []
        elif place < 0:
            found[key] = value
        else:
            assert place == len(found[key])
            found[key].append(value)
    return found


@given(OBJECTS, st.integers(1, 40), st.sampled_from([None, 1]))
@settings(max_examples=150, deadline=None)
def test_it_reads_what_json_reads_in_pieces_of_any_size(
    value: dict[str, Any], size: int, indent: int | None
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=size % 2 == 0)
    assert put_together(text, size) == json.loads(text)


@given(OBJECTS.filter(bool), st.data())
@settings(max_examples=150, deadline=None)
def test_it_refuses_what_json_refuses(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value)
    place = data.draw(st.integers(0, len(text) - 1))
    changed = (
        text[:place] + data.draw(st.sampled_from(["", "]", "}", ",", '"', "x", "[", "0"])) + text[place + 1 :]
    )
    try:
        wanted = json.loads(changed)
    except ValueError:
        wanted = None
    if isinstance(wanted, dict):
        try:
            assert put_together(changed, 7) == wanted
        except NotJson as error:
            assert "is there twice" in str(error)
    else:
        with pytest.raises(NotJson):
            put_together(changed, 7)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "the top level must be an object"),
        ("", "the top level must be an object"),
        ("{", "Expecting property name"),
        ('{"a"', "Expecting ':' delimiter at character 5"),
        ('{"a": 1', "Expecting ',' delimiter at character 8"),
        ('{"a": [1, 2', "Expecting ',' delimiter at character 12"),
        ('{"a": [1,]}', "Illegal trailing comma at character 10"),
        ('{"a": 1,}', "Illegal trailing comma"),
        ('{"a": 1} {}', "Extra data at character 10"),
        ('{"a": NaN}', "NaN is not a number of JSON"),
        ('{"a": [-Infinity]}', "-Infinity is not a number"),
        ('{"a": "x\n"}', "Invalid control character"),
        ('{"a": 1, "a": 2}', '"a" is there twice'),
        ('{"a": [{"id": 1, "b": {}, "id": 2}]}', '"id" is there twice'),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ('{"a": [' + "[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "one of its numbers has thousands of digits"),
    ],
)
@pytest.mark.parametrize("size", [3, 1_000_000])
def test_what_is_wrong_is_one_clause_with_its_place(text: str, reason: str, size: int) -> None:
    if len(text) > 50_000:
        size = 1_000_000
    with pytest.raises(NotJson) as caught:
        put_together(text, size)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_a_value_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ELEMENT", 10_000)
    with pytest.raises(NotJson, match="one of its values has more than 10000 characters"):
        put_together('{"a": "' + "x" * 100_000, 500)


def test_memory_depends_on_the_largest_element_and_not_on_the_file(tmp_path: Path) -> None:
    line = json.dumps({"id": 1, "image_id": 2, "segmentation": [[1.25] * 200]})
    path = tmp_path / "a.json"
    with path.open("w") as file:
        file.write('{"annotations": [' + line)
        for _ in range(20_000):
            file.write("," + line)
        file.write("]}")
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    with path.open() as text:
        count = sum(place >= 0 for _, place, _ in members(text))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_001 and peak < 4_000_000
