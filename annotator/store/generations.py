"""Generations: published runs, at most one current per project.

`current` is the one suggestions come from; `retired` ones served before it; `rejected` ones were found worse,
by the quality gate or by a person; of `removed` ones only the row is left.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import aliased

from annotator.errors import Conflict, Gone, NotFound
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
_CURRENT = select(*_COLUMNS).where(
    _TABLE.project_id == bindparam("project"), _TABLE.status == GenerationStatus.CURRENT.value
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
    rejected: bool = False,
) -> Generation:
    """Make a finished generation the current one and retire the one before, in the same transaction.

    A `rejected` one is kept beside the current one, which stays. Gone when the project was archived
    meanwhile.
    """
    archived = select(schema.Project.archived_at).where(schema.Project.id == project_id)
    if c.execute(archived).scalar_one_or_none() is not None:
        raise Gone("The project was archived while it trained; the result was discarded.")
    up_to_seq = select(schema.Snapshot.up_to_seq).where(
        schema.Snapshot.id == known_id(snapshot_id, "snapshot"), schema.Snapshot.project_id == project_id
    )
    seq = c.execute(up_to_seq).scalar_one_or_none()
    if seq is None:
        raise NotFound(f"Project {project_id} has no snapshot {snapshot_id}.")
    if not rejected:
        _leave(c, project_id, GenerationStatus.RETIRED)
    status = GenerationStatus.REJECTED if rejected else GenerationStatus.CURRENT
    values = {
        "id": generation_id,
        "project_id": project_id,
        "snapshot_id": snapshot_id,
        "up_to_seq": seq,
        "backbone": backbone,
        "folder": folder,
        "manifest_sha256": manifest_sha256,
        "metrics": metrics,
        "status": status.value,
        "created_at": now,
    }
    c.execute(insert(_TABLE).values(values))
    return get(c, generation_id)


def switch(c: Connection, project_id: int, generation_id: int) -> Generation:
    """Make a kept generation the current one again, in one transaction.

    The one left for an earlier one was found wanting and becomes rejected; one left for a later one is
    retired. Conflict when it is current already or its files were removed.
    """
    check_usable(of_project(c, project_id, generation_id))
    now_used = current(c, project_id)
    back = now_used is not None and now_used.id > generation_id
    _leave(c, project_id, GenerationStatus.REJECTED if back else GenerationStatus.RETIRED)
    _set_status(c, generation_id, GenerationStatus.CURRENT)
    return get(c, generation_id)


def check_usable(wanted: Generation) -> None:
    """Conflict when a generation is current already or has no files any more."""
    if wanted.status is GenerationStatus.CURRENT:
        raise Conflict(f"Generation {wanted.id} is the current one already.")
    if wanted.status is GenerationStatus.REMOVED:
        raise Conflict(f"The files of generation {wanted.id} were removed; it cannot be used any more.")


def of_project(c: Connection, project_id: int, generation_id: int) -> Generation:
    """A generation of this project, or NotFound."""
    found = get(c, generation_id)
    if found.project_id != project_id:
        raise NotFound(f"There is no generation {generation_id}.")
    return found


def first_decided_since(c: Connection, project_id: int, seq: int) -> list[tuple[int, int]]:
    """Cells (image id, category id) whose very first decision came after `seq`."""
    decision, earlier = schema.Decision, aliased(schema.Decision)
    before = (
        select(earlier.seq)
        .where(
            earlier.image_id == decision.image_id,
            earlier.category_id == decision.category_id,
            earlier.seq <= seq,
        )
        .exists()
    )
    query = (
        select(decision.image_id, decision.category_id)
        .where(decision.project_id == project_id, decision.seq > seq, ~before)
        .distinct()
    )
    return [(image, category) for image, category in c.execute(query)]


def mark_removed(c: Connection, generation_id: int) -> bool:
    """Note that the files of a generation go; False, and nothing changes, when it is current (again)."""
    if get(c, generation_id).status is GenerationStatus.CURRENT:
        return False
    _set_status(c, generation_id, GenerationStatus.REMOVED)
    return True


def _leave(c: Connection, project_id: int, status: GenerationStatus) -> None:
    c.execute(
        update(_TABLE)
        .where(_TABLE.project_id == project_id, _TABLE.status == GenerationStatus.CURRENT.value)
        .values(status=status.value)
    )


def _set_status(c: Connection, generation_id: int, status: GenerationStatus) -> None:
    c.execute(update(_TABLE).where(_TABLE.id == generation_id).values(status=status.value))


def current(c: Connection, project_id: int) -> Generation | None:
    """The generation suggestions come from; None before the first."""
    row = c.execute(_CURRENT, {"project": project_id}).one_or_none()
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


def kept_folders(c: Connection) -> set[str]:
    """Folders of every generation whose files are kept, of all projects, archived ones included."""
    query = select(_TABLE.folder).where(_TABLE.status != GenerationStatus.REMOVED.value)
    return set(c.execute(query).scalars())


def _generation(row: Any) -> Generation:
    values = fields(row)
    return Generation(**{**values, "status": GenerationStatus(values["status"])})
