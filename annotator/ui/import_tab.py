"""Import: projects, pictures and labels that exist already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from annotator.actions import OnProgress
from annotator.errors import AnnotatorError, BadFile, BadInput
from annotator.records import ImportReport, RefusedFile
from annotator.ui import label_preview, words
from annotator.ui.door import Act, Door, Here, Server
from annotator.ui.projects import KEEP_JS, READ_JS, ProjectField

EMPTY_JS = "() => ''"
NO_REPORT_JS = "() => ['', {__type__: 'update', visible: false}]"
REFUSED_HEADERS = ["File", "Why it was not taken"]
Enter = Callable[[], Here]  # asks the door; raises what the page then says
EnterServer = Callable[[], Server]


@dataclass(frozen=True)
class Outcome:
    """What the page shows after an action."""

    message: str  # HTML
    refused: tuple[tuple[str, str], ...] = ()
    project_id: int | None = None  # made or chosen by the action
    done: bool = True


def create_project(enter: EnterServer, name: str) -> Outcome:
    """Make an empty project."""
    try:
        server = enter()
        project = server.actions.membership.create_project(server.user_id, name or "")
    except AnnotatorError as error:
        return Outcome(words.trouble(error))
    return Outcome(
        words.sentence(f"Project “{project.name}” is ready. Bring in pictures next."), (), project.id
    )


def import_folder(enter: Enter, folder: str, progress: OnProgress) -> Outcome:
    """Import the pictures of a folder on this machine."""

    def work() -> ImportReport:
        here = enter()
        if not (folder or "").strip():
            raise BadInput("Type the path of a folder on the machine that runs this server.")
        return here.actions.import_folder(here.project_id, Path(folder.strip()).expanduser(), progress)

    return _reported(work)


def import_uploads(enter: Enter, uploads: Sequence[str] | None, progress: OnProgress) -> Outcome:
    """Import uploaded pictures and ZIP archives."""

    def work() -> ImportReport:
        here = enter()
        paths = [Path(upload) for upload in uploads or ()]
        if not paths:
            raise BadInput("Choose pictures or a ZIP archive first.")
        archives = [path for path in paths if path.suffix.lower() == ".zip"]
        pictures = [path for path in paths if path.suffix.lower() != ".zip"]
        reports = [_archive(here, path, progress) for path in archives]
        if pictures:
            reports.append(here.actions.import_files(here.project_id, pictures, progress))
        return merged(reports)

    return _reported(work)


def _archive(here: Here, path: Path, progress: OnProgress) -> ImportReport:
    """What one of several archives brought; what is brought already must not be told as not done."""
    try:
        return here.actions.import_zip(here.project_id, path, progress)
    except BadFile as error:
        return ImportReport(refused=(RefusedFile(name=error.name, reason=error.reason),))


def import_labels(enter: Enter, upload: str | None, progress: OnProgress, lenient: bool = False) -> Outcome:
    """Import answers from a CSV or COCO file; `lenient` leaves bad rows out and lists them."""

    def work() -> ImportReport:
        here = enter()
        if not upload:
            raise BadInput("Choose a CSV or COCO JSON file first.")
        return here.actions.import_labels(
            here.project_id, Path(upload), progress, user_id=here.user_id, lenient=lenient
        )

    return _reported(work, of="row")


def preview_labels(enter: Enter, upload: str | None) -> str:
    """How a CSV or COCO file is read and what an import would do, as HTML; nothing is stored."""
    try:
        here = enter()
        if not upload:
            raise BadInput("Choose a CSV or COCO JSON file first.")
        return label_preview.shown(here.actions.preview_labels(here.project_id, Path(upload)))
    except AnnotatorError as error:
        return words.trouble(error)


def open_demo(enter: EnterServer, folder: Path, progress: OnProgress) -> Outcome:
    """Draw the demo set in `folder` and make its project, or open it when it is there already."""
    from annotator.demo import create_demo_project  # it draws; nothing else on the page needs it

    try:
        project = create_demo_project(enter().actions, folder, progress)
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


def _reported(work: Callable[[], ImportReport], *, of: str = "file") -> Outcome:
    try:
        report = work()
    except AnnotatorError as error:
        return Outcome(words.trouble(error), done=False)
    return Outcome(words.import_report(report, of=of), words.refused_rows(report))


def on_progress(progress: gr.Progress) -> OnProgress:
    """Gradio's progress bar as the callback that importing wants."""

    def report(done: int, total: int | None, name: str) -> None:
        progress((done, total), desc=name)

    return report


