"""Import: projects, pictures and labels that exist already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from annotator.actions import Actions, OnProgress
from annotator.errors import AnnotatorError, BadInput
from annotator.records import ImportReport
from annotator.ui import words
from annotator.ui.projects import KEEP_JS, READ_JS, ProjectField, needed

REFUSED_HEADERS = ["File", "Why it was not taken"]


@dataclass(frozen=True)
class Outcome:
    """What the page shows after an action."""

    message: str  # HTML
    refused: tuple[tuple[str, str], ...] = ()
    project_id: int | None = None  # made or chosen by the action


def create_project(actions: Actions, name: str) -> Outcome:
    """Make an empty project."""
    try:
        project = actions.create_project(name or "")
    except AnnotatorError as error:
        return Outcome(words.trouble(error))
    return Outcome(
        words.sentence(f"Project “{project.name}” is ready. Bring in pictures next."), (), project.id
    )


def import_folder(actions: Actions, project_id: int | None, folder: str, progress: OnProgress) -> Outcome:
    """Import the pictures of a folder on this machine."""

    def work() -> ImportReport:
        if not (folder or "").strip():
            raise BadInput("Type the path of a folder on the machine that runs this server.")
        return actions.import_folder(needed(project_id), Path(folder.strip()).expanduser(), progress)

    return _reported(work)


def import_uploads(
    actions: Actions, project_id: int | None, uploads: Sequence[str] | None, progress: OnProgress
) -> Outcome:
    """Import uploaded pictures and ZIP archives."""

    def work() -> ImportReport:
        paths = [Path(upload) for upload in uploads or ()]
        if not paths:
            raise BadInput("Choose pictures or a ZIP archive first.")
        archives = [path for path in paths if path.suffix.lower() == ".zip"]
        pictures = [path for path in paths if path.suffix.lower() != ".zip"]
        reports = [actions.import_zip(needed(project_id), path, progress) for path in archives]
        if pictures:
            reports.append(actions.import_files(needed(project_id), pictures, progress))
        return merged(reports)

    return _reported(work)


def import_labels(
    actions: Actions, project_id: int | None, upload: str | None, progress: OnProgress
) -> Outcome:
    """Import answers from a CSV or COCO file."""

    def work() -> ImportReport:
        if not upload:
            raise BadInput("Choose a CSV or COCO JSON file first.")
        return actions.import_labels(needed(project_id), Path(upload), progress)

    return _reported(work)


def open_demo(actions: Actions, folder: Path, progress: OnProgress) -> Outcome:
    """Draw the demo set in `folder` and make its project, or open it when it is there already."""
    from annotator.demo import create_demo_project  # it draws; nothing else on the page needs it

    try:
        project = create_demo_project(actions, folder, progress)
    except AnnotatorError as error:
        return Outcome(words.trouble(error))
    return Outcome(words.sentence(f"“{project.name}” is open: go to Annotate."), (), project.id)


def merged(reports: Sequence[ImportReport]) -> ImportReport:
    """Several reports as one."""
    return ImportReport(
        added=sum(report.added for report in reports),
        duplicates=sum(report.duplicates for report in reports),
        refused=tuple(item for report in reports for item in report.refused),
        cells=sum(report.cells for report in reports),
        cells_known=sum(report.cells_known for report in reports),
        categories_added=sum(report.categories_added for report in reports),
        notes=tuple(note for report in reports for note in report.notes),
    )


def _reported(work: Callable[[], ImportReport]) -> Outcome:
    try:
        report = work()
    except AnnotatorError as error:
        return Outcome(words.trouble(error))
    rows = tuple((item.name, item.reason) for item in report.refused)
    return Outcome(words.import_report(report), rows)


def on_progress(progress: gr.Progress) -> OnProgress:
    """Gradio's progress bar as the callback that importing wants."""

    def report(done: int, total: int | None, name: str) -> None:
        progress((done, total), desc=name)

    return report


