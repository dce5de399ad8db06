"""`annotator generations`: list the generations of a project, or use another one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from annotator.cli_common import DataDir, ProjectName, load_settings, opened, out, project_named
from annotator.records import Generation


def generations(
    use: Annotated[int, typer.Option(help="Use this generation from now on.")] = 0,
    back: Annotated[bool, typer.Option("--back", help="Use the one before the current one.")] = False,
    project: ProjectName = "default",
    data_dir: DataDir = None,
) -> None:
    """List the generations of a project, newest first; or go back to one whose files are kept."""
    if use and back:
        raise typer.BadParameter("give --use or --back, not both")
    with opened(load_settings(data_dir=data_dir), "generations") as (_, actions):
        chosen = project_named(actions, project, create=False)
        if use or back:
            made = actions.roll_back(chosen.id, use or None)
            out.print(f"Suggestions come from generation {made.id} now.")
        known = actions.generations(chosen.id)
    for one in known:
        out.print(_line(one), markup=False, highlight=False, soft_wrap=True)
    if not known:
        out.print("There is no generation yet; train first.")


def _line(one: Generation) -> str:
    made = datetime.fromtimestamp(one.created_at / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    measured = one.metrics.get("map")
    figure = "not measured" if measured is None else f"mAP {measured:.1%}"
    return f"{one.id:>6}  {one.status.value:<9}{made}  {figure}"
