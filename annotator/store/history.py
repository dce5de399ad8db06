"""Who decided what and when: the log of decisions as people read it."""

from __future__ import annotations

from sqlalchemy import Connection, select

from annotator.records import CellState, PastDecision, Source
from annotator.store.rows import fields
from db import schema

_DECISION = schema.Decision
_COLUMNS = (
    _DECISION.seq,
    _DECISION.op_id,
    _DECISION.image_id,
    _DECISION.category_id,
    schema.Category.name.label("category"),
    _DECISION.state,
    _DECISION.source,
    _DECISION.mode,
    _DECISION.user_id,
    schema.User.name.label("user"),
    _DECISION.decided_at,
    _DECISION.base_seq,
    _DECISION.undo_of,
)


def of_image(
    c: Connection, image_id: int, *, category_id: int | None = None, before: int | None = None, limit: int
) -> list[PastDecision]:
    """Decisions about one picture, newest first: at most `limit`, those with a `seq` below `before`."""
    query = (
        select(*_COLUMNS)
        .join(schema.Category, schema.Category.id == _DECISION.category_id)
        .join(schema.User, schema.User.id == _DECISION.user_id)
        .where(_DECISION.image_id == image_id)
    )
    if category_id is not None:
        query = query.where(_DECISION.category_id == category_id)
    if before is not None:
        query = query.where(_DECISION.seq < before)
    return [_record(row) for row in c.execute(query.order_by(_DECISION.seq.desc()).limit(limit))]


def _record(row: object) -> PastDecision:
    values = fields(row)
    return PastDecision(**{**values, "state": CellState(values["state"]), "source": Source(values["source"])})
