"""A backup of a data folder while server and worker go on working.

The database is copied in one read transaction, so everything answered before it began is in. Picture files
and the current generation of each project never change, so those that this copy names are taken after it.
What the copy names and the disk does not have is written down and told, never passed over in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from annotator import __version__, artifacts
from annotator.errors import ArtifactDamaged, DiskFull, StoreError
from annotator.importing import shelf
from annotator.keeping import layout
from annotator.keeping.layout import Manifest
from annotator.keeping.packing import Pack, Unreadable, packing
from annotator.store import backups, now_ms
from db import migrate
from db.copying import DatabaseFileError, copy_online, problems

Progress = Callable[[int, int | None, str], None]


def silent(_done: int, _total: int | None, _name: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A finished backup; `remarks`: file to what is the matter with it, empty when everything is in."""

    target: Path
    manifest: Manifest
    remarks: dict[str, str]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.bytes for entry in self.manifest.files.values())


@dataclass
class _Filling:
    """A pack being filled, and what is the matter with some files."""

    data_dir: Path
    pack: Pack
    on_progress: Progress
    total: int
    done: int = 0
    remarks: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, sha256: str | None = None) -> None:
        """One file of the data folder; `sha256`: what it should be."""
        if not layout.is_plain(name):
            self.remarks[name] = layout.IMPOSSIBLE
            return
        path = self.data_dir / name
        try:
            entry = self.pack.add(name, path)
        except Unreadable:
            self.remarks[name] = layout.UNREADABLE if path.exists() else layout.MISSING
        else:
            if sha256 is not None and entry.sha256 != sha256:
                self.remarks[name] = layout.CHANGED

    def advance(self, name: str) -> None:
        """Tell that one picture is done."""
        self.done += 1
        self.on_progress(self.done, self.total, name)


def back_up(
    data_dir: Path,
    target: Path,
    *,
    pictures: bool = True,
    link: bool = False,
    on_progress: Progress = silent,
) -> Made:
    """Write a backup of `data_dir` to `target`: a tar file when its name ends so, else a folder.

    `pictures` False leaves picture files out; `link` makes hard links of them, on the same disk. Generations
    before the current ones, features and compiled backbones are never in: they can be made again. Conflict
    when the target exists, StoreError when the database is damaged or the disk refuses; nothing is left then.
    """
    database = data_dir / layout.DATABASE
    if not database.is_file():
        raise StoreError(f"There is no database at {database}.")
    with packing(target, link=link) as pack:
        copy = pack.scratch / layout.DATABASE
        _copy_database(database, copy, on_progress)
        facts = backups.contents_of(copy)
        filling = _Filling(data_dir, pack, on_progress, total=facts.counts["image"] if pictures else 0)
        if pictures:
            _add_pictures(filling, copy)
        projects = [_with_generation(filling, one) for one in backups.serving(copy)]
        schema = migrate.revision(copy)
        pack.add(layout.DATABASE, copy, move=True)
        manifest = Manifest(
            program=__version__,
            schema=schema or "",
            made_at=now_ms(),
            pictures=pictures,
            projects=tuple({**one, "head_seq": facts.heads[one["id"]]} for one in projects),
            counts=facts.counts,
            label_digest=facts.label_digest,
            files=pack.files,
            remarks=filling.remarks,
        )
        pack.finish(manifest)
    return Made(target=target, manifest=manifest, remarks=filling.remarks)


def _copy_database(database: Path, copy: Path, on_progress: Progress) -> None:
    try:
        copy_online(database, copy, lambda done, pages: on_progress(done, pages, "database"))
        wrong = problems(copy)
    except DatabaseFileError as error:
        raise (DiskFull if error.full else StoreError)(str(error)) from error
    if wrong:
        raise StoreError(
            f"The database {database} is damaged ({wrong[0]}), so no backup was made of it; "
            "keep the last good backup and run `annotator doctor`."
        )


def _add_pictures(filling: _Filling, copy: Path) -> None:
    """Originals, canonical pictures and thumbnails; pictures with the same bytes share their files."""
    for sha256, names in _files_of(copy):
        for name in names:
            filling.add(name, sha256 if name.startswith("originals/") else None)
        filling.advance(names[0])


def _files_of(copy: Path) -> Iterator[tuple[str, list[str]]]:
    """Files of all pictures with the same bytes: an older program may have needed no canonical one."""
    for sha256, same in groupby(backups.pictures(copy), key=lambda one: one.sha256):
        names = [name for one in same for name in (one.original, one.canonical)]
        yield sha256, list(dict.fromkeys([*names, shelf.thumbnail(sha256)]))


def _with_generation(filling: _Filling, project: backups.Serving) -> dict[str, Any]:
    """A project's line of the list; its current generation is put in when it is whole."""
    told: dict[str, Any] = {"id": project.id, "name": project.name, "generation": None}
    if project.folder is None:
        return told
    folder = filling.data_dir / project.folder
    try:
        files = artifacts.verify(folder, project.manifest_sha256)["files"]
    except ArtifactDamaged:
        filling.remarks[project.folder] = layout.DAMAGED if folder.is_dir() else layout.MISSING
        return told
    for name in (artifacts.MANIFEST, *sorted(files)):
        filling.add(f"{project.folder}/{name}")
    return {**told, "generation": project.folder}
