"""The `annotator` command. Every verb goes through `Actions`, as the page and the API do."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from annotator import cli_keeping, cli_preview, logs, processes
from annotator.actions import Actions
from annotator.cli_accounts import users
from annotator.cli_categories import categories
from annotator.cli_common import (
    DataDir,
    ProjectName,
    load_settings,
    opened,
    out,
    progress_bar,
    project_named,
    unknown_variables,
    upgrade,
)
from annotator.cli_generations import generations
from annotator.cli_health import free_space
from annotator.cli_purge import purge
from annotator.errors import AnnotatorError, BadInput
from annotator.keeping.places import SERVER
from annotator.network import check_exposure, network_warnings
from annotator.records import ImportReport, Project
from annotator.settings import Settings
from db import migrate

log = logging.getLogger(__name__)
_IGNORED = "WARNING: there is no setting for the variable {}; it is ignored."
NEWER = 3  # exit code when a newer program wrote the database
app = typer.Typer(
    help="Annotation assistant for multi-label images with partial labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def tell(report: ImportReport) -> None:
    """What an import did, every refused file by name and reason."""
    _say(
        f"{report.added} pictures added, {report.duplicates} already there, {len(report.refused)} refused; "
        f"{report.cells} cells labelled, {report.cells_known} were decided already, "
        f"{report.categories_added} categories added."
    )
    for refused in report.refused:
        _say(logs.visible(f"  refused  {refused.name}: {refused.beside_name}"))
    for note in report.notes:
        _say(f"  note     {logs.visible(note)}")


@app.command()
def run(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    images: Annotated[Path | None, typer.Option(help="Import this folder or ZIP first.")] = None,
    project: ProjectName = "",
    single_user: Annotated[
        bool, typer.Option("--single-user", help="Nobody signs in, on whatever address; see the warning.")
    ] = False,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="Take passwords over plain HTTP from other machines.")
    ] = False,
) -> None:
    """Start web and worker; Ctrl-C stops both."""
    from annotator.serving import listening, only_server, serve

    flags = {"single_user": single_user or None, "insecure_http": insecure_http or None}
    settings = load_settings(data_dir=data_dir, host=host, port=port, **flags)
    logs.write_as(settings.log_format)
    check_exposure(settings)
    with (
        only_server(settings) as lock,
        opened(settings, "run", create=True, besides={SERVER}) as (store, actions),
    ):
        with listening(settings):
            pass  # an address that is taken is told now, not after an import of an hour
        with progress_bar("Reading the database, since the last server did not end in order"):
            was_checked = lock.check(store)
        if was_checked:
            _say("The last server did not end in order; the whole database was read and is sound.")
        if images is not None:
            _import_first(actions, images, project)
        elif not actions.projects(archived=True):
            _offer_demo(actions, settings)
        _warn(network_warnings(settings) + [_IGNORED.format(name) for name in unknown_variables()])
        serve(store, settings, lock=lock, say=_say)


def _warn(lines: list[str]) -> None:
    for line in lines:
        if logs.as_json():
            log.warning("%s", line)
        else:
            _say_aloud(line, style="bold red")


def _say_aloud(text: str, style: str | None = None) -> None:
    """A line on standard error, for people."""
    Console(stderr=True).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def _import_first(actions: Actions, images: Path, name: str) -> None:
    """Pictures into the project of that name, without one that of their folder or archive."""
    _must_be_there(images)
    own = images.resolve()
    name = name or (own.name if own.is_dir() else own.stem)
    _bring_in(actions, project_named(actions, name, create=True), images)


def _bring_in(actions: Actions, project: Project, path: Path) -> None:
    take = actions.import_zip if path.suffix.lower() == ".zip" else actions.import_folder
    with progress_bar(f"Importing {path.name}") as on_progress:
        tell(take(project.id, path, on_progress))


def _must_be_there(path: Path) -> None:
    """BadInput before a project is made for pictures that are somewhere else."""
    if not path.exists():
        raise BadInput(f"There is no folder {path}.")
    if not path.is_dir() and path.suffix.lower() != ".zip":
        raise BadInput(f"{path} is neither a folder nor a ZIP; a file with labels is named with --labels.")


def _offer_demo(actions: Actions, settings: Settings) -> None:
    from annotator.demo import DEMO_PROJECT, create_demo_project

    with progress_bar("Drawing the demo pictures") as on_progress:
        create_demo_project(actions, settings.data_dir / "demo", on_progress)
    _say(
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
    settings = load_settings(data_dir=data_dir)
    logs.write_as(settings.log_format)
    upgrade(settings)
    from annotator.worker.process import run_worker  # torch takes seconds to import: refusals come before it

    run_worker(settings, with_parent=with_parent)


@app.command("import")
def import_(
    path: Annotated[Path | None, typer.Argument(help="Folder or ZIP of pictures.")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV or COCO JSON with existing labels.")] = None,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Leave bad rows of labels out and list them.")
    ] = False,
    preview: Annotated[
        bool,
        typer.Option("--preview", help="Show how labels are read and what they would do; store nothing."),
    ] = False,
    project: ProjectName = "default",
    data_dir: DataDir = None,
) -> None:
    """Import pictures, labels, or both, at low priority; running it again loses and doubles nothing."""
    if path is None and labels is None:
        raise AnnotatorError("Name a folder or ZIP of pictures, or --labels with a CSV or COCO JSON file.")
    if preview and (labels is None or path is not None):
        raise AnnotatorError(
            "--preview shows labels of pictures that are there: give it with --labels alone."
        )
    if path is not None:
        _must_be_there(path)
    with opened(load_settings(data_dir=data_dir), "import", create=path is not None) as (_, actions):
        processes.stand_back()  # not the store's thread: who holds the database must not be kept waiting
        chosen = project_named(actions, project, create=path is not None)
        if path is not None:
            _bring_in(actions, chosen, path)
        if labels is not None and preview:
            cli_preview.tell(actions.preview_labels(chosen.id, labels), out)
        elif labels is not None:
            with progress_bar(f"Reading {labels.name}") as on_progress:
                tell(actions.import_labels(chosen.id, labels, on_progress, lenient=lenient))


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="File to write.")],
    format: Annotated[str, typer.Option(help="coco or csv; by default from the file's ending.")] = "",
    project: ProjectName = "default",
    data_dir: DataDir = None,
) -> None:
    """Export every decided cell, of archived projects too; positive, negative, unsure, unknown stay apart."""
    kind = format or {".json": "coco", ".csv": "csv"}.get(target.suffix.lower(), "")
    if kind not in ("coco", "csv"):
        raise AnnotatorError(f"{target.name}: give --format coco or --format csv.")
    with opened(load_settings(data_dir=data_dir), "export") as (_, actions):
        chosen = project_named(actions, project, create=False, archived=True)
        write = actions.export_coco if kind == "coco" else actions.export_csv
        with progress_bar(f"Writing {target.name}"):
            report = write(chosen.id, target)
    name = logs.visible(str(target))
    _say(f"{name}: {report.images} pictures, {report.cells} decided cells, sha256 {report.sha256}")


@app.command()
def train(project: ProjectName = "default", data_dir: DataDir = None) -> None:
    """Ask for a training; a running worker takes it up."""
    with opened(load_settings(data_dir=data_dir), "train") as (_, actions):
        _, message = actions.request_retrain(project_named(actions, project, create=False).id)
    _say(message)


app.command()(generations)
app.command()(free_space)
app.command()(purge)
cli_keeping.register(app)
app.add_typer(users, name="user")
app.add_typer(categories, name="categories")


@app.command("migrate")
def migrate_(data_dir: DataDir = None) -> None:
    """Bring the database to the newest schema; `run` does this by itself."""
    settings = load_settings(data_dir=data_dir)
    before = upgrade(settings)
    _say(f"{settings.database}: schema {migrate.revision(settings.database)}")
    if before is not None:
        _say(f"A copy from before the upgrade is {before}.")


def main() -> None:
    """Entry point: an error of ours is one sentence and exit code 1, never a traceback.

    Exit code 3: the database was written by a newer program.
    """
    os.umask(0o077)  # what this program writes is nobody else's business
    logs.set_up()
    try:
        app()
    except (AnnotatorError, migrate.SchemaError) as error:
        _give_up(str(error), NEWER if isinstance(error, migrate.SchemaTooNew) else 1)
    except OSError as error:  # a folder or file that this user may not use, or that is none
        place = error.filename2 or error.filename
        named = "The system refused" if place is None else f"{os.fsdecode(place)} cannot be used"
        _give_up(f"{named} ({error.strerror or error}).", 1)


def _give_up(sentence: str, code: int) -> NoReturn:
    """One sentence for a person, or one object for a collector, and the exit code."""
    if logs.as_json():
        log.critical("%s", sentence)
    else:
        _say_aloud(f"annotator: {logs.visible(sentence)}")
    sys.exit(code)
