"""What crosses rooms: frozen records, no behaviour beyond naming.

Times are integer milliseconds since 1970 UTC. Ids are stable and never reused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any


class CellState(IntEnum):
    """State of one (image, category) cell. UNKNOWN is never stored as a label: it is the absence of one."""

    POSITIVE = 1
    NEGATIVE = -1
    UNSURE = 2
    UNKNOWN = 0  # as a decision: the person cleared the cell

    @property
    def word(self) -> str:
        """The word used on the wire and in exports."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: str) -> CellState:
        """Inverse of `word`; raises KeyError on anything else."""
        if word != word.lower():
            raise KeyError(word)
        return cls[word.upper()]


class Source(StrEnum):
    """How a decision came about."""

    HUMAN = "human"  # one key for one cell
    GROUP = "group"  # one key for several shown cells ("none of the rest shown")
    BULK = "bulk"
    DERIVED = "derived"
    IMPORTED = "imported"


class ImageState(StrEnum):
    """Whether a picture can be used."""

    READY = "ready"
    MISSING = "missing"
    CHANGED = "changed"
    REFUSED = "refused"


class JobStatus(StrEnum):
    """Life of a job. A running job without a heartbeat for a lease is claimed again."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class GenerationStatus(StrEnum):
    """Only one generation per project is CURRENT."""

    CURRENT = "current"
    RETIRED = "retired"
    REJECTED = "rejected"
    REMOVED = "removed"  # the row is kept, the files are gone


@dataclass(frozen=True, kw_only=True)
class Project:
    """A set of images with its categories."""

    id: int
    name: str
    created_at: int
    archived_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Category:
    """One yes/no question asked of every image of a project."""

    id: int
    project_id: int
    name: str
    position: int
    archived_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Image:
    """One picture; width and height are upright, after EXIF orientation."""

    id: int
    project_id: int
    sha256: str  # of the original bytes
    name: str  # as given, forward slashes, unique in the project
    media_type: str
    width: int
    height: int
    state: ImageState
    original: str  # path of the original, relative to the data folder
    canonical: str  # path of the upright 8-bit picture the page and the model read; may equal `original`
    created_at: int


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """An image about to be stored; see `Image`."""

    sha256: str
    name: str
    media_type: str
    width: int
    height: int
    original: str
    canonical: str


@dataclass(frozen=True, kw_only=True)
class NewDecision:
    """A person's answer on its way to the store."""

    op_id: str  # made by the client, unique: sending it twice stores it once
    image_id: int
    category_id: int
    state: CellState
    source: Source = Source.HUMAN
    mode: str = "image"
    shown_ms: int | None = None
    generation_id: int | None = None  # generation whose suggestion was on screen
    score: float | None = None  # probability that was on screen
    random_stream: bool = False
    undo_of: str | None = None  # op_id this one takes back
    base_seq: int | None = None  # `Label.seq` the page showed, 0 for unknown; None: the client did not say
    after: str | None = None  # op_id of the client's own answer that the page showed on top of `base_seq`


@dataclass(frozen=True, kw_only=True)
class StoredDecision:
    """Answer to one NewDecision. `stored` is False for an op_id seen before."""

    op_id: str
    seq: int
    stored: bool


@dataclass(frozen=True, kw_only=True)
class ConflictingCell:
    """An answer that was refused because the cell has moved on, beside what the cell holds."""

    op_id: str  # the refused answer
    image_id: int
    category_id: int
    mine: CellState
    theirs: CellState
    seq: int  # the cell's revision now: the base of an answer that knows both values
    user: str  # name of who gave `theirs`
    decided_at: int


@dataclass(frozen=True, kw_only=True)
class PastDecision:
    """One line of a cell's history."""

    seq: int
    op_id: str
    image_id: int
    category_id: int
    category: str  # its name today, archived or not
    state: CellState
    source: Source
    mode: str
    user_id: int
    user: str
    decided_at: int
    base_seq: int | None
    undo_of: str | None


@dataclass(frozen=True, kw_only=True)
class Label:
    """Current state of a decided cell."""

    image_id: int
    category_id: int
    state: CellState
    source: Source
    user_id: int
    seq: int
    decided_at: int
    generation_id: int | None = None
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class CategoryCount:
    """Decided cells of one category; unknown = images - the three."""

    category_id: int
    positive: int = 0
    negative: int = 0
    unsure: int = 0


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A picture that two categories which are merged say different things about."""

    image_id: int
    name: str
    source: CellState
    target: CellState  # stays


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What merging one category into another does, or did when `done`; counts are cells of the source."""

    source: Category
    target: Category
    taken: int  # the target was unknown and gets what the source says
    same: int  # both say it already
    differ: int  # the target stays
    cleared: int  # taken over by an earlier merge and cleared by somebody since: stays unknown
    differing: tuple[Disagreement, ...]  # the first of them
    done: bool

    @property
    def nothing(self) -> bool:
        """Whether there is nothing left to do."""
        return not self.taken and self.source.archived_at is not None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Labels frozen at `up_to_seq`."""

    id: int
    project_id: int
    up_to_seq: int
    digest: str
    counts: dict[str, int]
    created_at: int


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Weights, calibration, scores, instance features and indexes of one run."""

    id: int
    project_id: int
    snapshot_id: int
    up_to_seq: int
    backbone: str
    folder: str  # relative to the data folder
    manifest_sha256: str
    metrics: dict[str, Any]
    status: GenerationStatus
    created_at: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """Work the worker does: `kind` is "retrain" or "features"."""

    id: int
    project_id: int
    kind: str
    status: JobStatus
    wanted_seq: int
    reached_seq: int | None = None
    owner: str | None = None
    lease_until: int | None = None
    heartbeat_at: int | None = None
    attempts: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    message: str = ""
    cancel_requested: bool = False
    curves: list[dict[str, Any]] = field(default_factory=list)
    created_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class RefusedFile:
    """A file that was not imported, and why, in one clause; of a label file, also one row of it."""

    name: str
    reason: str
    not_accepted: bool = False  # it is of a kind that is not read at all

    @property
    def beside_name(self) -> str:
        """The reason without the place of a row, which the name ends with."""
        place = self.name.rpartition(", ")[2]
        return self.reason.removeprefix(f"{place}: ")


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did; `refused` lists every file that was not taken."""

    added: int = 0
    duplicates: int = 0  # same bytes as a picture already there
    refused: tuple[RefusedFile, ...] = ()
    cells: int = 0  # label cells stored
    cells_known: int = 0  # label cells that had an answer already, that one or another
    categories_added: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A decided instance of the category that looks most alike as this category."""

    image_id: int
    state: CellState
    similarity: float


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A probability for one unknown cell."""

    category_id: int
    probability: float
    basis: str  # "model", "model+neighbours", each also with "+context"; "neighbours" or "prior"
    model_probability: float | None = None
    neighbour_logit: float | None = None
    evidence: tuple[Evidence, ...] = ()
    known: int = 0  # decided cells of the category behind the probability


@dataclass(frozen=True, kw_only=True)
class SuggestionList:
    """Ranked suggestions for the unknown cells of one image, most likely first."""

    image_id: int
    generation_id: int | None
    suggestions: tuple[Suggestion, ...]
    note: str = ""  # what the person should do when there is nothing to suggest
