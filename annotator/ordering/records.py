"""What the ordering answers with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Question:
    """One picture to ask about."""

    image_id: int
    why: str
    category_id: int | None = None  # the cell it is about first
    blind: bool = False  # this one cell, drawn at random, asked without any suggestion


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """How the next seconds are spent best."""

    mode: str  # "image" or "grid"
    category_id: int | None
    cells: int  # answers it asks for
    seconds: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """Questions in asking order and how they were ordered."""

    questions: tuple[Question, ...]
    generation_id: int | None
    strategy: str  # the one that was used, which need not be the one wished for
    note: str = ""
    proposal: Proposal | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """The pictures in the order of their first question, each once."""
        return tuple(dict.fromkeys(question.image_id for question in self.questions))


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One picture of a grid."""

    image_id: int
    name: str
    probability: float | None  # None where nothing has been learnt of the cell


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Unknown cells of one category over many pictures, in asking order."""

    category_id: int
    generation_id: int | None
    why: str
    seconds: float
    cells: tuple[GridCell, ...]
