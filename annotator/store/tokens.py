"""API tokens; the database holds only their SHA-256."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, or_, select, update

from annotator.errors import NotFound
from annotator.people import ApiToken
from annotator.store.rows import fields, known_id
from annotator.store.secret import digest, new_secret
from db import schema

_TABLE = schema.ApiToken
_COLUMNS = (
    _TABLE.id,
    _TABLE.user_id,
    _TABLE.name,
    _TABLE.created_at,
    _TABLE.expires_at,
    _TABLE.last_used_at,
    _TABLE.revoked_at,
)
PREFIX = "annotator_"  # so that scanners for leaked secrets know one when they see it


def create(
    c: Connection, user_id: int, name: str, *, expires_at: int | None, now: int
) -> tuple[ApiToken, str]:
    """A new token and its secret, which nothing can show a second time."""
    secret = PREFIX + new_secret()
    values = {
        "user_id": user_id,
        "name": name,
        "token_sha256": digest(secret),
        "created_at": now,
        "expires_at": expires_at,
    }
    key = c.execute(insert(_TABLE).values(values).returning(_TABLE.id)).scalar_one()
    return _token(c.execute(select(*_COLUMNS).where(_TABLE.id == key)).one()), secret


def find(c: Connection, secret: str, *, now: int) -> ApiToken | None:
    """The token behind a secret; None when unknown, revoked or run out, or when the account is disabled."""
    query = (
        select(*_COLUMNS)
        .join(schema.User, schema.User.id == _TABLE.user_id)
        .where(
            _TABLE.token_sha256 == digest(secret),
            _TABLE.revoked_at.is_(None),
            or_(_TABLE.expires_at.is_(None), _TABLE.expires_at > now),
            schema.User.disabled_at.is_(None),
        )
    )
    row = c.execute(query).one_or_none()
    return None if row is None else _token(row)


def of_user(c: Connection, user_id: int) -> list[ApiToken]:
    """A user's tokens that were not revoked, oldest first."""
    query = select(*_COLUMNS).where(_TABLE.user_id == user_id, _TABLE.revoked_at.is_(None))
    return [_token(row) for row in c.execute(query.order_by(_TABLE.id))]


def touch(c: Connection, token_id: int, *, now: int) -> None:
    """Note that a token was used."""
    c.execute(update(_TABLE).where(_TABLE.id == token_id).values(last_used_at=now))


def revoke(c: Connection, user_id: int, token_id: int, *, now: int) -> None:
    """End a token of this user; NotFound for anybody else's."""
    mine = (_TABLE.id == known_id(token_id, "token"), _TABLE.user_id == user_id, _TABLE.revoked_at.is_(None))
    if c.execute(update(_TABLE).where(*mine).values(revoked_at=now)).rowcount == 0:
        raise NotFound(f"There is no token {token_id}.")


def revoke_all(c: Connection, user_id: int, *, now: int) -> int:
    """End every token of a user; how many there were."""
    query = update(_TABLE).where(_TABLE.user_id == user_id, _TABLE.revoked_at.is_(None))
    return int(c.execute(query.values(revoked_at=now)).rowcount)


def _token(row: Any) -> ApiToken:
    return ApiToken(**fields(row))
