"""Links that may be used once; the database holds only the SHA-256 of a secret."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from annotator.people import Grant, Invitation
from annotator.store.secret import digest, new_secret
from db import schema

_TABLE = schema.Invitation


def create(
    c: Connection,
    grant: Grant,
    *,
    project_id: int | None = None,
    user_id: int | None = None,
    created_by: int,
    ttl_ms: int,
    now: int,
) -> str:
    """A new secret; `project_id` for the roles of a project, `user_id` for a reset."""
    secret = new_secret()
    c.execute(
        insert(_TABLE).values(
            secret_sha256=digest(secret),
            project_id=project_id,
            role=grant.value,
            created_by=created_by,
            created_at=now,
            expires_at=now + ttl_ms,
            used_by=user_id,
        )
    )
    return secret


def find(c: Connection, secret: str) -> Invitation | None:
    """The invitation behind a secret, used or not."""
    row = c.execute(select(_TABLE).where(_TABLE.secret_sha256 == digest(secret))).one_or_none()
    if row is None:
        return None
    return Invitation(
        project_id=row.project_id,
        grant=Grant(row.role),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        used_by=row.used_by,
    )


def use(c: Connection, secret: str, user_id: int, *, now: int) -> bool:
    """Mark a secret as used; False when somebody was faster."""
    query = update(_TABLE).where(_TABLE.secret_sha256 == digest(secret), _TABLE.used_at.is_(None))
    return c.execute(query.values(used_at=now, used_by=user_id)).rowcount > 0


def withdraw_resets(c: Connection, user_id: int, *, now: int) -> None:
    """End every unused link that would set a password of this user."""
    c.execute(
        update(_TABLE)
        .where(_TABLE.role == Grant.RESET.value, _TABLE.used_by == user_id, _TABLE.used_at.is_(None))
        .values(used_at=now)
    )
