"""Who has which role in which project."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, and_, insert, select
from sqlalchemy.orm import aliased

from annotator.people import Member, Role, Standing
from annotator.store import projects, users
from annotator.store.rows import MAX_ID
from db import schema

_TABLE = schema.Membership
_PROJECT = schema.Project
_USER = schema.User


def put(c: Connection, project_id: int, user_id: int, role: Role, *, now: int) -> None:
    """Give a user a role in a project, in place of the one before."""
    projects.get(c, project_id)
    users.get(c, user_id)
    changed = c.execute(sa.update(_TABLE).where(*_cell(project_id, user_id)).values(role=role.value))
    if changed.rowcount == 0:
        c.execute(
            insert(_TABLE).values(project_id=project_id, user_id=user_id, role=role.value, created_at=now)
        )


def remove(c: Connection, project_id: int, user_id: int) -> bool:
    """Take a user out of a project; False when there was nothing to take."""
    return c.execute(sa.delete(_TABLE).where(*_cell(project_id, user_id))).rowcount > 0


def role(c: Connection, project_id: int, user_id: int) -> Role | None:
    """The role of a user by membership alone; None without one."""
    found = c.execute(select(_TABLE.role).where(*_cell(project_id, user_id))).scalar_one_or_none()
    return None if found is None else Role(found)


def of_project(c: Connection, project_id: int) -> list[Member]:
    """Members of a project by name; a server admin needs no membership and may be missing."""
    projects.get(c, project_id)
    query = (
        select(_TABLE.user_id, _USER.name, _TABLE.role, _TABLE.created_at)
        .join(_USER, _USER.id == _TABLE.user_id)
        .where(_TABLE.project_id == project_id)
        .order_by(_USER.name, _USER.id)
    )
    return [
        Member(user_id=row.user_id, name=row.name, role=Role(row.role), created_at=row.created_at)
        for row in c.execute(query)
    ]


def of_user(c: Connection, user_id: int) -> dict[int, Role]:
    """Project id to role; everything as admin for a server admin."""
    if users.get(c, user_id).is_admin:
        return dict.fromkeys(c.execute(select(_PROJECT.id)).scalars(), Role.ADMIN)
    query = select(_TABLE.project_id, _TABLE.role).where(_TABLE.user_id == user_id)
    return {row.project_id: Role(row.role) for row in c.execute(query)}


def share_a_project(c: Connection, one: int, other: int) -> bool:
    """Whether two users are members of the same project, so that they know each other's names."""
    first, second = aliased(_TABLE), aliased(_TABLE)
    query = (
        select(first.project_id)
        .join(second, second.project_id == first.project_id)
        .where(first.user_id == one, second.user_id == other)
    )
    return c.execute(query).first() is not None


def standing(c: Connection, user_id: int, project_id: int) -> Standing | None:
    """How a user stands to a project; None when either does not exist or the account is closed."""
    return _standing(c, _BY_PROJECT, user_id, project_id)


def standing_by_image(c: Connection, user_id: int, image_id: int) -> Standing | None:
    """The same for the project of an image; None also when there is no such image."""
    return _standing(c, _BY_IMAGE, user_id, image_id)


def _query(source: Any, key: Any) -> sa.Executable:
    return (
        select(_PROJECT.id, _PROJECT.name, _PROJECT.archived_at, _USER.is_admin, _TABLE.role)
        .select_from(source)
        .join(_USER, and_(_USER.id == sa.bindparam("user"), _USER.disabled_at.is_(None)))
        .outerjoin(_TABLE, and_(_TABLE.project_id == _PROJECT.id, _TABLE.user_id == _USER.id))
        .where(key == sa.bindparam("key"))
    )


# Asked at every request, so built once: building such a statement takes longer than running it.
_BY_PROJECT = _query(_PROJECT, _PROJECT.id)
_BY_IMAGE = _query(sa.join(schema.Image, _PROJECT, _PROJECT.id == schema.Image.project_id), schema.Image.id)


def _standing(c: Connection, query: sa.Executable, user_id: int, key: int) -> Standing | None:
    if not 0 < key <= MAX_ID:
        return None
    row = c.execute(query, {"user": user_id, "key": key}).one_or_none()
    if row is None:
        return None
    given = Role(row.role) if row.role is not None else None
    return Standing(
        project_id=row.id,
        project_name=row.name,
        archived=row.archived_at is not None,
        role=Role.ADMIN if row.is_admin else given,
    )


def _cell(project_id: int, user_id: int) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return _TABLE.project_id == project_id, _TABLE.user_id == user_id
