"""Projects: archived instead of deleted, and removed for good only after that (`purging.py`)."""

from __future__ import annotations

import unicodedata

from sqlalchemy import Connection, bindparam, insert, select, update

from annotator.errors import DuplicateProject, Gone, NotFound
from annotator.records import Project
from annotator.store import deeds
from annotator.store.names import tidy_name as tidy_name
from annotator.store.names import twin_key
from annotator.store.rows import fields, known_id
from db import schema

PURGE = "purge"  # the deed after which a project is as good as gone
_COLUMNS = (schema.Project.id, schema.Project.name, schema.Project.created_at, schema.Project.archived_at)
_GET = select(*_COLUMNS).where(schema.Project.id == bindparam("id"))  # built once, see rows.py


def create(c: Connection, name: str, *, now: int) -> Project:
    """A new project; DuplicateProject when the name is taken, BadInput when it is unusable."""
    tidy = tidy_name(name, "project")
    known = _twin(c, tidy)
    if known is not None:
        archived = "an archived" if known.archived_at is not None else "already a"
        raise DuplicateProject(f'There is {archived} project named "{known.name}".')
    key = c.execute(
        insert(schema.Project).values(name=tidy, created_at=now).returning(schema.Project.id)
    ).scalar_one()
    return Project(id=key, name=tidy, created_at=now)


def get(c: Connection, project_id: int) -> Project:
    """The project with this id, archived or not; NotFound, or Gone while it is being removed for good."""
    row = c.execute(_GET, {"id": known_id(project_id, "project")}).one_or_none()
    if row is None:
        raise NotFound(f"There is no project {project_id}.")
    if row.archived_at is not None and deeds.noted(c, project_id, PURGE):
        raise Gone(f'The project "{row.name}" is being removed for good.')
    return Project(**fields(row))


def by_name(c: Connection, name: str) -> Project | None:
    """The project with this name, archived or not, if there is one."""
    tidy = unicodedata.normalize("NFC", name).strip()
    row = c.execute(select(*_COLUMNS).where(schema.Project.name == tidy)).one_or_none()
    return None if row is None else Project(**fields(row))


def _twin(c: Connection, name: str) -> Project | None:
    """The project whose name only looks different, archived or not."""
    key = twin_key(name)
    every = (Project(**fields(row)) for row in c.execute(select(*_COLUMNS)))
    return next((one for one in every if twin_key(one.name) == key), None)


def list_all(c: Connection, *, archived: bool = False) -> list[Project]:
    """Every project that is worked on, oldest first; with `archived` those too that can be restored."""
    query = select(*_COLUMNS).order_by(schema.Project.id)
    if archived:
        going = select(schema.Deed.id).where(
            schema.Deed.project_id == schema.Project.id, schema.Deed.action == PURGE
        )
        query = query.where(~going.exists())
    else:
        query = query.where(schema.Project.archived_at.is_(None))
    return [Project(**fields(row)) for row in c.execute(query)]


def set_archived(c: Connection, project_id: int, at: int | None) -> None:
    """Put a project away at a time, or bring it back with None; nothing in it changes."""
    get(c, project_id)
    c.execute(update(schema.Project).where(schema.Project.id == project_id).values(archived_at=at))
