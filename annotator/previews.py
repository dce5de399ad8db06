"""What an import of labels would do, as records: nothing of it has been stored."""

from __future__ import annotations

from dataclasses import dataclass

from annotator.records import CellState, RefusedFile

PICTURE, CATEGORY, NEW = "picture", "category", "new category"  # what a column is taken for


@dataclass(frozen=True, kw_only=True)
class SeenColumn:
    """A column of a table, or a category of a COCO file, and what it was taken for."""

    name: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class SeenRow:
    """One row, or one picture of a COCO file: its decided cells; what is not among them is unknown."""

    where: str  # "line 2"; empty where the order says nothing
    image: str
    cells: tuple[tuple[str, CellState], ...]
    unknown: int


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a file is written, as far as it had to be guessed."""

    form: str  # "CSV", "COCO" or "coco_partial/1"
    encoding: str
    separator: str = ""  # of a table, in words: "commas"
    quoted: bool = False  # there are values in quotes


@dataclass(frozen=True, kw_only=True)
class LabelPreview:
    """How a label file was read, and what importing it would do to the project at this moment."""

    file: str
    dialect: Dialect
    columns: tuple[SeenColumn, ...]  # all of them
    first: tuple[SeenRow, ...]  # the first good rows
    known_rows: int  # rows that decide at least one cell
    unknown_rows: int  # good rows that decide none
    bad_rows: int
    cells: dict[CellState, int]  # of the good rows; UNKNOWN among them
    new: int  # decided cells that would be stored
    same: int  # that are decided this way already
    kept: int  # that are decided otherwise and would stay so
    cleared: int  # that this file brought once, somebody cleared, and that would stay cleared
    bad: tuple[RefusedFile, ...] = ()  # the first bad rows
    notes: tuple[str, ...] = ()

    @property
    def categories_new(self) -> int:
        """How many categories would be added."""
        return sum(column.meaning == NEW for column in self.columns)
