"""`annotator import --labels FILE --preview`: the same as the page shows, for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from annotator.logs import visible
from annotator.previews import LabelPreview
from annotator.ui import label_preview

BAD = 20  # bad rows that are named


def tell(found: LabelPreview, out: Console) -> None:
    """How a label file was read and what importing it would do."""
    out.print(f"Preview of {visible(found.file)}: nothing is stored.", markup=False, highlight=False)
    facts = Table(show_header=False, box=None, pad_edge=False)
    for name, value in label_preview.facts(found):
        facts.add_row(_text(name), _text(value))
    out.print(facts)
    if found.first:
        rows = Table(*label_preview.HEADERS, title="The first rows, as read", title_justify="left")
        for row in found.first:
            rows.add_row(*map(_text, label_preview.line(row)))
        out.print(rows)
    lines = [label_preview.warning(found), *(f"  bad   {row.reason}" for row in found.bad[:BAD])]
    if found.bad_rows > BAD:
        lines.append(f"  and {found.bad_rows - BAD:,} more")
    for line in [*lines, *(f"  note  {note}" for note in found.notes)]:
        if line:
            out.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def _text(value: str) -> Text:
    return Text(visible(value))
