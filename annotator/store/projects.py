"""Projects."""

from __future__ import annotations

import unicodedata

from sqlalchemy import Connection, insert, select

from annotator.errors import BadInput, NotFound
from annotator.records import Project
from annotator.store.rows import fields, known_id
from db import schema

_COLUMNS = (schema.Project.id, schema.Project.name, schema.Project.created_at)
MAX_NAME = 200


def create(c: Connection, name: str, *, now: int) -> Project:
    """A new project; BadInput when the name is taken or unusable."""
    tidy = tidy_name(name, "project")
    if by_name(c, tidy) is not None:
        raise BadInput(f'There is already a project named "{tidy}".')
    key = c.execute(
        insert(schema.Project).values(name=tidy, created_at=now).returning(schema.Project.id)
    ).scalar_one()
    return Project(id=key, name=tidy, created_at=now)


def get(c: Connection, project_id: int) -> Project:
    """The project with this id, or NotFound."""
    query = select(*_COLUMNS).where(schema.Project.id == known_id(project_id, "project"))
    row = c.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no project {project_id}.")
    return Project(**fields(row))


def by_name(c: Connection, name: str) -> Project | None:
    """The project with this name, if there is one."""
    tidy = unicodedata.normalize("NFC", name).strip()
    row = c.execute(select(*_COLUMNS).where(schema.Project.name == tidy)).one_or_none()
    return None if row is None else Project(**fields(row))


def list_all(c: Connection) -> list[Project]:
    """Every project, oldest first."""
    return [Project(**fields(row)) for row in c.execute(select(*_COLUMNS).order_by(schema.Project.id))]


def tidy_name(name: str, noun: str) -> str:
    """`name` in NFC without outer blanks; BadInput when it is empty, too long or not plain text."""
    tidy = unicodedata.normalize("NFC", name).strip()
    if not tidy:
        raise BadInput(f"The name of a {noun} must not be empty.")
    if len(tidy) > MAX_NAME:
        raise BadInput(f"The name of a {noun} has at most {MAX_NAME} characters, this one has {len(tidy)}.")
    odd = next((sign for sign in tidy if unicodedata.category(sign) in ("Cc", "Cs")), None)
    if odd is not None:
        raise BadInput(f"The name of a {noun} must not contain the control character U+{ord(odd):04X}.")
    return tidy
