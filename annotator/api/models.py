"""Bodies the API takes: strict, bounded, nothing unknown in them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from annotator.records import CellState, NewDecision, Source

LARGEST = 2**53 - 1  # what a page's numbers hold exactly


def _digits(text: str) -> str:
    """One spelling per id: a number parser also takes blanks, signs and a newline around it."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("an id is written in digits")
    return text


Id = Annotated[int, Field(ge=1, le=LARGEST)]
PathId = Annotated[int, BeforeValidator(_digits), Path(ge=1, le=LARGEST)]
QueryId = Annotated[int, BeforeValidator(_digits), Query(ge=1, le=LARGEST)]
OpId = Annotated[str, Field(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]


def _own(op_id: str) -> str:
    """Names of imported cells follow from the file: one that is taken already would count as imported."""
    if op_id.startswith("import-"):
        raise ValueError('an op_id of an answer does not begin with "import-"')
    return op_id


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class CategoryBody(_Body):
    """A category to add."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]


class DecisionBody(_Body):
    """One answer of a person for one cell; "unknown" takes an answer back. The server knows who and when.

    `base_seq` is the `seq` of the cell that was on screen, 0 where it was unknown, and `after` the own answer
    that was on screen on top of it; with them nothing is overwritten that the person has not seen.
    """

    op_id: Annotated[OpId, AfterValidator(_own)]
    image_id: Id
    category_id: Id
    state: Literal["positive", "negative", "unsure", "unknown"]
    source: Literal["human", "group", "bulk"] = "human"
    mode: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")] = "image"
    shown_ms: Annotated[int, Field(ge=0, le=LARGEST)] | None = None
    generation_id: Id | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    random_stream: bool = False
    undo_of: OpId | None = None
    base_seq: Annotated[int, Field(ge=0, le=LARGEST)] | None = None
    after: OpId | None = None

    def record(self) -> NewDecision:
        """The same as the store takes it."""
        words = {"state": CellState.from_word(self.state), "source": Source(self.source)}
        return NewDecision(**(self.model_dump() | words))


class DecisionsBody(_Body):
    """Answers that are stored together or not at all; `given_by` refuses them in another person's session."""

    decisions: Annotated[list[DecisionBody], Field(min_length=1, max_length=1000)]
    given_by: Id | None = None


class MergeBody(_Body):
    """The category that takes over the answers; `preview` only says what would happen."""

    into: Id
    preview: bool = False


class CategoryOrderBody(_Body):
    """Ids of all active categories in the order in which they shall be listed."""

    ids: Annotated[list[Id], Field(max_length=100_000)]
