"""What every verb of the terminal shares: settings, an open store, a project by name, a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from annotator.actions import Actions
from annotator.errors import AnnotatorError, NotFound
from annotator.records import Project
from annotator.settings import Settings
from annotator.store import Store
from db import migrate

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
