"""Databases as released programs left them: text dumps in `tests/fixtures/schema/`, one per schema.

A new migration needs the dump of the schema before it. `python -m tests.db.released REVISION`, with the
program of that schema, writes a start of it from the newest dump; add a few rows of every sort by hand.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic.script import ScriptDirectory

from db import migrate

FOLDER = Path(__file__).parents[1] / "fixtures" / "schema"


def dumps() -> dict[str, Path]:
    """Revision to dump, oldest first."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.sql"))}


def make(revision: str, path: Path) -> Path:
    """A database of that schema at `path`, as a program of its time wrote it (WAL, in use or not)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dumps()[revision].read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode=WAL")
    return path


def revisions() -> list[tuple[str, str | None]]:
    """Every migration with the one before it, oldest first."""
    scripts = ScriptDirectory.from_config(migrate._config()).walk_revisions()
    return [(script.revision, script.down_revision) for script in reversed(list(scripts))]  # type: ignore[misc]


def main(revision: str) -> None:
    """Write the start of the dump of a schema that has none yet: the newest dump, upgraded to it."""
    newest = list(dumps())[-1]
    with TemporaryDirectory() as folder:
        path = make(newest, Path(folder) / "a.db")
        migrate.upgrade(path)
        if migrate.revision(path) != revision:
            raise SystemExit(f"This program's schema is {migrate.head()}, not {revision}.")
        with closing(sqlite3.connect(path)) as connection:
            text = "\n".join(connection.iterdump()) + "\n"
    (FOLDER / f"{revision}.sql").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
