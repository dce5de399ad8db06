"""Labels of a COCO file: our own `coco_partial/1`, or plain COCO where absence says nothing by itself.

Read as a stream and checked by hand before anything is used: no foreign parser, no number that is not a plain
one. What is kept in memory is the list of pictures and a few numbers for each annotation.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

import numpy as np
import numpy.typing as npt

from annotator.errors import BadFile
from annotator.importing import coco_states, geometry
from annotator.importing.cells import (
    FIRST,
    BadRow,
    Cells,
    Problems,
    Sight,
    check_count,
    find_image,
    shown,
    tidy_category,
)
from annotator.importing.coco_states import States
from annotator.importing.json_stream import LIST, NotJson, members
from annotator.previews import SeenRow
from annotator.records import CellState

SCHEMA = "coco_partial/1"
MAX_ID = 2**53 - 1  # beyond that other JSON readers change the number
Absent = Literal["unknown", "negative"]
_LISTS = (("neg_category_ids", CellState.NEGATIVE), ("unsure_category_ids", CellState.UNSURE))
_WANTED = ("images", "annotations", "categories", "image_labels")
_WORDS = {state.word: state for state in (CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE)}


def read(file: TextIO, known: Mapping[str, int], problems: Problems, *, absent: Absent = "unknown") -> Cells:
    """Cells of a COCO text; `known` maps the names of the project's images to ids.

    In plain COCO an annotation means positive, and `absent` says what no annotation means; a partial file
    says so itself. BadFile for a file that cannot be read as a whole; bad rows go to `problems`.
    """
    reader = _Reader(problems, known)
    try:
        for key, place, value in members(file):
            reader.take(key, place, value)
    except NotJson as error:
        text = str(error)
        raise BadFile(problems.file, text) from error
    return reader.cells(absent)


@dataclass
class _Named:
    """Cells as the file names them: image id, category id, state, and the row and list that say so."""

    images: array[int] = field(default_factory=lambda: array("q"))
    categories: array[int] = field(default_factory=lambda: array("q"))
    states: array[int] = field(default_factory=lambda: array("b"))
    rows: array[int] = field(default_factory=lambda: array("q"))
    list: str = "annotations"  # of the file

    def add(self, image: int, category: int, state: CellState, row: int) -> None:
        self.images.append(image)
        self.categories.append(category)
        self.states.append(state)
        self.rows.append(row)


class _Reader:
    """Takes the members of one file, in whatever order they come."""

    def __init__(self, problems: Problems, known: Mapping[str, int]) -> None:
        self._problems = problems
        self._known = known
        self._keys: set[str] = set()
        self._partial = False
        self._names: list[str] = []
        self._columns: dict[int, int] = {}  # category id of the file to position in names
        self._images: dict[int, int] = {}  # image id of the file to image id of the project
        self._sizes: dict[int, geometry.Size] = {}
        self._seen_names: dict[str, str] = {}
        self._seen_images: dict[int, int] = {}  # image id of the project to row
        self._absent, self._absent_first = 0, ""  # pictures that the project does not have
        self._annotations, self._labels = _Named(), _Named(list="image_labels")
        self._listed = _Named(list="images")
        self._annotation_ids = array("q")  # -1 where there is none
        self._bad_annotations = 0

    def take(self, key: str, place: int, value: Any) -> None:
        """One member of the top level, or one element of a list there."""
        if place < 0:
            self._keys.add(key)
            if key == "info":
                self._partial = self._is_partial(value)
            elif key in _WANTED and value is not LIST:
                raise BadFile(self._problems.file, f"{key} is {shown(value)}, not a list")
            return
        if key not in _WANTED:
            return
        before = self._problems.count
        with self._problems.row(f"{key}[{place}]"):
            where = f"{key}[{place}]"
            if not isinstance(value, dict):
                raise BadRow(f"{where} is {shown(value)}, not an object")
            getattr(self, f"_{key}_row")(value, where, place)
        if key == "annotations":
            self._bad_annotations += self._problems.count - before

    def _is_partial(self, info: object) -> bool:
        if not isinstance(info, dict):
            what = "a list" if info is LIST else shown(info)
            raise BadFile(self._problems.file, f"info is {what}, not an object")
        schema = info.get("schema", "")
        if isinstance(schema, str) and schema.startswith("coco_partial/") and schema != SCHEMA:
            raise BadFile(self._problems.file, f"its schema is {shown(schema)}, this program reads {SCHEMA}")
        return schema == SCHEMA or info.get("label_semantics") == "partial"

    def _categories_row(self, entry: dict[str, Any], where: str, _row: int) -> None:
        key = _id(entry, "id", where)
        if key in self._columns:
            raise BadRow(f"{where}.id is {key}, which another category already has")
        name = tidy_category(where, _text(entry, "name", where), self._seen_names)
        self._columns[key] = len(self._names)
        self._names.append(name)

    def _images_row(self, entry: dict[str, Any], where: str, row: int) -> None:
        key = _id(entry, "id", where)
        if key in self._images:
            raise BadRow(f"{where}.id is {key}, which another image already has")
        file_name = _text(entry, "file_name", where)
        lists = [
            (_whole(value, f"{where}.{name}[{place}]"), state)
            for name, state in _LISTS
            for place, value in enumerate(_list(entry, name, where))
        ]
        found = find_image(self._known, file_name)
        self._images[key] = found or 0
        if found is None:
            self._not_there(f"{where}.file_name {shown(file_name)}", f"images[{row}]")
            return
        if found in self._seen_images:
            del self._images[key]
            first = f"images[{self._seen_images[found]}]"
            raise BadRow(f"{where}.file_name {shown(file_name)} was already given in {first}")
        self._seen_images[found] = row
        self._note_size(key, entry)
        for category, state in lists:
            self._listed.add(key, category, state, row)

    def _note_size(self, key: int, entry: dict[str, Any]) -> None:
        width, height = (entry.get(side) for side in ("width", "height"))
        if isinstance(width, int | float) and isinstance(height, int | float) and width > 0 and height > 0:
            self._sizes[key] = (float(min(width, MAX_ID)), float(min(height, MAX_ID)))

    def _not_there(self, what: str, where: str) -> None:
        if self._problems.lenient:
            self._problems.add(where, f"{what} is not a picture of the project")
        self._absent += 1
        self._absent_first = self._absent_first or what

    def _annotations_row(self, entry: dict[str, Any], where: str, row: int) -> None:
        key = _id(entry, "id", where) if "id" in entry else -1
        image, category = _id(entry, "image_id", where), _id(entry, "category_id", where)
        geometry.check(entry, where, self._sizes.get(image))
        self._annotations.add(image, category, CellState.POSITIVE, row)
        self._annotation_ids.append(key)

    def _image_labels_row(self, entry: dict[str, Any], where: str, row: int) -> None:
        image, category = _id(entry, "image_id", where), _id(entry, "category_id", where)
        word = _text(entry, "state", where)
        if word not in _WORDS:
            raise BadRow(f"{where}.state is {shown(word)}, not positive, negative or unsure")
        self._labels.add(image, category, _WORDS[word], row)

    def cells(self, absent: Absent) -> Cells:
        """What the whole file says."""
        for key in ("categories", "images"):
            if key not in self._keys:
                raise BadFile(self._problems.file, f'it has no "{key}"')
        if self._absent and not self._problems.lenient:
            more = f" (and {self._absent - 1} more)" if self._absent > 1 else ""
            raise BadFile(
                self._problems.file,
                f"{self._absent_first}{more} is not a picture of the project; import the pictures first",
            )
        found = [self._resolved(self._annotations), self._resolved(self._listed)]
        before = self._problems.count
        states = coco_states.merged(found, self._problems)
        twofold = self._problems.count - before
        if self._partial and "image_labels" in self._keys:
            listed = coco_states.merged([self._resolved(self._labels)], self._problems)
            states = coco_states.agreeing(states, listed, self._problems)
        if not self._partial and absent == "negative":
            states = self._with_negatives(states, twofold)
        return self._as_cells(states, absent)

    def _resolved(self, named: _Named) -> States:
        """The cells whose image and category the file has; the others are bad rows."""
        images, categories = np.asarray(named.images), np.asarray(named.categories)
        no_image = ~np.isin(images, np.fromiter(self._images, dtype=np.int64))
        no_category = ~np.isin(categories, np.fromiter(self._columns, dtype=np.int64))
        twice = np.zeros(len(images), dtype=np.bool_)
        if named is self._annotations:
            twice = coco_states.repeated(np.asarray(self._annotation_ids))
            self._bad_annotations += int((no_image | no_category | twice).sum())
        for place in np.flatnonzero(no_image | no_category | twice):
            row, (key, value) = named.rows[place], ("category_id", categories[place])
            if no_image[place]:
                key, value = "image_id", images[place]
            problem = (
                f"{named.list}[{row}].{key} is {value}, which no {key.removesuffix('_id')} of the file has"
            )
            if named is self._listed:
                list_ = next(name for name, state in _LISTS if state == named.states[place])
                problem = f"images[{row}].{list_} has {value}, which no category of the file has"
            elif twice[place] and not (no_image[place] or no_category[place]):
                own = self._annotation_ids[place]
                problem = f"annotations[{row}].id is {own}, which another annotation already has"
            self._problems.add(f"{named.list}[{row}]", problem)
        gone = [key for key, found in self._images.items() if not found]  # listed where the image is
        kept = ~(no_image | no_category | twice) & ~np.isin(images, np.array(gone, dtype=np.int64))
        return States(images=images[kept], categories=categories[kept], states=np.asarray(named.states)[kept])

    def _with_negatives(self, states: States, twofold: int) -> States:
        """Every other cell is negative; BadFile where nobody can know that. `twofold`: cells left out."""
        bad = self._bad_annotations
        why = 'it has no "annotations"' if "annotations" not in self._keys else ""
        if bad:
            why = f"{bad} annotation{'s' * (bad > 1)} cannot be used"
        elif twofold:
            why = f"{'1 cell is' if twofold == 1 else f'{twofold} cells are'} said to be two things"
        if why:
            raise BadFile(self._problems.file, f"{why}, so that none cannot mean negative")
        images = np.array([key for key, found in self._images.items() if found], dtype=np.int64)
        check_count(self._problems.file, len(images) * len(self._columns))
        categories = np.fromiter(self._columns, dtype=np.int64)
        return coco_states.filled(states, images, categories)

    def _as_cells(self, states: States, absent: Absent) -> Cells:
        check_count(self._problems.file, len(states.states))
        cells = Cells(names=self._names, sight=self._sight(states))
        cells.image_ids.frombytes(_looked_up(states.images, self._images).astype(np.int64).tobytes())
        cells.columns.frombytes(_looked_up(states.categories, self._columns).astype(np.intc).tobytes())
        cells.states.frombytes(states.states.astype(np.int8).tobytes())
        if not self._partial:
            cells.notes.append(f"No annotation was read as {absent}.")
        return cells

    def _sight(self, states: States) -> Sight:
        """What is told of the file, and its first pictures with their cells."""
        there = {key: found for key, found in self._images.items() if found}
        first = list(there)[:FIRST]
        wanted = {there[key] for key in first}
        names = {found: name for name, found in self._known.items() if found in wanted}
        rows = [self._seen(key, names[there[key]], states) for key in first]
        return Sight(form=SCHEMA if self._partial else "COCO", pictures=len(there), first=rows)

    def _seen(self, key: int, name: str, states: States) -> SeenRow:
        own = states[states.images == key]
        cells = tuple(
            (self._names[self._columns[int(category)]], CellState(int(state)))
            for category, state in zip(own.categories, own.states, strict=True)
        )
        where = f"images[{self._seen_images[self._images[key]]}]"
        return SeenRow(where=where, image=name, cells=cells, unknown=len(self._names) - len(cells))


def _looked_up(keys: npt.NDArray[np.int64], table: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """The values of `table` for `keys`, all of which it has."""
    names = np.fromiter(table.keys(), dtype=np.int64, count=len(table))
    values = np.fromiter(table.values(), dtype=np.int64, count=len(table))
    order = np.argsort(names)
    found: npt.NDArray[np.int64] = values[order][np.searchsorted(names[order], keys)]
    return found


def _id(entry: dict[str, Any], key: str, where: str) -> int:
    if key not in entry:
        raise BadRow(f'{where} has no "{key}"')
    return _whole(entry[key], f"{where}.{key}")


def _whole(value: object, where: str) -> int:
    # bool is an int to Python, not to JSON
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise BadRow(f"{where} is {shown(value)}, not a whole number from 0 to {MAX_ID}")
    return value


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    if key not in entry:
        raise BadRow(f'{where} has no "{key}"')
    if not isinstance(entry.get(key), str):
        raise BadRow(f"{where}.{key} is {shown(entry.get(key))}, not a text")
    return str(entry[key])


def _list(entry: dict[str, Any], key: str, where: str) -> list[Any]:
    found = entry.get(key, [])
    if not isinstance(found, list):
        raise BadRow(f"{where}.{key} is {shown(found)}, not a list")
    return found
