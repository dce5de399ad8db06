"""Labels of a wide CSV: `file_name`, then a column per category; 1 yes, 0 no, ? unsure, empty unknown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping

from annotator.errors import BadFile
from annotator.importing.cells import Cells, check_names, find_image, shown
from annotator.records import CellState

KEY = "file_name"
_STATES = {
    "1": CellState.POSITIVE,
    "0": CellState.NEGATIVE,
    "?": CellState.UNSURE,
    "": CellState.UNKNOWN,
}
# how our own export protects texts a spreadsheet would take for a formula
_ESCAPED = re.compile(rf"'+(?:[=+\-@\t\r]|{KEY}$)")


def read(text: str, name: str, known: Mapping[str, int]) -> Cells:
    """Cells of a CSV text; `known` maps the names of the project's images to ids.

    BadFile names line, column and value of the first thing that is wrong.
    """
    rows = _rows(text, name)
    line, header = next(rows)
    place, names, columns = _header(header, name)
    cells = Cells(names=names)
    seen: dict[int, int] = {}
    for line, row in rows:
        if len(row) != len(header):
            raise BadFile(name, f"line {line} has {len(row)} values, the header has {len(header)}")
        image_id = find_image(known, unescape(row[place]))
        if image_id is None:
            raise BadFile(
                name, f"line {line}: no picture of the project is named {shown(unescape(row[place]))}"
            )
        if image_id in seen:
            raise BadFile(
                name, f"line {line}: {shown(row[place])} was already given in line {seen[image_id]}"
            )
        seen[image_id] = line
        for column, position in enumerate(columns):
            state = _STATES.get(row[position].strip())
            if state is None:
                where = f'line {line}, column "{names[column]}"'
                raise BadFile(name, f"{where}: the value {shown(row[position])} is not 1, 0, ? or empty")
            if state is not CellState.UNKNOWN:
                cells.add(image_id, column, state)
    return cells


def unescape(text: str) -> str:
    """A text as it was before `exporting.wide_csv` protected it."""
    return text[1:] if _ESCAPED.match(text) else text


def _rows(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with their line numbers; semicolons and tabs may stand for commas."""
    first = text.lstrip().split("\n", 1)[0]
    after_key = re.match(rf'"?{KEY}"? ?([,;\t])', first)
    delimiter = after_key[1] if after_key else next((sign for sign in ",;\t" if sign in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if any(row):
                yield reader.line_num, row
    except csv.Error as error:
        raise BadFile(name, f"line {reader.line_num} is not CSV ({error})") from error


def _header(header: list[str], name: str) -> tuple[int, list[str], list[int]]:
    """Position of the file names, tidy categories, and the positions of those."""
    places = [position for position, title in enumerate(header) if title.strip() == KEY]
    if not places:
        raise BadFile(name, f'the header has no column "{KEY}" (its first column is {shown(header[0])})')
    if len(places) > 1:
        raise BadFile(
            name, f'the column "{KEY}" is there twice (columns {places[0] + 1} and {places[1] + 1})'
        )
    columns = [position for position in range(len(header)) if position != places[0]]
    if not columns:
        raise BadFile(name, f'there is no category column beside "{KEY}"')
    titles = [(f"column {position + 1}", unescape(header[position].strip())) for position in columns]
    return places[0], check_names(titles, name), columns
