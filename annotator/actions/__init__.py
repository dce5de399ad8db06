"""What a person can do, one method each: the only door for the page, the API and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from annotator import exporting, importing
from annotator.actions import deciding, pictures, rolling, training
from annotator.actions.accounts import Accounts
from annotator.actions.categorising import CategoryActions
from annotator.actions.inviting import Inviting
from annotator.actions.membership import Membership
from annotator.actions.passwords import Passwords
from annotator.actions.removing import Removing
from annotator.actions.rights import Rights
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
from annotator.health import Health, need_room
from annotator.health import health as look_at
from annotator.ordering import Grid, Ordered, Ordering
from annotator.people import Role
from annotator.previews import LabelPreview
from annotator.records import (
    Generation,
    Image,
    ImportReport,
    Job,
    NewDecision,
    PastDecision,
    Project,
    StoredDecision,
)
from annotator.settings import Settings
from annotator.store import Store, categories, decisions, generations, images, jobs, members, projects
from annotator.store.clock import now_ms
from annotator.store.registers import CellsMoved
from annotator.suggesting import Suggester

__all__ = [
    "Actions",
    "Attention",
    "CategoryView",
    "CellsMoved",
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


class Actions(CategoryActions):
    """Every method either does all it says or raises an AnnotatorError and changes nothing. Thread-safe.

    Without a `user_id` the owner acts. `rights`, `accounts`, `inviting`, `membership` and `removing` are
    about people and projects; each of their methods names who asks and checks it.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        passwords = Passwords()
        self.rights = Rights(store)
        self.accounts = Accounts(store, passwords)
        self.inviting = Inviting(store, self.accounts, passwords)
        self.membership = Membership(store)
        self.removing = Removing(store, settings)
        self._suggester = Suggester(store, settings)
        self._ordering = Ordering(self._suggester, settings)

    def projects(self, user_id: int | None = None, *, archived: bool = False) -> list[Project]:
        """The projects that a user may see, all for the owner; with `archived` those put away too."""
        with self._store.read() as c:
            found = projects.list_all(c, archived=archived)
            if user_id is None:
                return found
            mine = members.of_user(c, user_id)
            return [project for project in found if project.id in mine]

    def project_sizes(
        self, user_id: int | None = None, *, archived: bool = False
    ) -> list[tuple[Project, int]]:
        """The same with their number of images."""
        found = self.projects(user_id, archived=archived)
        with self._store.read() as c:
            return [(project, images.count(c, project.id)) for project in found]

    def health(self) -> Health:
        """How the store and its disk are."""
        return look_at(self._store, self._settings)

    def role_of(self, user_id: int, project_id: int) -> Role:
        """The role of a user in a project; NotFound when the user may not see it."""
        return self.rights.role_of(user_id, project_id)

    def create_project(self, name: str) -> Project:
        """Start a project; BadInput when the name is taken or unusable."""
        return self._store.write(lambda c: projects.create(c, name, now=now_ms()))

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
        self._rebuild_damaged()
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
        self,
        project_id: int,
        new: Sequence[NewDecision],
        user_id: int | None = None,
        *,
        given_by: int | None = None,
    ) -> tuple[list[StoredDecision], int]:
        """Store answers, all or none; returns one result each and the project's newest `seq`.

        The answers are on the disk when this returns. Sending one twice stores it once. CellsMoved when one
        with a `base_seq` meets a cell that has been answered differently since; OtherPerson when `given_by`
        is set and is not who acts.
        """
        return self._store.write(
            lambda c: deciding.decide(c, project_id, new, user_id=self._who(c, user_id), given_by=given_by)
        )

    async def decide_soon(
        self, project_id: int, new: Sequence[NewDecision], user_id: int, *, given_by: int | None = None
    ) -> tuple[list[StoredDecision], int]:
        """`decide` for an event loop: no thread waits for the disk meanwhile."""
        return await self._store.written(
            lambda c: deciding.decide(c, project_id, new, user_id=user_id, given_by=given_by)
        )

    def history(
        self,
        project_id: int,
        image_id: int,
        *,
        category_id: int | None = None,
        before: int | None = None,
        limit: int = deciding.HISTORY_LIMIT,
    ) -> list[PastDecision]:
        """Who decided what about one picture and when, newest first; `before` (a `seq`) goes further back."""
        with self._store.read() as c:
            self._image(c, project_id, image_id)
        return deciding.past(self._store, image_id, category_id=category_id, before=before, limit=limit)

    def image_file(self, image_id: int, size: str) -> tuple[Path, str]:
        """File and media type of a picture; `size` is "thumb" or "full"."""
        return pictures.picture_file(self._store, image_id, size)

    def status(self, project_id: int) -> Status:
        """What the learning loop is doing."""
        with self._store.read() as c:
            _, problem = self._suggester.generation(c, project_id)
            shown = training.status(c, project_id, settings=self._settings, now=now_ms(), problem=problem)
        self._rebuild_damaged()
        return shown

    def generations(self, project_id: int) -> list[Generation]:
        """Generations of a project, newest first."""
        with self._store.read() as c:
            projects.get(c, project_id)
            return sorted(generations.history(c, project_id), key=lambda made: -made.id)

    def roll_back(
        self, project_id: int, generation_id: int | None = None, *, user_id: int | None = None
    ) -> Generation:
        """Use an earlier or a rejected generation again, None = the one before the current one.

        NotFound, Conflict (current already, files removed) or ArtifactDamaged, and then nothing changes.
        """
        return rolling.roll_back(self._store, project_id, generation_id, self._acting(user_id))

    def request_retrain(self, project_id: int) -> tuple[Job | None, str]:
        """Ask for a training; the job that will do it, if any, and one sentence."""
        answer = self.retrain(project_id)
        return answer.job, answer.message

    def retrain(self, project_id: int) -> RetrainAnswer:
        """As `request_retrain`, and whether the job is new."""
        with self._store.read() as c:
            projects.get(c, project_id)
            generation, damaged = self._suggester.generation(c, project_id)
            newest = max(images.ids(c, project_id), default=0)
            behind = generation is None or bool(damaged) or newest > max(generation.image_ids, default=0)
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
        lenient: bool = False,
    ) -> ImportReport:
        """Import existing labels from CSV or COCO JSON; a person's answers are never overwritten.

        One bad row stops all of it, or, `lenient`, is left out and listed.
        """
        need_room(self._settings, "Labels are not taken in")
        who = self._acting(user_id)
        say = on_progress or _silent
        return importing.import_labels(
            self._store, project_id, path, user_id=who, on_progress=say, lenient=lenient
        )

    def preview_labels(self, project_id: int, path: Path) -> LabelPreview:
        """How `import_labels` would read the file and what it would do; nothing is stored."""
        return importing.preview_labels(self._store, project_id, path)

    def export_coco(
        self, project_id: int, path: Path, *, check: Callable[[], None] = exporting.go_on
    ) -> ExportReport:
        """Write every decided cell as COCO-style JSON; `check` is called now and then, and may end it."""
        return exporting.export_coco(self._store, project_id, path, now=now_ms(), check=check)

    def export_csv(
        self, project_id: int, path: Path, *, check: Callable[[], None] = exporting.go_on
    ) -> ExportReport:
        """Write every decided cell as a table of images by categories; `check` as for `export_coco`."""
        return exporting.export_csv(self._store, project_id, path, check=check)

    def _import(
        self, run: Callable[..., ImportReport], project_id: int, what: object, on_progress: OnProgress | None
    ) -> ImportReport:
        need_room(self._settings, "Pictures are not taken in")
        say = on_progress or _silent
        report = run(self._store, project_id, what, settings=self._settings, on_progress=say)
        if report.added:
            self._store.write(lambda c: _ask_for_features(c, project_id))
        return report

    def _rebuild_damaged(self) -> None:
        """Ask for a training where a damaged generation was met; outside of any reading transaction."""
        for project_id in self._suggester.rebuild_wanted():
            rolling.ask_to_rebuild(self._store, project_id)

    @staticmethod
    def _image(c: Connection, project_id: int, image_id: int) -> Image:
        projects.get(c, project_id)
        image = images.get(c, image_id)
        if image.project_id != project_id:  # not told from one that never was
            raise NotFound(f"There is no image {image_id}.")
        return image


def _silent(_done: int, _total: int | None, _name: str) -> None:
    """For a caller who does not want to hear about progress."""


def _ask_for_features(c: Connection, project_id: int) -> None:
    wanted = decisions.head_seq(c, project_id)
    jobs.request(c, project_id, "features", wanted_seq=wanted, now=now_ms())
