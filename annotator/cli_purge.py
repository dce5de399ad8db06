"""`annotator purge`: remove an archived project for good, or list those that can be."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Annotated

import typer

from annotator import logs
from annotator.actions.removing import Leaving
from annotator.cli_common import DataDir, load_settings, opened, out, progress_bar
from annotator.errors import NotFound
from annotator.store.clock import now_ms


def purge(
    name: Annotated[str, typer.Argument(help="Name of an archived project; without it, list them.")] = "",
    typed: Annotated[
        str, typer.Option("--confirm", help="The name once more, for scripts; otherwise it is asked for.")
    ] = "",
    data_dir: DataDir = None,
) -> None:
    """Remove an archived project for good: answers, generations, and pictures no other project has."""
    with opened(load_settings(data_dir=data_dir), "purge") as (_, actions):
        by = actions.accounts.machine()
        known = actions.removing.leaving(by)
        if not name:
            _list(known)
            return
        found = _named(known, name)
        if not typed:
            _warn(found)
            typed = typer.prompt("Type the name of the project to remove it for good")
        with progress_bar(f"Removing {name}") as on_progress:
            gone = actions.removing.purge(by, found.project.id, typed, on_progress)
    shared = f" Files that other projects have too stay: {gone.shared}." if gone.shared else ""
    _say(f"{gone.name} is removed for good; pictures: {gone.pictures}, answers: {gone.answers}.{shared}")


def _list(known: list[Leaving]) -> None:
    for one in known:
        _say(f"{one.project.name}: {_state(one)}")
    if not known:
        _say("No project is archived.")


def _state(one: Leaving) -> str:
    if one.begun:
        return "half of it is removed; purge it again to finish"
    if one.from_ms <= now_ms():
        return "can be removed for good"
    return f"can be restored; can be removed for good from {_day(one.from_ms)} on"


def _day(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _named(known: list[Leaving], name: str) -> Leaving:
    for one in known:
        if one.project.name == name:
            return one
    names = ", ".join(repr(one.project.name) for one in known) or "none"
    raise NotFound(f"There is no archived project {name!r}; archived is: {names}.")


def _warn(found: Leaving) -> None:
    name = found.project.name
    _say(f"This removes {name!r} with all its answers; nothing but a backup brings them back.")
    if not found.begun:
        _say(f"To keep its answers first: annotator export answers.json --project {shlex.quote(name)}")


def _say(text: str) -> None:
    out.print(logs.visible(text), markup=False, highlight=False, soft_wrap=True)
