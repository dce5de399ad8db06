"""The people who decide."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from annotator.errors import NotFound
from annotator.store.rows import known_id
from db import schema

_TABLE = schema.User
OWNER = "owner"


def owner(c: Connection, *, now: int) -> int:
    """Id of the owner, who is created the first time."""
    found = c.execute(select(_TABLE.id).where(_TABLE.name == OWNER)).scalar_one_or_none()
    if found is not None:
        return found
    return int(c.execute(insert(_TABLE).values(name=OWNER, created_at=now).returning(_TABLE.id)).scalar_one())


def names(c: Connection) -> dict[int, str]:
    """Id to name of everybody."""
    return {row[0]: row[1] for row in c.execute(select(_TABLE.id, _TABLE.name))}


def set_password(c: Connection, user_id: int, password_hash: str) -> None:
    """Keep the hash of a user's password (never the password)."""
    changed = c.execute(
        update(_TABLE).where(_TABLE.id == known_id(user_id, "user")).values(password_hash=password_hash)
    )
    if changed.rowcount == 0:
        raise NotFound(f"There is no user {user_id}.")


def get_password(c: Connection, user_id: int) -> str | None:
    """Hash of a user's password; None while none is set."""
    query = select(_TABLE.password_hash).where(_TABLE.id == known_id(user_id, "user"))
    row = c.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no user {user_id}.")
    hashed: str | None = row.password_hash
    return hashed
