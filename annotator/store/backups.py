"""What a backup must hold, read from a database file that no store has open: its copy.

Only columns that every released schema has are read, so files of older programs can be kept and checked too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from annotator.errors import StoreError
from db.contents import Contents, contents
from db.copying import DatabaseFileError, reading
from db.engine import sqlite_module


@dataclass(frozen=True, kw_only=True)
class Registered:
    """The files of one picture; paths are relative to the data folder."""

    project: str
    name: str
    sha256: str  # of the original bytes
    original: str
    canonical: str


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A project and the generation its suggestions come from."""

    id: int
    name: str
    folder: str | None  # of the current generation, relative to the data folder; None before the first
    manifest_sha256: str | None


def contents_of(path: Path) -> Contents:
    """Counts, newest decisions and label digest of a database file; StoreError when it cannot be read."""
    try:
        with reading(path) as connection:
            return contents(connection)
    except DatabaseFileError as error:
        raise StoreError(str(error)) from error


def pictures(path: Path) -> Iterator[Registered]:
    """Every picture of every project, in the order of its bytes: the same bytes follow each other."""
    sql = (
        "SELECT project.name, image.name, sha256, original, canonical FROM image "
        "JOIN project ON project.id = image.project_id ORDER BY sha256, image.id"
    )
    with reading(path) as connection:
        for project, name, sha256, original, canonical in connection.execute(sql):
            yield Registered(
                project=project, name=name, sha256=sha256, original=original, canonical=canonical
            )


def serving(path: Path) -> list[Serving]:
    """Every project, oldest first."""
    sql = (
        "SELECT project.id, project.name, folder, manifest_sha256 FROM project LEFT JOIN generation "
        "ON generation.project_id = project.id AND generation.status = 'current' ORDER BY project.id"
    )
    with reading(path) as connection:
        rows = connection.execute(sql).fetchall()
    return [Serving(id=row[0], name=row[1], folder=row[2], manifest_sha256=row[3]) for row in rows]


def end_sessions(path: Path) -> int:
    """Sign everybody out of a restored database: sessions that were ended since must not come back."""
    return _change(path, "DELETE FROM session")


def mark_files_absent(path: Path) -> int:
    """Note in a restored database that the files of generations not in use are gone; how many had some.

    A backup holds those of the current ones only, and nobody shall be offered a generation without files.
    """
    return _change(
        path, "UPDATE generation SET status = 'removed' WHERE status NOT IN ('current', 'removed')"
    )


def _change(path: Path, sql: str) -> int:
    driver = sqlite_module()
    try:
        with closing(driver.connect(str(path), isolation_level=None)) as connection:
            return int(connection.execute(sql).rowcount)
    except driver.Error as error:
        raise StoreError(f"The database {path} cannot be written ({error}).") from error
