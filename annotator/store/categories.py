"""Categories: stable ids, names unique while active, archived instead of deleted."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select, update

from annotator.errors import DuplicateCategory, NotFound
from annotator.records import Category
from annotator.store import projects
from annotator.store.rows import fields, known_id
from db import schema

_TABLE = schema.Category
_COLUMNS = (_TABLE.id, _TABLE.project_id, _TABLE.name, _TABLE.position, _TABLE.archived_at)


def add(c: Connection, project_id: int, name: str, *, now: int) -> Category:
    """A new category at the end of the list; DuplicateCategory or BadInput when the name cannot be used."""
    projects.get(c, project_id)
    tidy = projects.tidy_name(name, "category")
    _refuse_duplicate(c, project_id, tidy)
    query = select(func.coalesce(func.max(_TABLE.position), -1)).where(_TABLE.project_id == project_id)
    position = c.execute(query).scalar_one() + 1
    values = {
        "project_id": project_id,
        "name": tidy,
        "name_key": name_key(tidy),
        "position": position,
        "created_at": now,
    }
    key = c.execute(insert(_TABLE).values(values).returning(_TABLE.id)).scalar_one()
    c.execute(insert(schema.CategoryStat).values(category_id=key, positive=0, negative=0, unsure=0))
    return Category(id=key, project_id=project_id, name=tidy, position=position)


def ensure(c: Connection, project_id: int, names: Sequence[str], *, now: int) -> tuple[list[Category], int]:
    """Active categories for `names`, in that order, and how many of them had to be added."""
    known = {name_key(category.name): category for category in list_active(c, project_id)}
    added = 0
    for name in names:
        key = name_key(projects.tidy_name(name, "category"))
        if key not in known:
            known[key] = add(c, project_id, name, now=now)
            added += 1
    return [known[name_key(projects.tidy_name(name, "category"))] for name in names], added


def list_active(c: Connection, project_id: int) -> list[Category]:
    """Categories that are asked, in order."""
    projects.get(c, project_id)
    query = select(*_COLUMNS).where(_TABLE.project_id == project_id, _TABLE.archived_at.is_(None))
    return [Category(**fields(row)) for row in c.execute(query.order_by(_TABLE.position, _TABLE.id))]


def get(c: Connection, category_id: int) -> Category:
    """The category with this id, archived or not, or NotFound."""
    row = c.execute(select(*_COLUMNS).where(_TABLE.id == known_id(category_id, "category"))).one_or_none()
    if row is None:
        raise NotFound(f"There is no category {category_id}.")
    return Category(**fields(row))


def rename(c: Connection, category_id: int, name: str) -> Category:
    """Give a category another name; its id and its labels stay."""
    category = get(c, category_id)
    tidy = projects.tidy_name(name, "category")
    if category.archived_at is None:
        _refuse_duplicate(c, category.project_id, tidy, besides=category_id)
    c.execute(update(_TABLE).where(_TABLE.id == category_id).values(name=tidy, name_key=name_key(tidy)))
    return get(c, category_id)


def archive(c: Connection, category_id: int, *, now: int) -> Category:
    """Stop asking a category; labels stay, and its id is never used for another."""
    if get(c, category_id).archived_at is None:
        c.execute(update(_TABLE).where(_TABLE.id == category_id).values(archived_at=now))
    return get(c, category_id)


def name_key(name: str) -> str:
    """What makes two names the same category: letter case does not."""
    return name.casefold()


def _refuse_duplicate(c: Connection, project_id: int, name: str, *, besides: int | None = None) -> None:
    query = select(_TABLE.name).where(
        _TABLE.project_id == project_id,
        _TABLE.name_key == name_key(name),
        _TABLE.archived_at.is_(None),
        _TABLE.id != (besides or 0),
    )
    found = c.execute(query).scalar_one_or_none()
    if found is not None:
        raise DuplicateCategory(f'There is already a category "{found}" in this project.')
