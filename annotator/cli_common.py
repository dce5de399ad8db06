"""What every verb of the terminal shares: settings, an open store, a project by name, a progress bar."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from annotator import failpoints, logs
from annotator.actions import Actions
from annotator.at_work import at_work
from annotator.errors import AnnotatorError, NotFound, StoreError
from annotator.keeping.places import nobody_at_work
from annotator.records import Project
from annotator.settings import Settings
from annotator.store import Store
from db import migrate

out = Console()
PREFIX = str(Settings.model_config["env_prefix"])
SETTINGS_FILE = str(Settings.model_config["toml_file"])

DataDir = Annotated[Path | None, typer.Option(help="Folder for database, pictures, features, generations.")]
ProjectName = Annotated[str, typer.Option("--project", help="Name of the project.")]


def load_settings(**flags: Any) -> Settings:
    """Settings from file and environment with the flags that were given; AnnotatorError names a bad one."""
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AnnotatorError(f"Setting {where}: {first['msg']} (got {first['input']!r}).") from error
    except SettingsError as error:  # a variable that should hold a list
        raise AnnotatorError(
            f'{error}: write several values as a JSON list, for example ["birds.example", "10.0.0.2"].'
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AnnotatorError(f"{SETTINGS_FILE}: this is not TOML ({error}).") from error
    if settings.data_dir.exists() and not settings.data_dir.is_dir():
        raise AnnotatorError(f"The data folder {settings.data_dir} is a file, not a folder.")
    return settings


def unknown_variables() -> list[str]:
    """Names of `ANNOTATOR_*` variables that set nothing, misspelt perhaps."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {failpoints.VARIABLE}
    return sorted(
        name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known
    )


@contextmanager
def opened(
    settings: Settings, verb: str, *, create: bool = False, besides: Container[str] = ()
) -> Iterator[tuple[Store, Actions]]:
    """A migrated, open store with its actions, for `annotator VERB`; nobody exchanges its folder meanwhile.

    `create`: make a database where none is; otherwise StoreError, since a data folder that is not there was
    misspelt. `besides`: locks of the folder that the caller holds already. StoreError as `at_work` and
    `upgrade`.
    """
    if not create and not settings.database.exists():
        raise StoreError(f"There is no database at {settings.database}; name its folder with --data-dir.")
    upgrade(settings, besides=besides)
    with at_work(settings.data_dir, verb):
        store = Store.open(settings)
        try:
            yield store, Actions(store, settings)
        finally:
            store.close()


def upgrade(settings: Settings, *, besides: Container[str] = ()) -> Path | None:
    """`migrate.upgrade`; StoreError when it would change a database that somebody else is at work with.

    That may be an older program, which the new schema would break.
    """
    path = settings.database
    found = migrate.revision(path)
    migrate.check_known(found, path)
    if found in (None, migrate.head()):
        return migrate.upgrade(path)
    with nobody_at_work(settings.data_dir, besides=besides), progress_bar(f"Upgrading {path}"):
        return migrate.upgrade(path)


def project_named(actions: Actions, name: str, *, create: bool, archived: bool = False) -> Project:
    """The project of that name, `archived`: also one that was put away; NotFound lists the names."""
    for project in actions.projects(archived=archived):
        if project.name == name:
            return project
    if create:
        return actions.create_project(name)
    names = ", ".join(repr(project.name) for project in actions.projects()) or "none yet"
    raise NotFound(f"There is no project {name!r}; there is: {names}.")


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """A terminal progress bar as the callback that imports take; it moves even if that is never called.

    Nothing is written to a file or a pipe.
    """
    words = TextColumn("{task.description}", markup=False)  # a name may hold brackets
    columns = (words, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task(logs.visible(title), total=None)
        yield lambda done, total, _name: progress.update(task, completed=done, total=total)
