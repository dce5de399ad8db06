"""What the actions answer with: frozen records for the page, the API and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field

from annotator.records import Category, CategoryCount, Generation, Image, Job, Label, SuggestionList


@dataclass(frozen=True, kw_only=True)
class CategoryView:
    """A category with its decided cells."""

    category: Category
    count: CategoryCount


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image with its decided cells and its suggestions."""

    image: Image
    cells: tuple[Label, ...]
    suggested: SuggestionList


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Where the model looked for one cell: row-major values 0..255 over a grid of (height, width)."""

    generation_id: int
    grid: tuple[int, int]
    values: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Totals of a project over its active categories; the four cell counts add up to images x categories."""

    images: int = 0
    decided_images: int = 0
    positive: int = 0
    negative: int = 0
    unsure: int = 0
    unknown: int = 0


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """Whether a worker is there to do the jobs."""

    alive: bool = False
    seen_ms_ago: int | None = None
    doing: str = ""


@dataclass(frozen=True, kw_only=True)
class Status:
    """What the learning loop is doing."""

    counts: Counts
    generation: Generation | None
    new_decisions: int
    trains_after: int  # new decisions still missing until a training starts by itself
    job: Job | None  # the running one, else the waiting one, else the last
    worker: WorkerView = field(default_factory=WorkerView)
    problem: str = ""  # what is wrong with the current generation, and what serves instead


@dataclass(frozen=True, kw_only=True)
class RetrainAnswer:
    """What pressing the button did."""

    job: Job | None
    created: bool
    message: str
