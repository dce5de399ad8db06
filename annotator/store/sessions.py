"""Signed-in browsers; the database holds only the SHA-256 of a token."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection, insert, select

from annotator.store.secret import digest, new_secret
from db import schema

_TABLE = schema.Session
# Asked at every request, so built once.
_FIND = (
    select(_TABLE.user_id)
    .join(schema.User, schema.User.id == _TABLE.user_id)
    .where(
        _TABLE.token_sha256 == sa.bindparam("digest"),
        _TABLE.expires_at > sa.bindparam("now"),
        schema.User.disabled_at.is_(None),
    )
)


def create(c: Connection, user_id: int, *, ttl_ms: int, now: int) -> str:
    """A new token for `user_id`, valid for `ttl_ms`; sessions that have run out are swept away."""
    c.execute(sa.delete(_TABLE).where(_TABLE.expires_at <= now))
    token = new_secret()
    c.execute(
        insert(_TABLE).values(
            token_sha256=digest(token), user_id=user_id, created_at=now, expires_at=now + ttl_ms
        )
    )
    return token


def find(c: Connection, token: str, *, now: int) -> int | None:
    """User id behind a token; None when it is unknown, has run out, or the account is disabled."""
    return c.execute(_FIND, {"digest": digest(token), "now": now}).scalar_one_or_none()


def delete(c: Connection, token: str) -> None:
    """Sign one browser out."""
    c.execute(sa.delete(_TABLE).where(_TABLE.token_sha256 == digest(token)))


def delete_all(c: Connection, user_id: int, *, keep: str | None = None) -> None:
    """Sign a user out everywhere, but for the browser that holds the token `keep`."""
    query = sa.delete(_TABLE).where(_TABLE.user_id == user_id)
    c.execute(query if keep is None else query.where(_TABLE.token_sha256 != digest(keep)))
