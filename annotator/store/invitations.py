"""Links that may be used once; the database holds only the SHA-256 of a secret."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.orm import aliased

from annotator.errors import BadInput, Conflict, NotFound
from annotator.people import Grant, Invitation, OpenInvitation
from annotator.store.secret import digest, new_secret
from db import schema

_TABLE = schema.Invitation
_NAME_LENGTH = 12  # of the 64 digits of a digest: two open links that share them are not to be expected
_NAMED = re.compile(r"[0-9a-f]{6,64}")


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


def open_ones(c: Connection, *, now: int, project_id: int | None = None) -> list[OpenInvitation]:
    """Links that are neither used nor run out, newest first; of one project or of the whole server."""
    return [found for _, found in _open(c, now, project_id)]


def withdraw(c: Connection, name: str, *, now: int, project_id: int | None = None) -> OpenInvitation:
    """Forget the open link of that name, of one project or of the whole server; what it was.

    From then on its secret is unknown. BadInput for what is no name, NotFound, Conflict when two share it.
    """
    wanted = name.lower()
    if _NAMED.fullmatch(wanted) is None:
        raise BadInput(
            "An invitation is named by at least the first 6 signs of the name that the list shows."
        )
    matches = [(key, found) for key, found in _open(c, now, project_id) if key.startswith(wanted)]
    if not matches:
        raise NotFound(f"There is no open invitation {wanted}.")
    if len(matches) > 1:
        raise Conflict(f"{len(matches)} open invitations begin with {wanted}; give more of the name.")
    key, found = matches[0]
    c.execute(delete(_TABLE).where(_TABLE.secret_sha256 == key))
    return found


def _open(c: Connection, now: int, project_id: int | None) -> list[tuple[str, OpenInvitation]]:
    maker, account = aliased(schema.User), aliased(schema.User)
    names = (
        schema.Project.name.label("project"),
        maker.name.label("maker"),
        account.name.label("account"),
    )
    query = (
        select(*_TABLE.__table__.c, *names)
        .join(maker, maker.id == _TABLE.created_by)
        .outerjoin(schema.Project, schema.Project.id == _TABLE.project_id)
        .outerjoin(account, account.id == _TABLE.used_by)
        .where(_TABLE.used_at.is_(None), _TABLE.expires_at > now)
        .order_by(_TABLE.created_at.desc(), _TABLE.secret_sha256)
    )
    if project_id is not None:
        query = query.where(_TABLE.project_id == project_id)
    return [(row.secret_sha256, _shown(row)) for row in c.execute(query)]


def _shown(row: Any) -> OpenInvitation:
    return OpenInvitation(
        name=row.secret_sha256[:_NAME_LENGTH],
        grant=Grant(row.role),
        project_id=row.project_id,
        project_name=row.project,
        account=row.account,
        created_by=row.created_by,
        made_by=row.maker,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
