"""Bring a database file to the schema of this program, or say in one sentence why not.

Before an existing file is changed, a checked copy of it is put into `backups/` beside it. The change itself
is one transaction that is committed only when counts, labels and references are what they were: after a crash
at any moment the file has the old or the new schema, and the next start finishes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from db.contents import contents
from db.copying import DatabaseFileError, copy_online, is_full, problems, reading, sync
from db.engine import make_engine, writing

_log = logging.getLogger(__name__)
_MIGRATIONS = Path(__file__).parent / "migrations"
BACKUPS = "backups"
KEPT = 3  # copies from before upgrades that stay
# First version of the program that reads each schema: what an older one can tell a person to install.
SINCE = {"0001": "0.1.0", "0002": "0.2.0"}


class SchemaError(RuntimeError):
    """The file cannot be brought to this program's schema; it is as it was."""


class SchemaTooNew(SchemaError):
    """The file was written by a newer program."""


def head() -> str:
    """Revision this program works with."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise SchemaError("The program was installed without its database migrations; reinstall it.")
    return found


def revision(path: Path) -> str | None:
    """Revision of the file at `path`, which is not touched; None when it is missing or has no tables of ours.

    SchemaError when it is not a database.
    """
    if not path.exists():
        return None
    return _told(path)[0]


def revision_of(connection: Connection) -> str | None:
    """Revision of an open database."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(path: Path) -> Path | None:
    """Create the file at `path` or bring it to `head()`; the copy made before, if there was anything to copy.

    Raises SchemaError with the file as it was: SchemaTooNew when a newer program wrote it, else when it is no
    database, is damaged, is in use or there is no room.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_current(path):
        return None
    with _one_at_a_time(path.parent):
        if _is_current(path):
            return None
        before = None if revision(path) is None else _keep_copy(path)
        _private(path)
        try:
            _migrate(path)
        except SchemaError:
            if before is not None:
                before.unlink()  # the database is as it was, and a failing start may be repeated for ever
            raise
    if before is not None:
        _log.warning("The database was brought to schema %s; a copy from before is %s.", head(), before)
    return before


def check_known(found: str | None, path: Path) -> None:
    """Refuse a revision that this program does not have."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        wanted = _told(path)[1]
        advice = f"it needs annotator >= {wanted}" if wanted else "install the newer program to open it"
        raise SchemaTooNew(
            f"The database {path} has schema {found}, which is newer than this program ({head()}); {advice}."
        )


def _is_current(path: Path) -> bool:
    found = revision(path)
    check_known(found, path)
    return found == head()


def _told(path: Path) -> tuple[str | None, str]:
    """Revision of a file, and the version of the program that it says it needs (empty: it does not say)."""
    try:
        with reading(path) as connection:
            needed = int(connection.execute("PRAGMA user_version").fetchone()[0])
            names = connection.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")
            if names.fetchone() is None:
                return None, ""
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except DatabaseFileError as error:
        raise SchemaError(str(error)) from error
    version = f"{needed // 10**6}.{needed // 1000 % 1000}.{needed % 1000}" if needed > 0 else ""
    return (None if row is None else str(row[0])), version


def _keep_copy(path: Path) -> Path:
    """A checked copy of the file as it is, in the folder of backups."""
    folder = path.parent / BACKUPS
    folder.mkdir(mode=0o700, exist_ok=True)
    for left in folder.glob(".before-*.tmp*"):  # of upgrades that were killed; nobody else is at work here
        left.unlink()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = folder / f"before-{head()}-{stamp}.db"
    temporary = folder / f".{target.name}.tmp"
    try:
        copy_online(path, temporary)
        wrong = problems(temporary)
        if wrong:
            raise SchemaError(
                f"The database {path} is damaged ({wrong[0]}) and was not upgraded; "
                "restore a backup, or run the older program's export first."
            )
        temporary.replace(target)
        sync(folder)
        _forget_old(folder, target)
    except DatabaseFileError as error:
        raise SchemaError(
            f"{str(error).rstrip('.')}, so the database was not upgraded"
            f"{'; make room and start again' if error.full else ''}."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _migrate(path: Path) -> None:
    config = _config()
    engine = writing(make_engine(path))
    try:
        with engine.begin() as connection:
            cursor = connection.connection.cursor()
            before = None if revision_of(connection) is None else contents(cursor)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            cursor.execute(f"PRAGMA user_version = {_number(SINCE[head()])}")
            if before is not None:
                _check_kept(path, before, cursor)
            cursor.close()
    except DBAPIError as error:
        advice = "make room and start again" if is_full(error) else "it is as it was before"
        raise SchemaError(f"The database {path} could not be upgraded ({error.orig}); {advice}.") from error
    finally:
        engine.dispose()


def _check_kept(path: Path, before: Any, cursor: Any) -> None:
    """Raise, which rolls the upgrade back, when it changed what people answered."""
    after = contents(cursor)
    dangling = cursor.execute("PRAGMA foreign_key_check").fetchone()
    if after != before or dangling is not None:
        what = f"a row of {dangling[0]} would refer to nothing" if dangling else "rows or labels would change"
        raise SchemaError(
            f"The database {path} was not upgraded because {what}; it is as it was, please report this."
        )


def _forget_old(folder: Path, made: Path) -> None:
    """Keep the copy that was `made` now, whatever the clock says, and the newest others by their names."""
    others = [one for one in folder.glob("before-*.db") if one != made]
    for old in sorted(others, key=lambda one: one.name.rsplit("-", 1)[-1])[: 1 - KEPT]:
        old.unlink()


def _number(version: str) -> int:
    major, minor, patch = (int(part) for part in version.split("."))
    return major * 10**6 + minor * 1000 + patch


def _private(path: Path) -> None:
    """Make the file ours alone before SQLite makes it everybody's; its WAL takes the same mode."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Upgrades of one data folder wait for each other; a killed one lets go by itself."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise SchemaError(
                f"{folder} cannot be locked ({error.strerror}), so two programs could upgrade it at once; "
                "use a folder on a local disk."
            ) from error
        yield
    finally:
        os.close(descriptor)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
