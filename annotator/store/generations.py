"""Generations: published runs, one current per project."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from annotator.errors import NotFound
from annotator.records import Generation, GenerationStatus
from annotator.store.rows import fields, known_id
from db import schema

_TABLE = schema.Generation
_COLUMNS = (
    _TABLE.id,
    _TABLE.project_id,
    _TABLE.snapshot_id,
    _TABLE.up_to_seq,
    _TABLE.backbone,
    _TABLE.folder,
    _TABLE.manifest_sha256,
    _TABLE.metrics,
    _TABLE.status,
    _TABLE.created_at,
)


def reserve(c: Connection) -> int:
    """The next generation id; it is never given out again, even when the run fails."""
    statement = upsert(schema.Counter).values(name="generation", value=1)
    statement = statement.on_conflict_do_update(
        index_elements=["name"], set_={"value": schema.Counter.value + 1}
    )
    return int(c.execute(statement.returning(schema.Counter.value)).scalar_one())


def publish(
    c: Connection,
    *,
    project_id: int,
    snapshot_id: int,
    generation_id: int,
    backbone: str,
    folder: str,
    manifest_sha256: str,
    metrics: dict[str, Any],
    now: int,
) -> Generation:
    """Make a finished generation the current one and retire the one before, in the same transaction."""
    up_to_seq = select(schema.Snapshot.up_to_seq).where(
        schema.Snapshot.id == known_id(snapshot_id, "snapshot"), schema.Snapshot.project_id == project_id
    )
    seq = c.execute(up_to_seq).scalar_one_or_none()
    if seq is None:
        raise NotFound(f"Project {project_id} has no snapshot {snapshot_id}.")
    c.execute(
        update(_TABLE)
        .where(_TABLE.project_id == project_id, _TABLE.status == GenerationStatus.CURRENT.value)
        .values(status=GenerationStatus.RETIRED.value)
    )
    values = {
        "id": generation_id,
        "project_id": project_id,
        "snapshot_id": snapshot_id,
        "up_to_seq": seq,
        "backbone": backbone,
        "folder": folder,
        "manifest_sha256": manifest_sha256,
        "metrics": metrics,
        "status": GenerationStatus.CURRENT.value,
        "created_at": now,
    }
    c.execute(insert(_TABLE).values(values))
    return get(c, generation_id)


def current(c: Connection, project_id: int) -> Generation | None:
    """The generation suggestions come from; None before the first."""
    query = select(*_COLUMNS).where(
        _TABLE.project_id == project_id, _TABLE.status == GenerationStatus.CURRENT.value
    )
    row = c.execute(query).one_or_none()
    return None if row is None else _generation(row)


def get(c: Connection, generation_id: int) -> Generation:
    """The generation with this id, or NotFound."""
    row = c.execute(select(*_COLUMNS).where(_TABLE.id == known_id(generation_id, "generation"))).one_or_none()
    if row is None:
        raise NotFound(f"There is no generation {generation_id}.")
    return _generation(row)


def history(c: Connection, project_id: int) -> list[Generation]:
    """Every published generation of a project, newest first."""
    query = select(*_COLUMNS).where(_TABLE.project_id == project_id).order_by(_TABLE.id.desc())
    return [_generation(row) for row in c.execute(query)]


def _generation(row: Any) -> Generation:
    values = fields(row)
    return Generation(**{**values, "status": GenerationStatus(values["status"])})
