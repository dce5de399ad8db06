"""Cells of a label file that has been checked, before they are written."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from annotator.errors import BadFile, BadInput
from annotator.records import CellState
from annotator.store.projects import tidy_name

MAX_LABEL_BYTES = 2**30


@dataclass(kw_only=True)
class Cells:
    """Decided cells in parallel arrays: image id, position in `names`, state."""

    names: list[str]
    image_ids: array[int] = field(default_factory=lambda: array("q"))
    columns: array[int] = field(default_factory=lambda: array("l"))
    states: array[int] = field(default_factory=lambda: array("b"))
    notes: list[str] = field(default_factory=list)

    def add(self, image_id: int, column: int, state: CellState) -> None:
        """One more cell."""
        self.image_ids.append(image_id)
        self.columns.append(column)
        self.states.append(state)


def find_image(known: Mapping[str, int], name: str) -> int | None:
    """Id of the picture a label file means: its exact name, or that with forward slashes and without ./"""
    exact = unicodedata.normalize("NFC", name)
    return known.get(exact, known.get(exact.replace("\\", "/").removeprefix("./")))


def check_names(names: list[tuple[str, str]], file: str) -> list[str]:
    """Tidy category names of a file, given as (where in the file, name); BadFile for the first bad one."""
    seen: dict[str, str] = {}
    tidied = []
    for where, name in names:
        try:
            tidy = tidy_name(name, "category")
        except BadInput as error:
            raise BadFile(file, f"{where}: {error}") from error
        if tidy.casefold() in seen:
            raise BadFile(
                file, f'{where}: the category "{tidy}" was already named in {seen[tidy.casefold()]}'
            )
        seen[tidy.casefold()] = where
        tidied.append(tidy)
    return tidied


def read_text(path: Path) -> tuple[bytes, str]:
    """Bytes and text of a label file; BadFile unless it is UTF-8 of a sane size."""
    try:
        size = path.stat().st_size
        if size > MAX_LABEL_BYTES:
            raise BadFile(path.name, f"it has {size} bytes, the limit for label files is {MAX_LABEL_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise BadFile(path.name, f"it cannot be read ({error.strerror})") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadFile(path.name, "it is written in UTF-16, save it as UTF-8")
    if data.startswith(b"PK\x03\x04"):
        raise BadFile(path.name, "it is a ZIP archive or a spreadsheet, not CSV or JSON")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(path.name, f"it is not UTF-8 text (byte {error.start + 1})") from error
    if not text.strip():
        raise BadFile(path.name, "the file is empty")
    return data, text


def shown(value: object) -> str:
    """A value from a file, short enough for a sentence."""
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 60 else f"{text[:57]}..."
