"""Bring a database file to the schema of this program, or say in one sentence why not."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from db.engine import make_engine, writing

_MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaError(RuntimeError):
    """The file holds a schema this program does not know."""


def head() -> str:
    """Revision this program works with."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise SchemaError("The program was installed without its database migrations; reinstall it.")
    return found


def revision(path: Path) -> str | None:
    """Revision of the file at `path`; None for a missing file or one without our tables."""
    if not path.exists():
        return None
    engine = make_engine(path)
    try:
        with engine.connect() as connection:
            return revision_of(connection)
    finally:
        engine.dispose()


def revision_of(connection: Connection) -> str | None:
    """Revision of an open database."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(path: Path) -> None:
    """Create the file at `path` or bring it to `head()`, in one transaction.

    Raises SchemaError, with the file untouched, when it was written by a newer program.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    found = revision(path)
    check_known(found, path)
    engine = writing(make_engine(path))
    try:
        with engine.begin() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def check_known(found: str | None, path: Path) -> None:
    """Refuse a revision that this program does not have."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaError(
            f"The database {path} has schema {found}, which is newer than this program ({head()}); "
            "install the newer program to open it."
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
