"""Who did which administrative thing: rows are added and never changed.

Only the number of a project that is removed for good moves from its column into `detail`, as "project".
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select

from annotator.people import Deed
from annotator.store.rows import fields
from db import schema

_TABLE = schema.Deed
_COLUMNS = (_TABLE.id, _TABLE.at, _TABLE.user_id, _TABLE.action, _TABLE.project_id, _TABLE.detail)


def add(
    c: Connection,
    action: str,
    *,
    user_id: int | None,
    now: int,
    project_id: int | None = None,
    **detail: Any,
) -> None:
    """Note a deed in the transaction that does it; never a secret or a password in `detail`."""
    c.execute(
        insert(_TABLE).values(at=now, user_id=user_id, action=action, project_id=project_id, detail=detail)
    )


def noted(c: Connection, project_id: int, action: str) -> bool:
    """Whether this was done to a project at least once."""
    query = select(_TABLE.id).where(_TABLE.project_id == project_id, _TABLE.action == action)
    return c.execute(query.limit(1)).first() is not None


def latest(c: Connection, limit: int, *, project_id: int | None = None) -> list[Deed]:
    """At most `limit` deeds, newest first, of one project or of the whole server."""
    query = select(*_COLUMNS).order_by(_TABLE.id.desc()).limit(limit)
    if project_id is not None:
        query = query.where(_TABLE.project_id == project_id)
    return [Deed(**fields(row)) for row in c.execute(query)]
