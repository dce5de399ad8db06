"""Signs of life of worker processes."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from db import schema

_TABLE = schema.WorkerBeat
AHEAD_MS = 2_000  # a sign that comes while it is looked for may be this much newer than the look


def beat(c: Connection, owner: str, *, doing: str, now: int) -> None:
    """Note that worker `owner` lives and what it does."""
    values = {"owner": owner, "seen_at": now, "doing": doing}
    statement = insert(_TABLE).values(values)
    c.execute(
        statement.on_conflict_do_update(index_elements=["owner"], set_={"seen_at": now, "doing": doing})
    )


def latest(c: Connection, *, now: int) -> tuple[str, int, str] | None:
    """Owner, time and doing of the worker seen last; None before the first.

    A time that is still to come was noted by a clock that has been set back since and says nothing about
    when that was: such a worker is told only where there is no other.
    """
    query = select(_TABLE.owner, _TABLE.seen_at, _TABLE.doing).order_by(
        _TABLE.seen_at > now + AHEAD_MS, _TABLE.seen_at.desc(), _TABLE.owner
    )
    row = c.execute(query.limit(1)).one_or_none()
    return None if row is None else (row.owner, row.seen_at, row.doing)
