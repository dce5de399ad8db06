"""Whether the database of a backup and its list of files tell the same story."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from annotator import artifacts
from annotator.errors import BadFile, StoreError
from annotator.importing import shelf
from annotator.keeping import layout
from annotator.keeping.layout import Manifest
from annotator.store import backups
from db import migrate
from db.copying import DatabaseFileError, problems


def check_schema(name: str, manifest: Manifest) -> None:
    """Refuse a database that only a newer program reads, before anything else is asked of it."""
    if manifest.schema not in migrate.SINCE:
        raise BadFile(
            name,
            f"its database has schema {manifest.schema!r}, written by annotator {manifest.program}; "
            f"this program knows schemas up to {migrate.head()}",
        )


def check(name: str, manifest: Manifest, database: Path) -> None:
    """Refuse (BadFile) the backup `name` unless its unpacked `database` is sound and what `manifest` says."""
    try:
        wrong = problems(database)
        if wrong:
            raise BadFile(name, f"its database is damaged ({wrong[0]})")
        if migrate.revision(database) != manifest.schema:
            raise BadFile(name, "its database has another schema than its list says")
        facts = backups.contents_of(database)
        heads = {project["id"]: project["head_seq"] for project in manifest.projects}
        told = (manifest.counts, heads, manifest.label_digest)
        if (facts.counts, facts.heads, facts.label_digest) != told:
            raise BadFile(name, "its database holds other answers than its list says")
        _check_files(name, manifest, database)
    except (DatabaseFileError, StoreError, migrate.SchemaError) as error:
        raise BadFile(name, f"its database cannot be read ({error})") from error


def _check_files(name: str, manifest: Manifest, database: Path) -> None:
    """Every file is one that the database names, and every one it names is there or was told as missing."""
    left = set(manifest.files) - {layout.DATABASE}
    for file, sha256 in _wanted(manifest, database):
        left.discard(file)
        remark = manifest.remarks.get(file)
        entry = manifest.files.get(file)
        if entry is None and remark is None:
            raise BadFile(name, f"{file} is missing from it")
        if entry is not None and sha256 not in (None, entry.sha256) and remark != layout.CHANGED:
            raise BadFile(name, f"{file} in it is not the file that its database names")
    folders = tuple(f"{project['generation']}/" for project in manifest.projects if project["generation"])
    strange = next((file for file in sorted(left) if not file.startswith(folders)), None)
    if strange is not None:
        raise BadFile(name, f"{strange} is in it although its database does not name it")


def _wanted(manifest: Manifest, database: Path) -> Iterator[tuple[str, str | None]]:
    """Files that must be in, with the digest that the database knows."""
    if manifest.pictures:
        for picture in backups.pictures(database):
            yield picture.original, picture.sha256
            yield picture.canonical, None if picture.canonical != picture.original else picture.sha256
            yield shelf.thumbnail(picture.sha256), None
    kept = {project["id"]: project["generation"] for project in manifest.projects}
    for project in backups.serving(database):
        if kept.get(project.id) is not None and kept[project.id] == project.folder:
            yield f"{project.folder}/{artifacts.MANIFEST}", project.manifest_sha256
