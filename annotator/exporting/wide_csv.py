"""A table for spreadsheets: `file_name`, then one column per category; 1, 0, ? unsure, empty unknown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from annotator.exporting.output import ExportReport, atomic
from annotator.exporting.pages import go_on, labelled_images
from annotator.records import CellState
from annotator.store import Store, categories, projects

KEY = "file_name"
_WORDS = {CellState.POSITIVE: "1", CellState.NEGATIVE: "0", CellState.UNSURE: "?"}
# what a spreadsheet takes for a formula, what would be taken for our key, and what looks escaped already
_RISKY = re.compile(rf"'*(?:[=+\-@\t\r\n＝＋－＠]|{KEY}$)")
# A spreadsheet that separates by semicolons or tabs would start a new cell there, perhaps with a formula.
_QUOTED = re.compile(r'[,;\t"\r\n]|^\s|\s$')


def export_csv(
    store: Store, project_id: int, path: Path, *, check: Callable[[], None] = go_on
) -> ExportReport:
    """Write every decided cell of the active categories to `path`: images by id, categories as shown.

    `check` is called before each page of images; what it raises ends the export and leaves no file.
    """
    images = cells = positives = 0
    with store.frozen() as c, atomic(path) as output:
        projects.get(c, project_id)
        active = categories.list_active(c, project_id)
        output.write(_line([KEY, *(escape(category.name) for category in active)]))
        for image, labels in labelled_images(store, c, project_id, active, check):
            words = {label.category_id: _WORDS[label.state] for label in labels}
            output.write(_line([escape(image.name), *(words.get(category.id, "") for category in active)]))
            images += 1
            cells += len(words)
            positives += sum(word == "1" for word in words.values())
        sha256 = output.sha256
    return ExportReport(path=path, images=images, annotations=positives, cells=cells, sha256=sha256)


def escape(text: str) -> str:
    """`text` so that no spreadsheet runs it; the importer takes the quote away again."""
    return f"'{text}" if _RISKY.match(text) else text


def _line(values: list[str]) -> str:
    return ",".join(_value(value) for value in values) + "\n"


def _value(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text
