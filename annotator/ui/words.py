"""Records as HTML for people; every text that came from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from annotator.errors import AnnotatorError
from annotator.records import ImportReport

NOTES_SHOWN = 4


def sentence(text: str) -> str:
    """One paragraph."""
    return f"<p>{escape(text)}</p>" if text else ""


def trouble(error: AnnotatorError) -> str:
    """What went wrong, in the sentence the error carries."""
    return f'<div class="trouble" role="alert"><b>Not done.</b> {escape(str(error))}</div>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A small table of names and values."""
    body = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows
    )
    return f'<div class="facts"><table><tbody>{body}</tbody></table></div>' if body else ""


def number(value: int, one: str, many: str | None = None) -> str:
    """`1 picture`, `1,200 pictures`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def import_report(report: ImportReport, *, of: str = "file") -> str:
    """What an import did; what it refused, each a file or a row as `of` says, is a table of its own."""
    rows = []
    if report.added or report.duplicates or (report.refused and of == "file"):
        rows.append(("Pictures added", f"{report.added:,}"))
        rows.append(("Already there (same bytes)", f"{report.duplicates:,}"))
    if report.cells or report.cells_known or report.categories_added:
        rows.append(("Cells answered", f"{report.cells:,}"))
        rows.append(("Cells that had an answer already", f"{report.cells_known:,}"))
        rows.append(("Categories added", f"{report.categories_added:,}"))
    if report.refused:
        rows.append(("Refused", f"{number(len(report.refused), of)}, listed below"))
    notes = _notes(report.notes)
    nothing = sentence("Nothing new was found.") if not rows and not notes else ""
    return facts(rows) + notes + nothing


def _notes(notes: Sequence[str]) -> str:
    """All notes; many of them are folded away."""
    if len(notes) <= NOTES_SHOWN:
        return "".join(sentence(note) for note in notes)
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<details><summary>{number(len(notes), 'note')}</summary><ul>{items}</ul></details>"


def refused_rows(report: ImportReport) -> tuple[tuple[str, str], ...]:
    """Name and reason of every file or row that was not taken; a row's place is said once."""
    return tuple((one.name, one.beside_name) for one in report.refused)


def percent(value: object) -> str:
    """`61.2 %`, or a dash when it was not measured."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return "–"
    return f"{100 * value:.1f} %"


def joined(parts: Sequence[str]) -> str:
    """Non-empty parts with a dot between them."""
    return " · ".join(part for part in parts if part)
