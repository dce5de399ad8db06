"""Verbs of the terminal that keep a data folder: backup, verify, restore, scan, doctor.

They do not go through `Actions`: what they look after may be a folder that cannot be opened, or none yet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from annotator.cli_common import DataDir, load_settings, opened, out, progress_bar
from annotator.keeping import scan as scanning
from annotator.keeping.backup import back_up
from annotator.keeping.doctor import Level, doctor
from annotator.keeping.layout import Manifest
from annotator.keeping.restore import restore, verify

SHOWN = 20  # files that are named one by one
NAMED = 5  # projects, too
INCOMPLETE = 2  # exit code of a backup that was made and lacks files
BackupArgument = Annotated[Path, typer.Argument(help="A backup: a folder, or a file that ends in .tar.")]
AcceptMissing = Annotated[
    bool, typer.Option("--accept-missing", help="Mark pictures missing even when it is very many.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command("backup")(_backup)
    app.command("verify")(_verify)
    app.command("restore")(_restore)
    app.command("scan")(_scan)
    app.command("doctor")(_doctor)


def _backup(
    target: Annotated[Path, typer.Argument(help="What to write: a new folder, or a file that ends in .tar.")],
    without_pictures: Annotated[
        bool, typer.Option("--without-pictures", help="Leave picture files out; they never change.")
    ] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Hard links instead of copies of pictures, on the same disk.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Back up everything while people go on working; exit code 2 when files were missing."""
    settings = load_settings(data_dir=data_dir)
    with progress_bar(f"Backing up {settings.data_dir}") as on_progress:
        made = back_up(
            settings.data_dir, target, pictures=not without_pictures, link=link, on_progress=on_progress
        )
    _say(f"{target}: {_summary(made.manifest)}, {made.bytes / 2**20:.1f} MiB")
    for name, remark in list(made.remarks.items())[:SHOWN]:
        _say(f"  {remark}  {name}")
    if made.remarks:
        _say(f"The backup is good, but {len(made.remarks)} files were not there or not as imported.")
        raise typer.Exit(INCOMPLETE)


def _verify(backup: BackupArgument) -> None:
    """Check a backup from end to end, as a restore would."""
    with progress_bar(f"Checking {backup}") as on_progress:
        manifest = verify(backup, on_progress)
    _say(f"{backup} is whole and sound: {_summary(manifest)}")


def _restore(
    backup: BackupArgument,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what is there; it is kept under another name.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Check a backup and make it the data folder; stop the server first."""
    settings = load_settings(data_dir=data_dir)
    with progress_bar(f"Restoring {backup}") as on_progress:
        done = restore(backup, settings.data_dir, replace=replace, on_progress=on_progress)
    _say(f"{settings.data_dir}: {_summary(done.manifest)}")
    if done.aside is not None:
        _say(f"What was there is kept in {done.aside}; remove it when you are sure.")
    if not done.manifest.pictures:
        _say("The backup holds no pictures: copy originals, canonical and thumbnails into the folder.")


def _scan(
    deep: Annotated[bool, typer.Option("--deep", help="Read every original and compare its digest.")] = False,
    accept_missing: AcceptMissing = False,
    data_dir: DataDir = None,
) -> None:
    """Mark pictures missing, changed or ready again, after their files; labels stay, nothing is deleted."""
    with (
        opened(load_settings(data_dir=data_dir), "scan") as (store, _),
        progress_bar("Looking at pictures") as on_progress,
    ):
        seen = scanning.scan(store, deep=deep, accept_missing=accept_missing, on_progress=on_progress)
    marked = ", ".join(f"{len(ids)} marked {state.value}" for state, ids in seen.states.items())
    _say(f"{seen.total} pictures looked at; {marked or 'all are marked as they are'}.")


def _doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Read every file and compare digests.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended; stop the server first.")
    ] = False,
    accept_missing: AcceptMissing = False,
    data_dir: DataDir = None,
) -> None:
    """Check a data folder and say in plain words what is wrong; exit code 1 when a problem remains."""
    settings = load_settings(data_dir=data_dir)
    with progress_bar(f"Examining {settings.data_dir}") as on_progress:
        findings = list(
            doctor(settings, deep=deep, repair=repair, accept_missing=accept_missing, on_progress=on_progress)
        )
    for found in findings:
        _say(f"{found.level.value:<9} {found.check:<17} {found.words}")
    left = sum(found.level is Level.PROBLEM for found in findings)
    _say(f"{left or 'No'} problem{'s' if left != 1 else ''} left.")
    if left:
        raise typer.Exit(1)


def _summary(manifest: Manifest) -> str:
    counts = manifest.counts
    pictures = f"{counts['image']} pictures{'' if manifest.pictures else ' (not in it)'}"
    names = ", ".join(repr(project["name"]) for project in manifest.projects[:NAMED])
    more = f" and {len(manifest.projects) - NAMED} more" if len(manifest.projects) > NAMED else ""
    return (
        f"{counts['project']} projects ({names}{more}), {pictures}, {counts['decision']} answers, "
        f"{len(manifest.files)} files, schema {manifest.schema}"
    )


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
