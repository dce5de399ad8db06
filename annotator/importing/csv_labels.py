"""Labels of a wide CSV: `file_name`, then a column per category; 1 yes, 0 no, ? unsure, empty unknown."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TextIO

from annotator.errors import BadFile
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
from annotator.previews import SeenRow
from annotator.records import CellState

KEY = "file_name"
MAX_LINE = 16 * 2**20  # characters
MAX_COLUMNS = 20_000
_STATES = {
    "": CellState.UNKNOWN,
    **dict.fromkeys(("1", "yes", "y", "true", "positive"), CellState.POSITIVE),
    **dict.fromkeys(("0", "no", "n", "false", "negative"), CellState.NEGATIVE),
    **dict.fromkeys(("?", "unsure"), CellState.UNSURE),
}
_SIGNS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# how our own export protects texts a spreadsheet would take for a formula
_ESCAPED = re.compile(rf"'+(?:[=+\-@\t\r\n＝＋－＠]|{KEY}$)")


def read(file: TextIO, known: Mapping[str, int], problems: Problems) -> Cells:
    """Cells of a CSV text; `known` maps the names of the project's images to ids.

    BadFile for a header that cannot be used; bad lines go to `problems`, which name line, column and value.
    """
    reader = _Reader(file, problems)
    place, names, columns = reader.header()
    sight = Sight(form="CSV", separator=_SIGNS[reader.delimiter], key=place)
    cells = Cells(names=names, sight=sight)
    if reader.delimiter != ",":
        cells.notes.append(f"The values were read as separated by {_SIGNS[reader.delimiter]}.")
    seen: dict[int, int] = {}
    for line, row in reader.rows():
        with problems.row(f"line {line}"):
            if len(row) != reader.width:
                raise BadRow(f"line {line} has {len(row)} values, the header has {reader.width}")
            image_id = _image(row[place], line, known, seen)
            states = _states(row, line, names, columns)
            for column, state in states:
                cells.add(image_id, column, state)
            seen[image_id] = line
            if len(sight.first) < FIRST:
                sight.first.append(_seen(row[place], line, names, states))
        check_count(problems.file, len(cells.states))
    sight.pictures, sight.quoted = len(seen), reader.quoted
    return cells


def unescape(text: str) -> str:
    """A text as it was before `exporting.wide_csv` protected it."""
    return text[1:] if _ESCAPED.match(text) else text


def guessed(first: str) -> str:
    """What separates the values of a header line."""
    after_key = re.match(rf'\s*"?{KEY}"? ?([,;\t])', first)
    return after_key[1] if after_key else next((sign for sign in ",;\t" if sign in first), ",")


def _image(given: str, line: int, known: Mapping[str, int], seen: Mapping[int, int]) -> int:
    name = unescape(given)
    image_id = find_image(known, name)
    if image_id is None:
        raise BadRow(f"line {line}: no picture of the project is named {shown(name)}")
    if image_id in seen:
        raise BadRow(f"line {line}: {shown(name)} was already given in line {seen[image_id]}")
    return image_id


def _states(row: list[str], line: int, names: list[str], columns: list[int]) -> list[tuple[int, CellState]]:
    """The decided cells of a row; all of it is checked before any of it counts."""
    found: list[tuple[int, CellState]] = []
    for column, position in enumerate(columns):
        state = _STATES.get(row[position].strip().lower())
        if state is None:
            where = f'line {line}, column "{names[column]}"'
            raise BadRow(f"{where}: the value {shown(row[position])} is not 1, 0, ? or empty")
        if state is not CellState.UNKNOWN:
            found.append((column, state))
    return found


def _seen(given: str, line: int, names: list[str], states: list[tuple[int, CellState]]) -> SeenRow:
    named = tuple((names[column], state) for column, state in states)
    return SeenRow(where=f"line {line}", image=unescape(given), cells=named, unknown=len(names) - len(named))


class _Reader:
    """Rows of the file; semicolons and tabs may stand for commas."""

    def __init__(self, file: TextIO, problems: Problems) -> None:
        self._problems = problems
        self.quoted = False
        lines = self._lines(file)
        self._skipped, first = 0, next(lines, "")
        while first and not first.strip():
            self._skipped, first = self._skipped + 1, next(lines, "")
        self.delimiter = guessed(first)
        self._rows = csv.reader(chain([first], lines), delimiter=self.delimiter, strict=True)
        self.width = 0

    def header(self) -> tuple[int, list[str], list[int]]:
        """Position of the file names, tidy categories, the positions of those; BadFile for a bad header."""
        try:
            with Problems(file=self._problems.file).row(""):
                return self._header(next(self._rows))
        except csv.Error as error:
            raise BadFile(self._problems.file, f"line {self._line} is not CSV ({error})") from error
        raise AssertionError("a strict problem always raises")

    def _header(self, header: list[str]) -> tuple[int, list[str], list[int]]:
        self.width = len(header)
        places = [position for position, title in enumerate(header) if title.strip() == KEY]
        if not places:
            raise BadRow(f'the header has no column "{KEY}" (its first column is {shown(header[0])})')
        if len(places) > 1:
            raise BadRow(f'the column "{KEY}" is there twice (columns {places[0] + 1} and {places[1] + 1})')
        if len(header) > MAX_COLUMNS:
            raise BadRow(f"it has {len(header)} columns, the limit is {MAX_COLUMNS}")
        columns = [position for position in range(len(header)) if position != places[0]]
        if not columns:
            raise BadRow(f'there is no category column beside "{KEY}"')
        seen: dict[str, str] = {}
        names = [
            tidy_category(f"column {position + 1}", unescape(header[position].strip()), seen)
            for position in columns
        ]
        return places[0], names, columns

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Rows below the header that are not blank, with their line numbers."""
        while True:
            before = self._line
            try:
                row = next(self._rows)
            except StopIteration:
                return
            except csv.Error as error:
                self._not_csv(before + 1, error)
                continue
            if any(row):
                yield self._line, row

    def _not_csv(self, first: int, error: csv.Error) -> None:
        """The lines since `first` are bad rows, all of them: a quote that is not closed swallows the next."""
        count = self._line - first + 1
        where, verb, hint = f"line {first}", "is", ""
        if count > 1:
            where, verb = f"lines {first} to {self._line}", "are"
        if count > 1 or "unexpected end" in str(error):
            hint = "; is a quote not closed?"
        self._problems.add(where, f"{where} {verb} not CSV ({error}{hint})", rows=count)

    @property
    def _line(self) -> int:
        return self._skipped + self._rows.line_num

    def _lines(self, file: TextIO) -> Iterator[str]:
        """Lines with their ends; BadFile for one that nobody would write."""
        while line := file.readline(MAX_LINE):
            if len(line) == MAX_LINE:
                name = self._problems.file
                raise BadFile(name, f"one of its lines has more than {MAX_LINE} characters")
            self.quoted = self.quoted or '"' in line
            yield line
