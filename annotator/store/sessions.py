"""Signed-in browsers; the database holds only the SHA-256 of a token."""

from __future__ import annotations

import hashlib
import secrets

import sqlalchemy as sa
from sqlalchemy import Connection, insert, select

from db import schema

_TABLE = schema.Session


def create(c: Connection, user_id: int, *, ttl_ms: int, now: int) -> str:
    """A new token for `user_id`, valid for `ttl_ms`; sessions that have run out are swept away."""
    c.execute(sa.delete(_TABLE).where(_TABLE.expires_at <= now))
    token = secrets.token_urlsafe(32)
    c.execute(
        insert(_TABLE).values(
            token_sha256=_digest(token), user_id=user_id, created_at=now, expires_at=now + ttl_ms
        )
    )
    return token


def find(c: Connection, token: str, *, now: int) -> int | None:
    """User id behind a token; None when it is unknown or has run out."""
    query = select(_TABLE.user_id).where(_TABLE.token_sha256 == _digest(token), _TABLE.expires_at > now)
    return c.execute(query).scalar_one_or_none()


def delete(c: Connection, token: str) -> None:
    """Sign one browser out."""
    c.execute(sa.delete(_TABLE).where(_TABLE.token_sha256 == _digest(token)))


def delete_all(c: Connection, user_id: int) -> None:
    """Sign a user out everywhere."""
    c.execute(sa.delete(_TABLE).where(_TABLE.user_id == user_id))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
