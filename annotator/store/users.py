"""The people who decide."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from annotator.errors import Conflict, NotFound
from annotator.people import User
from annotator.store.names import tidy_name, twin_key
from annotator.store.rows import known_id
from db import schema

_TABLE = schema.User
_COLUMNS = (
    _TABLE.id,
    _TABLE.name,
    _TABLE.is_admin,
    _TABLE.disabled_at,
    _TABLE.created_at,
    _TABLE.password_hash.is_not(None).label("has_password"),
)
OWNER = "owner"
_GET = select(*_COLUMNS).where(_TABLE.id == bindparam("id"))
_FIRST_ADMIN = (
    select(_TABLE.id).where(_TABLE.is_admin, _TABLE.disabled_at.is_(None)).order_by(_TABLE.id).limit(1)
)


def owner(c: Connection, *, now: int) -> int:
    """Id of the owner, who is created the first time."""
    found = c.execute(select(_TABLE.id).where(_TABLE.name == OWNER)).scalar_one_or_none()
    if found is not None:
        return found
    values = {"name": OWNER, "created_at": now, "is_admin": True}
    return int(c.execute(insert(_TABLE).values(values).returning(_TABLE.id)).scalar_one())


def create(c: Connection, name: str, password_hash: str | None, *, is_admin: bool = False, now: int) -> User:
    """A new account. Conflict when the name is taken, whatever its capitals; BadInput when unusable."""
    tidy = tidy_name(name, "person")
    if by_name(c, tidy) is not None:
        raise Conflict(f'The name "{tidy}" is taken.')
    values = {"name": tidy, "password_hash": password_hash, "is_admin": is_admin, "created_at": now}
    return get(c, c.execute(insert(_TABLE).values(values).returning(_TABLE.id)).scalar_one())


def get(c: Connection, user_id: int) -> User:
    """The account with this id, or NotFound."""
    row = c.execute(_GET, {"id": known_id(user_id, "user")}).one_or_none()
    if row is None:
        raise NotFound(f"There is no user {user_id}.")
    return _user(row)


def by_name(c: Connection, name: str) -> User | None:
    """The account of that name, whatever its capitals; None also for text that cannot be a name."""
    wanted = twin_key(name)
    # SQLite folds ASCII only, and accounts are few: the same work for names that exist and that do not.
    found = next((key for key, known in names(c).items() if twin_key(known) == wanted), None)
    return None if found is None else get(c, found)


def list_all(c: Connection) -> list[User]:
    """Every account, oldest first."""
    return [_user(row) for row in c.execute(select(*_COLUMNS).order_by(_TABLE.id))]


def names(c: Connection) -> dict[int, str]:
    """Id to name of everybody."""
    return {row[0]: row[1] for row in c.execute(select(_TABLE.id, _TABLE.name))}


def active_admins(c: Connection) -> int:
    """How many accounts may do everything and are not disabled."""
    query = select(func.count()).where(_TABLE.is_admin, _TABLE.disabled_at.is_(None))
    return int(c.execute(query).scalar_one())


def first_admin(c: Connection) -> int | None:
    """Id of the oldest account that may do everything and is open; None before there is any account."""
    found: int | None = c.execute(_FIRST_ADMIN).scalar_one_or_none()
    return found


def set_admin(c: Connection, user_id: int) -> None:
    """Let an account do everything."""
    _change(c, user_id, is_admin=True)


def set_disabled(c: Connection, user_id: int, at: int | None) -> None:
    """Close an account at a time, or open it again with None; its answers stay."""
    _change(c, user_id, disabled_at=at)


def set_password(c: Connection, user_id: int, password_hash: str) -> None:
    """Keep the hash of a user's password (never the password)."""
    _change(c, user_id, password_hash=password_hash)


def get_password(c: Connection, user_id: int) -> str | None:
    """Hash of a user's password; None while none is set."""
    query = select(_TABLE.password_hash).where(_TABLE.id == known_id(user_id, "user"))
    row = c.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no user {user_id}.")
    hashed: str | None = row.password_hash
    return hashed


def _change(c: Connection, user_id: int, **values: Any) -> None:
    changed = c.execute(update(_TABLE).where(_TABLE.id == known_id(user_id, "user")).values(**values))
    if changed.rowcount == 0:
        raise NotFound(f"There is no user {user_id}.")


def _user(row: Any) -> User:
    return User(**dict(row._mapping))
