"""What must be true of a database before anybody is promised that his answer is saved."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from annotator.errors import StoreError
from db.engine import FULL, Facts, facts


def assert_durable(engine: Engine) -> Facts:
    """The facts about an open database; StoreError when a COMMIT would not wait for the disk."""
    found = facts(engine)
    wrong = [
        f"{name} is {value}"
        for name, value, good in (
            ("synchronous", found.synchronous, found.synchronous == FULL),
            ("foreign_keys", "off", found.foreign_keys),
            ("journal_mode", found.journal, found.journal in ("wal", "delete")),
        )
        if not good
    ]
    if wrong:
        raise StoreError(
            f"SQLite {found.library} does not take the settings that make answers durable "
            f"({', '.join(wrong)}); install another SQLite library."
        )
    return found


def damage(engine: Engine) -> str:
    """Read every page; what SQLite finds wrong, in one sentence, empty when nothing is."""
    try:
        with engine.connect() as connection:
            # also sees rows whose index entries are gone, and costs one pass over the file
            found = str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one())
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    except DBAPIError as error:
        return f"The database file cannot be read ({error.orig})."
    if found != "ok":
        return f"The database file is damaged ({' '.join(found.split())})."
    if orphans is not None:
        return f"The database is damaged: a row of table {orphans[0]!r} belongs to nothing."
    return ""
