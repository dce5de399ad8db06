"""`annotator categories`: list the categories of a project, or merge one into another."""

from __future__ import annotations

from typing import Annotated

import typer

from annotator import logs
from annotator.actions import Actions, merging
from annotator.cli_common import DataDir, ProjectName, load_settings, opened, out, project_named
from annotator.errors import NotFound
from annotator.records import Category, Merged
from annotator.store.names import twin_key

categories = typer.Typer(help="Categories of a project: list, merge.", no_args_is_help=True)

CategoryName = Annotated[str, typer.Argument(help="Name of a category.")]


@categories.command("list")
def list_(project: ProjectName = "default", data_dir: DataDir = None) -> None:
    """Every category with its answers, in order; the archived ones last."""
    with opened(load_settings(data_dir=data_dir), "categories list") as (_, actions):
        chosen = project_named(actions, project, create=False)
        for view in actions.categories(chosen.id):
            count = view.count
            _say(f"{view.category.name}: {count.positive} yes, {count.negative} no, {count.unsure} unsure")
        for one in actions.archived_categories(chosen.id):
            _say(f"{one.name}: archived")


@categories.command()
def merge(
    source: CategoryName,
    target: CategoryName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, after saying what will happen.")] = False,
    project: ProjectName = "default",
    data_dir: DataDir = None,
) -> None:
    """Let TARGET take over the answers of SOURCE, which is archived; nothing is overwritten."""
    with opened(load_settings(data_dir=data_dir), "categories merge") as (_, actions):
        chosen = project_named(actions, project, create=False)
        into = _named(actions.archived_categories(chosen.id), _active(actions, chosen.id), target)
        first = _named(actions.archived_categories(chosen.id), _active(actions, chosen.id), source)
        found = actions.look_at_merge(chosen.id, first.id, into.id)
        _tell(found)
        if found.nothing:
            return
        if not yes and not typer.confirm(f"Merge {first.name!r} into {into.name!r}?"):
            _say("Nothing was changed.")
            return
        _say(merging.sentence(actions.merge_categories(chosen.id, first.id, into.id)))


def _active(actions: Actions, project_id: int) -> list[Category]:
    return [view.category for view in actions.categories(project_id)]


def _named(archived: list[Category], active: list[Category], name: str) -> Category:
    """An active category of that name before an archived one; NotFound lists the names there are."""
    for one in (*active, *archived):
        if twin_key(one.name) == twin_key(name):
            return one
    names = ", ".join(repr(one.name) for one in active) or "none yet"
    raise NotFound(f"There is no category {name!r}; there is: {names}.")


def _tell(found: Merged) -> None:
    _say(merging.sentence(found))
    for one in found.differing:
        _say(f"  {one.name}: {found.source.name} {one.source.word}, {found.target.name} {one.target.word}")
    if found.differ > len(found.differing):
        _say(f"  and {found.differ - len(found.differing)} more")


def _say(text: str) -> None:
    out.print(logs.visible(text), markup=False, highlight=False, soft_wrap=True)