class ImportTab:
    """The tab's components and what their events do."""

    def __init__(self, door: Door, tab: gr.Tab, demo_folder: Path) -> None:
        self._door = door
        self._demo_folder = demo_folder
        with gr.Column(elem_classes="sheet"):
            self._build_projects()
            self.rights = gr.HTML(elem_id="import-rights")
            self._build_sources()
            # Right below the buttons: a long preview must not push what an import says out of sight.
            self.report = gr.HTML(elem_id="import-report")
            self.refused = gr.Dataframe(
                headers=REFUSED_HEADERS,
                label="Refused files and rows",
                visible=False,
                interactive=False,
                wrap=True,
                column_widths=["38%", "62%"],
            )
            self.preview = gr.HTML(elem_id="labels-preview")
        self._wire()
        project = self.project.dropdown
        allowed = [
            self.rights,
            self.name,
            self.create,
            self.demo,
            self.folder,
            self.folder_button,
            self.uploads_button,
            self.preview_button,
            self.labels_button,
        ]
        tab.select(self.project.refreshed, [self.project.wanted], [project], js=READ_JS, queue=False).then(
            self.on_show, [project], allowed, queue=False
        )
        project.change(self.on_show, [project], allowed, queue=False)

    def _build_projects(self) -> None:
        with gr.Row(elem_classes="bar-row"):
            self.project = ProjectField(self._door)
            self.name = gr.Textbox(label="New project", placeholder="Name", max_lines=1, scale=1)
            self.create = gr.Button("Create project", scale=0, min_width=130)
            self.demo = gr.Button("Open the demo project", scale=0, min_width=180)

    def _build_sources(self) -> None:
        with gr.Row():
            with gr.Column():
                gr.HTML(
                    "<h3>Pictures</h3><p>JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF. "
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
                    "column per category with 1 (yes), 0 (no), ? (unsure) or nothing (not asked). Or COCO "
                    "JSON, where what is absent stays not asked. Answers given here are never "
                    "overwritten.</p>"
                )
                self.labels = gr.File(
                    label="CSV or COCO JSON",
                    file_types=[".csv", ".json"],
                    height=150,
                    elem_id="upload-labels",
                )
                self.lenient = gr.Checkbox(
                    label="Leave bad rows out and list them",
                    info="Otherwise one bad row stops the import and nothing is stored.",
                )
                with gr.Row():
                    self.preview_button = gr.Button("Preview")
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
        self.labels.upload(self.on_preview, [project, self.labels], [self.preview])
        self.preview_button.click(self.on_preview, [project, self.labels], [self.preview])
        for begun in (self.labels.upload, self.preview_button.click):
            begun(None, None, [self.report, self.refused], js=NO_REPORT_JS, queue=False)
        for changed in (self.labels.clear, project.change):
            changed(None, None, [self.preview], js=EMPTY_JS, queue=False)
        self.labels_button.click(self.on_labels, [project, self.labels, self.lenient], [*shown, self.preview])

    def on_show(self, request: gr.Request, project_id: int | None) -> tuple[object, ...]:
        """What the sender may do in the chosen project, and why not the rest."""
        pictures = self._door.reason(request, Act.IMPORT_PICTURES, project_id)
        labels = self._door.reason(request, Act.IMPORT_LABELS, project_id)
        is_admin = self._door.is_admin(request)
        said = "".join(words.sentence(reason) for reason in dict.fromkeys((pictures, labels)))
        return (
            said,
            gr.Textbox(visible=is_admin),
            gr.Button(visible=is_admin),
            gr.Button(visible=is_admin),
            gr.Textbox(visible=is_admin),
            gr.Button(visible=is_admin, interactive=not pictures),
            gr.Button(interactive=not pictures),
            gr.Button(interactive=not labels),
            gr.Button(interactive=not labels),
        )

    def on_create(self, request: gr.Request, name: str) -> tuple[object, ...]:
        """The button *Create project*."""
        outcome = create_project(partial(self._door.enter_server, request), name)
        return (*self._show(request, outcome), "" if outcome.project_id else name)

    def on_demo(
        self,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio's way
    ) -> tuple[object, ...]:
        """The button *Open the demo project*."""
        enter = partial(self._door.enter_server, request)
        return self._show(request, open_demo(enter, self._demo_folder, on_progress(progress)))

    def on_folder(
        self,
        request: gr.Request,
        project_id: int | None,
        folder: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio's way
    ) -> tuple[object, ...]:
        """The button *Import folder*."""

        def enter() -> Here:
            # A path leads everywhere on this machine, also to pictures of projects that are not the sender's.
            self._door.enter_server(request)
            return self._door.enter(request, Act.IMPORT_PICTURES, project_id)

        return self._show(request, import_folder(enter, folder, on_progress(progress)))

    def on_uploads(
        self,
        request: gr.Request,
        project_id: int | None,
        uploads: list[str] | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio's way
    ) -> tuple[object, ...]:
        """The button *Import uploaded files*."""
        enter = partial(self._door.enter, request, Act.IMPORT_PICTURES, project_id)
        return self._show(request, import_uploads(enter, uploads, on_progress(progress)))

    def on_preview(self, request: gr.Request, project_id: int | None, upload: str | None) -> str:
        """A label file that was brought, or the button *Preview*."""
        return preview_labels(partial(self._door.enter, request, Act.IMPORT_LABELS, project_id), upload)

    def on_labels(
        self,
        request: gr.Request,
        project_id: int | None,
        upload: str | None,
        lenient: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio's way
    ) -> tuple[object, ...]:
        """The button *Import labels*."""
        enter = partial(self._door.enter, request, Act.IMPORT_LABELS, project_id)
        outcome = import_labels(enter, upload, on_progress(progress), lenient)
        return (*self._show(request, outcome), "" if outcome.done else gr.skip())

    def _show(self, request: gr.Request, outcome: Outcome) -> tuple[object, ...]:
        table = gr.Dataframe(value=[list(row) for row in outcome.refused], visible=bool(outcome.refused))
        project = self.project.refreshed(request, outcome.project_id) if outcome.project_id else gr.skip()
        return outcome.message, table, project
