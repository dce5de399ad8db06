"""Labels of a COCO file: our own `coco_partial/1`, or plain COCO where absence says nothing by itself.

Everything is checked by hand before it is used: no foreign parser, no number that is not a plain one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn

from annotator.errors import BadFile
from annotator.importing.cells import Cells, check_names, find_image, shown
from annotator.records import CellState

SCHEMA = "coco_partial/1"
MAX_ID = 2**53 - 1  # beyond that other JSON readers change the number
Absent = Literal["unknown", "negative"]
Cell = tuple[int, int]
_LISTS = (("neg_category_ids", CellState.NEGATIVE), ("unsure_category_ids", CellState.UNSURE))


def read(text: str, name: str, known: Mapping[str, int], *, absent: Absent = "unknown") -> Cells:
    """Cells of a COCO text; `known` maps the names of the project's images to ids.

    In plain COCO an annotation means positive, and `absent` says what no annotation means; a partial file
    says so itself. BadFile names the first thing that is wrong.
    """
    return _Reader(name).read(_parse(text, name), known, absent)


def _parse(text: str, name: str) -> dict[str, Any]:
    def constant(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a number of JSON")

    def number(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"the number {digits[:40]} is too large")
        return value

    try:
        top = json.loads(text, parse_constant=constant, parse_float=number)
    except RecursionError as error:
        raise BadFile(name, "it is nested too deeply") from error
    except ValueError as error:
        raise BadFile(name, f"it is not valid JSON ({error})") from error
    if not isinstance(top, dict):
        raise BadFile(name, "the top level must be an object with images, annotations and categories")
    return top


class _Reader:
    """Checks one file; every complaint carries its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self, top: dict[str, Any], known: Mapping[str, int], absent: Absent) -> Cells:
        partial = self._is_partial(top)
        columns, names = self._categories(top)
        ids = self._images(top, known)
        states = self._states(top, ids, columns)
        if partial and "image_labels" in top:
            self._check_agreement(top, states)
        if not partial and absent == "negative":
            for image in ids:
                for category in columns:
                    states.setdefault((image, category), CellState.NEGATIVE)
        cells = Cells(names=names)
        for (image, category), state in sorted(states.items()):
            cells.add(ids[image], columns[category], state)
        if not partial:
            cells.notes.append(f"No annotation was read as {absent}.")
        return cells

    def _fail(self, reason: str) -> NoReturn:
        raise BadFile(self._name, reason)

    def _is_partial(self, top: dict[str, Any]) -> bool:
        info = top.get("info", {})
        if not isinstance(info, dict):
            self._fail(f"info is {shown(info)}, not an object")
        schema = info.get("schema", "")
        if isinstance(schema, str) and schema.startswith("coco_partial/") and schema != SCHEMA:
            self._fail(f"its schema is {shown(schema)}, this program reads {SCHEMA}")
        return schema == SCHEMA or info.get("label_semantics") == "partial"

    def _list(self, holder: dict[str, Any], key: str, where: str, *, needed: bool = True) -> list[Any]:
        if key not in holder:
            if needed:
                self._fail(f'{where} has no "{key}"')
            return []
        if not isinstance(holder[key], list):
            self._fail(f"{where}{key} is {shown(holder[key])}, not a list")
        found: list[Any] = holder[key]
        return found

    def _objects(
        self, top: dict[str, Any], key: str, *, needed: bool = True
    ) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for place, entry in enumerate(self._list(top, key, "", needed=needed)):
            if not isinstance(entry, dict):
                self._fail(f"{key}[{place}] is {shown(entry)}, not an object")
            found.append((f"{key}[{place}]", entry))
        return found

    def _id(self, entry: dict[str, Any], key: str, where: str) -> int:
        if key not in entry:
            self._fail(f'{where} has no "{key}"')
        return self._whole(entry[key], f"{where}.{key}")

    def _whole(self, value: object, where: str) -> int:
        # bool is an int to Python, not to JSON
        if type(value) is not int or not 0 <= value <= MAX_ID:
            self._fail(f"{where} is {shown(value)}, not a whole number from 0 to {MAX_ID}")
        return value

    def _reference(self, entry: dict[str, Any], key: str, where: str, there: Mapping[int, int]) -> int:
        value = self._id(entry, key, where)
        if value not in there:
            self._fail(f"{where}.{key} is {value}, which no {key.removesuffix('_id')} of the file has")
        return value

    def _text(self, entry: dict[str, Any], key: str, where: str) -> str:
        if not isinstance(entry.get(key), str):
            self._fail(f"{where}.{key} is {shown(entry.get(key))}, not a text")
        return str(entry[key])

    def _categories(self, top: dict[str, Any]) -> tuple[dict[int, int], list[str]]:
        columns: dict[int, int] = {}
        names = []
        for where, entry in self._objects(top, "categories"):
            key = self._id(entry, "id", where)
            if key in columns:
                self._fail(f"{where}.id is {key}, which another category already has")
            columns[key] = len(columns)
            names.append((where, self._text(entry, "name", where)))
        return columns, check_names(names, self._name)

    def _images(self, top: dict[str, Any], known: Mapping[str, int]) -> dict[int, int]:
        """Image id of the file to image id of the project."""
        ids: dict[int, int] = {}
        seen: dict[int, str] = {}
        missing: list[str] = []
        for where, entry in self._objects(top, "images"):
            key = self._id(entry, "id", where)
            if key in ids:
                self._fail(f"{where}.id is {key}, which another image already has")
            file_name = self._text(entry, "file_name", where)
            found = find_image(known, file_name)
            ids[key] = found or 0
            if found is None:
                missing.append(f"{where}.file_name {shown(file_name)}")
            elif found in seen:
                self._fail(f"{where}.file_name {shown(file_name)} was already given in {seen[found]}")
            else:
                seen[found] = where
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            self._fail(f"{missing[0]}{more} is not a picture of the project; import the pictures first")
        return ids

    def _states(
        self, top: dict[str, Any], ids: Mapping[int, int], columns: Mapping[int, int]
    ) -> dict[Cell, CellState]:
        states: dict[Cell, CellState] = {}
        put = self._putter(states)
        seen: set[int] = set()
        for where, entry in self._objects(top, "annotations", needed=False):
            if "id" in entry:
                key = self._id(entry, "id", where)
                if key in seen:
                    self._fail(f"{where}.id is {key}, which another annotation already has")
                seen.add(key)
            image = self._reference(entry, "image_id", where, ids)
            put((image, self._reference(entry, "category_id", where, columns)), CellState.POSITIVE)
        for where, entry in self._objects(top, "images"):
            for name, state in _LISTS:
                for place, value in enumerate(self._list(entry, name, f"{where}.", needed=False)):
                    category = self._whole(value, f"{where}.{name}[{place}]")
                    if category not in columns:
                        self._fail(f"{where}.{name} has {category}, which no category of the file has")
                    put((entry["id"], category), state)
        return states

    def _putter(self, states: dict[Cell, CellState]) -> Callable[[Cell, CellState], None]:
        def put(cell: Cell, state: CellState) -> None:
            before = states.setdefault(cell, state)
            if before is not state:
                self._fail(f"image {cell[0]}, category {cell[1]} is both {before.word} and {state.word}")

        return put

    def _check_agreement(self, top: dict[str, Any], states: Mapping[Cell, CellState]) -> None:
        """`image_labels` must say exactly what annotations and lists say."""
        listed: dict[Cell, CellState] = {}
        put = self._putter(listed)
        for where, entry in self._objects(top, "image_labels"):
            cell = (self._id(entry, "image_id", where), self._id(entry, "category_id", where))
            word = self._text(entry, "state", where)
            if word not in ("positive", "negative", "unsure"):
                self._fail(f"{where}.state is {shown(word)}, not positive, negative or unsure")
            put(cell, CellState.from_word(word))
        for cell in sorted(listed.keys() | states.keys()):
            one, other = (states.get(cell, CellState.UNKNOWN), listed.get(cell, CellState.UNKNOWN))
            if one is not other:
                words = f"{other.word} in image_labels and {one.word} elsewhere"
                self._fail(f"image {cell[0]}, category {cell[1]} is {words}")