class ImportTab:
    """The tab's components and what their events do."""

    def __init__(self, actions: Actions, tab: gr.Tab, demo_folder: Path) -> None:
        self._actions = actions
        self._demo_folder = demo_folder
        with gr.Column(elem_classes="sheet"):
            self._build_projects()
            self._build_sources()
            self.report = gr.HTML(elem_id="import-report")
            self.refused = gr.Dataframe(
                headers=REFUSED_HEADERS, label="Refused files", visible=False, interactive=False, wrap=True
            )
        self._wire()
        tab.select(
            self.project.refreshed, [self.project.wanted], [self.project.dropdown], js=READ_JS, queue=False
        )

    def _build_projects(self) -> None:
        with gr.Row(elem_classes="bar-row"):
            self.project = ProjectField(self._actions)
            self.name = gr.Textbox(label="New project", placeholder="Name", max_lines=1, scale=1)
            self.create = gr.Button("Create project", scale=0, min_width=130)
            self.demo = gr.Button("Open the demo project", scale=0, min_width=180)

    def _build_sources(self) -> None:
        with gr.Row():
            with gr.Column():
                gr.HTML(
                    "<h3>Pictures</h3><p>JPEG, PNG, WebP, BMP, TIFF or GIF. "
                    "Importing again adds only what is new.</p>"
                )
                self.folder = gr.Textbox(
                    label="Folder on the machine that runs this server",
                    placeholder="/data/pictures",
                    max_lines=1,
                )
                self.folder_button = gr.Button("Import folder", variant="primary")
                self.uploads = gr.File(
                    label="Pictures or ZIP archives from this computer",
                    file_count="multiple",
                    height=150,
                    elem_id="upload-pictures",
                )
                self.uploads_button = gr.Button("Import uploaded files", variant="primary")
            with gr.Column():
                gr.HTML(
                    "<h3>Labels that exist already</h3><p>CSV: a column <code>file_name</code>, then one "
                    "column per category with 1 (yes), 0 (no) or nothing (not asked). Or COCO JSON, where "
                    "what is absent stays not asked. Answers given here are never overwritten.</p>"
                )
                self.labels = gr.File(
                    label="CSV or COCO JSON",
                    file_types=[".csv", ".json"],
                    height=150,
                    elem_id="upload-labels",
                )
                self.labels_button = gr.Button("Import labels", variant="primary")

    def _wire(self) -> None:
        shown = [self.report, self.refused, self.project.dropdown]
        made = [*shown, self.name]
        self.create.click(self.on_create, [self.name], made).then(None, [self.project.dropdown], js=KEEP_JS)
        self.name.submit(self.on_create, [self.name], made).then(None, [self.project.dropdown], js=KEEP_JS)
        self.demo.click(self.on_demo, None, shown).then(None, [self.project.dropdown], js=KEEP_JS)
        project = self.project.dropdown
        self.folder_button.click(self.on_folder, [project, self.folder], shown)
        self.folder.submit(self.on_folder, [project, self.folder], shown)
        self.uploads_button.click(self.on_uploads, [project, self.uploads], shown)
        self.labels_button.click(self.on_labels, [project, self.labels], shown)

    def on_create(self, name: str) -> tuple[object, ...]:
        """The button *Create project*."""
        outcome = create_project(self._actions, name)
        return (*self._show(outcome), "" if outcome.project_id else name)

    def on_demo(self, progress: gr.Progress = gr.Progress()) -> tuple[object, ...]:  # noqa: B008  Gradio's way
        """The button *Open the demo project*."""
        return self._show(open_demo(self._actions, self._demo_folder, on_progress(progress)))

    def on_folder(
        self,
        project_id: int | None,
        folder: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio's way
    ) -> tuple[object, ...]:
        """The button *Import folder*."""
        return self._show(import_folder(self._actions, project_id, folder, on_progress(progress)))

    def on_uploads(
        self,
        project_id: int | None,
        uploads: list[str] | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio's way
    ) -> tuple[object, ...]:
        """The button *Import uploaded files*."""
        return self._show(import_uploads(self._actions, project_id, uploads, on_progress(progress)))

    def on_labels(
        self,
        project_id: int | None,
        upload: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio's way
    ) -> tuple[object, ...]:
        """The button *Import labels*."""
        return self._show(import_labels(self._actions, project_id, upload, on_progress(progress)))

    def _show(self, outcome: Outcome) -> tuple[object, ...]:
        table = gr.Dataframe(value=[list(row) for row in outcome.refused], visible=bool(outcome.refused))
        project = self.project.refreshed(outcome.project_id) if outcome.project_id else gr.skip()
        return outcome.message, table, project
