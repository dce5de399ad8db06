"""Cells of a label file that has been checked, before they are written, and what was wrong with its rows."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from annotator.errors import BadFile, BadInput
from annotator.previews import SeenRow
from annotator.records import CellState, RefusedFile
from annotator.store.names import tidy_name, twin_key

MAX_CELLS = 20_000_000
LISTED = 1_000  # rows that are named; more are counted
_JSON = {"None": "null", "True": "true", "False": "false", "inf": "Infinity", "-inf": "-Infinity"}
FIRST = 8  # rows that a preview shows as they were read


class BadRow(Exception):
    """One row of a label file cannot be used; the text says where and why."""


@dataclass(kw_only=True)
class Problems:
    """What becomes of bad rows of a file: the first stops a strict import, a lenient one lists them all."""

    file: str
    lenient: bool = False
    listed: list[RefusedFile] = field(default_factory=list)
    count: int = 0
    named: int = 0  # of them, by those that are listed

    @contextmanager
    def row(self, where: str) -> Iterator[None]:
        """A block that reads one row and may raise BadRow."""
        try:
            yield
        except BadRow as error:
            self.add(where, str(error))

    def add(self, where: str, reason: str, *, rows: int = 1) -> None:
        """One bad row, or several that `where` names together; BadFile when the import is strict."""
        if not self.lenient:
            raise BadFile(self.file, reason)
        self.count += rows
        if len(self.listed) < LISTED:
            self.named += rows
            self.listed.append(RefusedFile(name=f"{self.file}, {where}", reason=reason))

    def notes(self) -> list[str]:
        """How many rows were left out, and how many of them are not listed."""
        if not self.count:
            return []
        more = self.count - self.named
        return [f"{were(self.count, 'row')} left out" + (f", {more} of them not listed." if more else ".")]


@dataclass(kw_only=True)
class Sight:
    """What a reader saw of a file beside its cells: a preview shows it."""

    form: str
    separator: str = ""
    quoted: bool = False
    key: int | None = None  # position of the column with the pictures' names among `names`
    pictures: int = 0  # good rows of a table, pictures of a COCO file that the project has
    first: list[SeenRow] = field(default_factory=list)  # at most FIRST


@dataclass(kw_only=True)
class Cells:
    """Decided cells in parallel arrays: image id, position in `names`, state."""

    names: list[str]
    sight: Sight
    image_ids: array[int] = field(default_factory=lambda: array("q"))
    columns: array[int] = field(default_factory=lambda: array("i"))
    states: array[int] = field(default_factory=lambda: array("b"))
    notes: list[str] = field(default_factory=list)

    def add(self, image_id: int, column: int, state: CellState) -> None:
        """One more cell."""
        self.image_ids.append(image_id)
        self.columns.append(column)
        self.states.append(state)


def check_count(file: str, cells: int) -> None:
    """BadFile when a file decides more cells than can be kept in memory at once."""
    if cells > MAX_CELLS:
        raise BadFile(file, f"it decides {cells} cells, the limit is {MAX_CELLS}; cut it into several files")


def find_image(known: Mapping[str, int], name: str) -> int | None:
    """Id of the picture a label file means: its exact name, or that with forward slashes and without ./"""
    exact = unicodedata.normalize("NFC", name)
    return known.get(exact, known.get(exact.replace("\\", "/").removeprefix("./")))


def tidy_category(where: str, name: str, seen: dict[str, str]) -> str:
    """A usable category name that no other place of the file has; BadRow otherwise. `seen` grows by it."""
    try:
        tidy = tidy_name(name, "category")
    except BadInput as error:
        raise BadRow(f"{where}: {error}") from error
    before = seen.setdefault(twin_key(tidy), where)
    if before != where:
        raise BadRow(f'{where}: the category "{tidy}" was already named in {before}')
    return tidy


def were(count: int, noun: str) -> str:
    """A count with its noun and verb: 1 cell was, 3 cells were."""
    return f"1 {noun} was" if count == 1 else f"{count} {noun}s were"


def shown(value: object) -> str:
    """A value from a file, short enough for a sentence."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    text = text if isinstance(value, str) else _JSON.get(text, text)
    flat = " ".join(text[:80].split())
    return flat if len(flat) <= 60 and len(text) <= 80 else f"{flat[:57]}..."
