"""A preview of a label file as HTML; every text that came from the file is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from annotator.previews import CATEGORY, NEW, PICTURE, LabelPreview, SeenRow
from annotator.records import CellState
from annotator.ui import words

COLUMNS = 30  # names of categories, before "and 20 more"
CELLS = 8  # names of one state in one row
BAD = 10
HEADERS = ("Where", "Picture", "Yes", "No", "Unsure", "Unknown")
_STATES = (CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE)


def shown(found: LabelPreview) -> str:
    """All of it: how it was read, what would happen, the first rows, the first bad ones."""
    head = f"<h4>Preview of {escape(found.file)}: nothing is stored yet</h4>"
    parts = [head, words.facts(facts(found)), _bad(found), _first(found.first)]
    parts += [words.sentence(note) for note in found.notes]
    return f'<div class="preview">{"".join(parts)}</div>'


def facts(found: LabelPreview) -> list[tuple[str, str]]:
    """Names and values of the table at the top; the terminal prints the same."""
    names = {
        meaning: [one.name for one in found.columns if one.meaning == meaning]
        for meaning in (PICTURE, CATEGORY, NEW)
    }
    rows = [("Read as", _dialect(found))]
    if names[PICTURE]:
        rows.append(("Column of the pictures", names[PICTURE][0]))
    rows.append(("Categories that are there", _some(names[CATEGORY], COLUMNS)))
    rows.append(("New categories", _some(names[NEW], COLUMNS)))
    rows.append(
        (
            "Rows" if names[PICTURE] else "Pictures",
            f"{found.known_rows:,} with an answer, {found.unknown_rows:,} without, {found.bad_rows:,} bad",
        )
    )
    cells = ", ".join(f"{found.cells[state]:,} {state.word}" for state in _STATES)
    rows.append(("Cells", f"{cells}; {found.cells[CellState.UNKNOWN]:,} stay unknown"))
    rows.append(("An import would store", words.number(found.new, "answer")))
    for name, count in (
        ("Answered that way already", found.same),
        ("Answered otherwise, kept as it is", found.kept),
        ("Cleared since, stays cleared", found.cleared),
    ):
        rows += [(name, f"{count:,}")] if count else []
    return rows


def warning(found: LabelPreview) -> str:
    """What bad rows mean for the import; empty without any."""
    if not found.bad_rows:
        return ""
    rows = words.number(found.bad_rows, "row cannot be used", "rows cannot be used")
    which = "it" if found.bad_rows == 1 else "the first one"
    return f"{rows}: {which} stops the import, unless bad rows are left out and listed."


def _dialect(found: LabelPreview) -> str:
    dialect = found.dialect
    table = [f"values separated by {dialect.separator}"] if dialect.separator else []
    if table:
        table.append("some values in quotes" if dialect.quoted else "no quotes")
    return ", ".join([dialect.form, dialect.encoding, *table])


def _some(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _bad(found: LabelPreview) -> str:
    if not found.bad_rows:
        return ""
    lines = "".join(f"<li>{escape(row.reason)}</li>" for row in found.bad[:BAD])
    more = found.bad_rows - min(BAD, len(found.bad))
    rest = f"<li>and {more:,} more</li>" if more else ""
    return f'<div class="trouble"><p>{escape(warning(found))}</p><ul>{lines}{rest}</ul></div>'


def _first(rows: Sequence[SeenRow]) -> str:
    if not rows:
        return words.sentence("There is no good row in it.")
    head = "".join(f"<th scope='col'>{name}</th>" for name in HEADERS)
    body = "".join(f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in line(row))}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<h4>The first rows, as read</h4><div class="facts">{table}</div>'


def line(row: SeenRow) -> Iterable[str]:
    """One row under `HEADERS`."""
    by_state = [[name for name, state in row.cells if state is wanted] for wanted in _STATES]
    return (
        row.where,
        row.image,
        *(_some(names, CELLS) if names else "" for names in by_state),
        words.number(row.unknown, "category", "categories") if row.unknown else "",
    )
