"""What a person can do, one method each: the only door for the page, the API and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from annotator import exporting, importing
from annotator.actions import pictures, training
from annotator.actions.views import (
    Attention,
    CategoryView,
    Counts,
    Item,
    RetrainAnswer,
    Status,
    WorkerView,
)
from annotator.errors import NotFound
from annotator.exporting import ExportReport
from annotator.ordering import Grid, Ordered, Ordering
from annotator.records import (
    Category,
    CategoryCount,
    Generation,
    Image,
    ImportReport,
    Job,
    NewDecision,
    Project,
    StoredDecision,
)
from annotator.settings import Settings
from annotator.store import Store, categories, decisions, generations, images, jobs, projects, users
from annotator.store.clock import now_ms
from annotator.suggesting import Suggester

__all__ = [
    "Actions",
    "Attention",
    "CategoryView",
    "Counts",
    "Grid",
    "Item",
    "OnProgress",
    "Ordered",
    "RetrainAnswer",
    "Status",
    "WorkerView",
]

OnProgress = Callable[[int, int | None, str], None]


class Actions:
    """Every method either does all it says or raises an AnnotatorError and changes nothing. Thread-safe.

    Without a `user_id` the owner acts.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._suggester = Suggester(store, settings)
        self._ordering = Ordering(self._suggester, settings)

    def projects(self) -> list[Project]:
        """All projects."""
        with self._store.read() as c:
            return projects.list_all(c)

    def project_sizes(self) -> list[tuple[Project, int]]:
        """All projects with their number of images."""
        with self._store.read() as c:
            return [(project, images.count(c, project.id)) for project in projects.list_all(c)]

    def create_project(self, name: str) -> Project:
        """Start a project; BadInput when the name is taken or unusable."""
        return self._store.write(lambda c: projects.create(c, name, now=now_ms()))

    def categories(self, project_id: int) -> list[CategoryView]:
        """Active categories in their order, each with its decided cells."""
        with self._store.read() as c:
            projects.get(c, project_id)
            counts = {count.category_id: count for count in decisions.counts(c, project_id)}
            active = categories.list_active(c, project_id)
        return [
            CategoryView(
                category=category, count=counts.get(category.id, CategoryCount(category_id=category.id))
            )
            for category in active
        ]

    def add_category(self, project_id: int, name: str) -> Category:
        """Add a category; DuplicateCategory when an active one has the name."""
        return self._store.write(lambda c: categories.add(c, project_id, name, now=now_ms()))

    def deck(
        self,
        project_id: int,
        limit: int = 500,
        *,
        strategy: str | None = None,
        category_id: int | None = None,
        user_id: int | None = None,
    ) -> Ordered:
        """Questions about images that still have unknown cells, in the order they should be asked.

        BadInput for a `strategy` that does not exist, NotFound for a category that is not active.
        """
        with self._store.read() as c:
            projects.get(c, project_id)
            return self._ordering.deck(
                c, project_id, limit, strategy=strategy, category_id=category_id, user_id=user_id
            )

    def grid(
        self,
        project_id: int,
        category_id: int,
        limit: int = 36,
        *,
        strategy: str | None = None,
        user_id: int | None = None,
    ) -> Grid:
        """Unknown cells of one category over many images; errors as `deck`."""
        with self._store.read() as c:
            projects.get(c, project_id)
            return self._ordering.grid(c, project_id, category_id, limit, strategy=strategy, user_id=user_id)

    def item(self, project_id: int, image_id: int) -> Item:
        """One image with what is decided and what is suggested."""
        with self._store.read() as c:
            image = self._image(c, project_id, image_id)
            active = {category.id for category in categories.list_active(c, project_id)}
            labels = decisions.labels_of(c, [image_id]).get(image_id, {})
            suggested = self._suggester.for_image(c, project_id, image_id, self._settings.candidates)
        cells = tuple(label for category_id, label in sorted(labels.items()) if category_id in active)
        return Item(image=image, cells=cells, suggested=suggested)

    def attention(self, project_id: int, image_id: int, category_id: int) -> Attention:
        """Where the model looked; NotFound with the reason when there is nothing to show."""
        with self._store.read() as c:
            self._image(c, project_id, image_id)
            generation_id, values = self._suggester.attention(c, project_id, image_id, category_id)
        height, width = values.shape
        return Attention(
            generation_id=generation_id, grid=(height, width), values=tuple(int(v) for v in values.ravel())
        )

    def decide(
        self, project_id: int, new: Sequence[NewDecision], user_id: int | None = None
    ) -> tuple[list[StoredDecision], int]:
        """Store answers, all or none; returns one result each and the project's newest `seq`.

        The answers are on the disk when this returns. Sending one twice stores it once.
        """

        def work(c: Connection) -> tuple[list[StoredDecision], int]:
            stored = decisions.record(c, project_id, new, user_id=self._who(c, user_id), now=now_ms())
            return stored, decisions.head_seq(c, project_id)

        return self._store.write(work)

    def image_file(self, image_id: int, size: str) -> tuple[Path, str]:
        """File and media type of a picture; `size` is "thumb" or "full"."""
        return pictures.picture_file(self._store, image_id, size)

    def status(self, project_id: int) -> Status:
        """What the learning loop is doing."""
        with self._store.read() as c:
            return training.status(c, project_id, settings=self._settings, now=now_ms())

    def generations(self, project_id: int) -> list[Generation]:
        """Generations of a project, newest first."""
        with self._store.read() as c:
            projects.get(c, project_id)
            return sorted(generations.history(c, project_id), key=lambda made: -made.id)

    def request_retrain(self, project_id: int) -> tuple[Job | None, str]:
        """Ask for a training; the job that will do it, if any, and one sentence."""
        answer = self.retrain(project_id)
        return answer.job, answer.message

    def retrain(self, project_id: int) -> RetrainAnswer:
        """As `request_retrain`, and whether the job is new."""
        with self._store.read() as c:
            projects.get(c, project_id)
            generation, _ = self._suggester.generation(c, project_id)
            newest = max(images.ids(c, project_id), default=0)
            behind = generation is None or newest > max(generation.image_ids, default=0)
        return training.request_retrain(self._store, project_id, behind=behind)

    def cancel(self, project_id: int) -> str:
        """Cancel the waiting and the running training; one sentence about it."""
        return training.cancel(self._store, project_id)

    def import_folder(
        self, project_id: int, path: Path, on_progress: OnProgress | None = None
    ) -> ImportReport:
        """Import the pictures of a folder on this machine."""
        return self._import(importing.import_folder, project_id, path, on_progress)

    def import_zip(self, project_id: int, path: Path, on_progress: OnProgress | None = None) -> ImportReport:
        """Import the pictures of a ZIP archive."""
        return self._import(importing.import_zip, project_id, path, on_progress)

    def import_files(
        self, project_id: int, paths: Iterable[Path], on_progress: OnProgress | None = None
    ) -> ImportReport:
        """Import single pictures."""
        return self._import(
            importing.import_files, project_id, [(path.name, path) for path in paths], on_progress
        )

    def import_labels(
        self,
        project_id: int,
        path: Path,
        on_progress: OnProgress | None = None,
        *,
        user_id: int | None = None,
    ) -> ImportReport:
        """Import existing labels from CSV or COCO JSON; a person's answers are never overwritten."""
        who = user_id if user_id is not None else self._store.write(lambda c: self._who(c, None))
        return importing.import_labels(
            self._store, project_id, path, user_id=who, on_progress=on_progress or _silent
        )

    def export_coco(self, project_id: int, path: Path) -> ExportReport:
        """Write every decided cell as COCO-style JSON."""
        return exporting.export_coco(self._store, project_id, path, now=now_ms())

    def export_csv(self, project_id: int, path: Path) -> ExportReport:
        """Write every decided cell as a table of images by categories."""
        return exporting.export_csv(self._store, project_id, path)

    def _import(
        self, run: Callable[..., ImportReport], project_id: int, what: object, on_progress: OnProgress | None
    ) -> ImportReport:
        say = on_progress or _silent
        report = run(self._store, project_id, what, settings=self._settings, on_progress=say)
        if report.added:
            self._store.write(lambda c: _ask_for_features(c, project_id))
        return report

    @staticmethod
    def _who(c: Connection, user_id: int | None) -> int:
        return users.owner(c, now=now_ms()) if user_id is None else user_id

    @staticmethod
    def _image(c: Connection, project_id: int, image_id: int) -> Image:
        projects.get(c, project_id)
        image = images.get(c, image_id)
        if image.project_id != project_id:
            raise NotFound(f"There is no image {image_id} in project {project_id}.")
        return image


def _silent(_done: int, _total: int | None, _name: str) -> None:
    """For a caller who does not want to hear about progress."""


def _ask_for_features(c: Connection, project_id: int) -> None:
    wanted = decisions.head_seq(c, project_id)
    jobs.request(c, project_id, "features", wanted_seq=wanted, now=now_ms())
