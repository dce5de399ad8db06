"""The `annotator` command. Every verb goes through `Actions`, as the page and the API do."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from annotator.actions import Actions
from annotator.errors import AnnotatorError, NotFound
from annotator.records import ImportReport, Project
from annotator.settings import Settings
from annotator.store import Store
from db import migrate

app = typer.Typer(
    help="Annotation assistant for multi-label images with partial labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out = Console()

DataDir = Annotated[Path | None, typer.Option(help="Folder for database, pictures, features, generations.")]
ProjectName = Annotated[str, typer.Option("--project", help="Name of the project.")]


def load_settings(**flags: Any) -> Settings:
    """Settings from file and environment with the flags that were given; AnnotatorError names a bad one."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AnnotatorError(f"Setting {where}: {first['msg']} (got {first['input']!r}).") from error


@contextmanager
def opened(settings: Settings) -> Iterator[tuple[Store, Actions]]:
    """A migrated, open store with its actions."""
    migrate.upgrade(settings.database)
    store = Store.open(settings)
    try:
        yield store, Actions(store, settings)
    finally:
        store.close()


def project_named(actions: Actions, name: str, *, create: bool) -> Project:
    """The project of that name; NotFound lists the names there are."""
    for project in actions.projects():
        if project.name == name:
            return project
    if create:
        return actions.create_project(name)
    names = ", ".join(repr(project.name) for project in actions.projects()) or "none yet"
    raise NotFound(f"There is no project {name!r}; there is: {names}.")


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """A terminal progress bar as the callback that imports take."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total, _name: progress.update(task, completed=done, total=total)


def tell(report: ImportReport) -> None:
    """What an import did, every refused file by name and reason."""
    out.print(
        f"{report.added} pictures added, {report.duplicates} already there, {len(report.refused)} refused; "
        f"{report.cells} cells labelled, {report.cells_known} were decided already, "
        f"{report.categories_added} categories added."
    )
    for refused in report.refused:
        out.print(f"  refused  {refused.name}: {refused.reason}", markup=False, highlight=False)
    for note in report.notes:
        out.print(f"  note     {note}", markup=False, highlight=False)


@app.command()
def run(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    images: Annotated[Path | None, typer.Option(help="Import this folder first.")] = None,
    project: ProjectName = "",
) -> None:
    """Start web and worker; Ctrl-C stops both."""
    from annotator.serving import serve

    settings = load_settings(data_dir=data_dir, host=host, port=port)
    with opened(settings) as (store, actions):
        if images is not None:
            _import_first(actions, images, project or images.resolve().name)
        elif not actions.projects():
            _offer_demo(actions, settings)
        serve(
            store, settings, say=lambda text: out.print(text, markup=False, highlight=False, soft_wrap=True)
        )


def _import_first(actions: Actions, images: Path, name: str) -> None:
    chosen = project_named(actions, name, create=True)
    with progress_bar(f"Importing {images}") as on_progress:
        tell(actions.import_folder(chosen.id, images, on_progress))


def _offer_demo(actions: Actions, settings: Settings) -> None:
    from annotator.demo import DEMO_PROJECT, create_demo_project

    with progress_bar("Drawing the demo pictures") as on_progress:
        create_demo_project(actions, settings.data_dir / "demo", on_progress)
    out.print(
        f"No project yet: the project {DEMO_PROJECT!r} with drawn scenes was made to try things out. "
        "Start with IMAGES=path/to/folder, or use the Import tab, for your own pictures."
    )


@app.command()
def worker(
    data_dir: DataDir = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", hidden=True, help="End with the process that started this one.")
    ] = False,
) -> None:
    """Run a worker by itself; `run` starts one already."""
    from annotator.worker.process import run_worker

    settings = load_settings(data_dir=data_dir)
    migrate.upgrade(settings.database)
    run_worker(settings, with_parent=with_parent)


@app.command("import")
def import_(
    path: Annotated[Path | None, typer.Argument(help="Folder or ZIP of pictures.")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV or COCO JSON with existing labels.")] = None,
    project: ProjectName = "default",
    data_dir: DataDir = None,
) -> None:
    """Import pictures, labels, or both; running it again loses and doubles nothing."""
    if path is None and labels is None:
        raise AnnotatorError("Name a folder or ZIP of pictures, or --labels with a CSV or COCO JSON file.")
    with opened(load_settings(data_dir=data_dir)) as (_, actions):
        chosen = project_named(actions, project, create=path is not None)
        if path is not None:
            take = actions.import_zip if path.suffix.lower() == ".zip" else actions.import_folder
            with progress_bar(f"Importing {path.name}") as on_progress:
                tell(take(chosen.id, path, on_progress))
        if labels is not None:
            with progress_bar(f"Reading {labels.name}") as on_progress:
                tell(actions.import_labels(chosen.id, labels, on_progress))


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="File to write.")],
    format: Annotated[str, typer.Option(help="coco or csv; by default from the file's ending.")] = "",
    project: ProjectName = "default",
    data_dir: DataDir = None,
) -> None:
    """Export every decided cell; positive, negative, unsure and unknown stay apart."""
    kind = format or {".json": "coco", ".csv": "csv"}.get(target.suffix.lower(), "")
    if kind not in ("coco", "csv"):
        raise AnnotatorError(f"{target.name}: give --format coco or --format csv.")
    with opened(load_settings(data_dir=data_dir)) as (_, actions):
        chosen = project_named(actions, project, create=False)
        write = actions.export_coco if kind == "coco" else actions.export_csv
        report = write(chosen.id, target)
    out.print(f"{target}: {report.images} pictures, {report.cells} decided cells, sha256 {report.sha256}")


@app.command()
def train(project: ProjectName = "default", data_dir: DataDir = None) -> None:
    """Ask for a training; a running worker takes it up."""
    with opened(load_settings(data_dir=data_dir)) as (_, actions):
        _, message = actions.request_retrain(project_named(actions, project, create=False).id)
    out.print(message)


@app.command("migrate")
def migrate_(data_dir: DataDir = None) -> None:
    """Bring the database to the newest schema; `run` does this by itself."""
    settings = load_settings(data_dir=data_dir)
    migrate.upgrade(settings.database)
    out.print(f"{settings.database}: schema {migrate.revision(settings.database)}")


def main() -> None:
    """Entry point: an AnnotatorError is one sentence and exit code 1, never a traceback."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False, show_time=False, markup=False)],
    )
    try:
        app()
    except AnnotatorError as error:
        Console(stderr=True).print(f"annotator: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
