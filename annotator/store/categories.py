"""Categories: stable ids, names unique while active, archived instead of deleted."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, insert, select, update

from annotator.errors import Conflict, DuplicateCategory, NotFound
from annotator.records import Category
from annotator.store import projects
from annotator.store.names import twin_key
from annotator.store.rows import fields, known_id
from db import schema

_TABLE = schema.Category
_COLUMNS = (_TABLE.id, _TABLE.project_id, _TABLE.name, _TABLE.position, _TABLE.archived_at)
_ACTIVE = (
    select(*_COLUMNS)
    .where(_TABLE.project_id == bindparam("project"), _TABLE.archived_at.is_(None))
    .order_by(_TABLE.position, _TABLE.id)
)


def add(c: Connection, project_id: int, name: str, *, now: int) -> Category:
    """A new category at the end of the list; DuplicateCategory or BadInput when the name cannot be used."""
    projects.get(c, project_id)
    tidy = projects.tidy_name(name, "category")
    _refuse_duplicate(c, project_id, tidy)
    return _insert(c, project_id, [tidy], now=now)[0]


def _insert(c: Connection, project_id: int, tidied: Sequence[str], *, now: int) -> list[Category]:
    """New categories at the end of the list, in that order, in one go: a file may name thousands."""
    if not tidied:
        return []
    query = select(func.coalesce(func.max(_TABLE.position), -1)).where(_TABLE.project_id == project_id)
    end = int(c.execute(query).scalar_one()) + 1
    rows = [
        {
            "project_id": project_id,
            "name": tidy,
            "name_key": name_key(tidy),
            "position": position,
            "created_at": now,
        }
        for position, tidy in enumerate(tidied, end)
    ]
    statement = insert(_TABLE).returning(_TABLE.id, sort_by_parameter_order=True)
    keys = list(c.execute(statement, rows).scalars())
    counts = [{"category_id": key, "positive": 0, "negative": 0, "unsure": 0} for key in keys]
    c.execute(insert(schema.CategoryStat), counts)
    return [
        Category(id=key, project_id=project_id, name=tidy, position=position)
        for position, (key, tidy) in enumerate(zip(keys, tidied, strict=True), end)
    ]


def ensure(c: Connection, project_id: int, names: Sequence[str], *, now: int) -> tuple[list[Category], int]:
    """Active categories for `names`, in that order, and how many of them had to be added."""
    known = {name_key(category.name): category for category in list_active(c, project_id)}
    tidied = {name: projects.tidy_name(name, "category") for name in names}
    new: dict[str, str] = {}
    for tidy in tidied.values():
        if name_key(tidy) not in known:
            new.setdefault(name_key(tidy), tidy)
    known.update(zip(new, _insert(c, project_id, list(new.values()), now=now), strict=True))
    return [known[name_key(tidied[name])] for name in names], len(new)


def list_active(c: Connection, project_id: int) -> list[Category]:
    """Categories that are asked, in order."""
    projects.get(c, project_id)
    return [Category(**fields(row)) for row in c.execute(_ACTIVE, {"project": project_id})]


def list_archived(c: Connection, project_id: int) -> list[Category]:
    """Categories that are no longer asked, the one archived last first."""
    projects.get(c, project_id)
    query = select(*_COLUMNS).where(_TABLE.project_id == project_id, _TABLE.archived_at.is_not(None))
    return [
        Category(**fields(row)) for row in c.execute(query.order_by(_TABLE.archived_at.desc(), _TABLE.id))
    ]


def get(c: Connection, category_id: int) -> Category:
    """The category with this id, archived or not, or NotFound."""
    row = c.execute(select(*_COLUMNS).where(_TABLE.id == known_id(category_id, "category"))).one_or_none()
    if row is None:
        raise NotFound(f"There is no category {category_id}.")
    return Category(**fields(row))


def of_project(c: Connection, project_id: int, category_id: int) -> Category:
    """A category of this project, archived or not, or NotFound."""
    projects.get(c, project_id)
    found = get(c, category_id)
    if found.project_id != project_id:  # not told from one that never was
        raise NotFound(f"There is no category {category_id}.")
    return found


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


def restore(c: Connection, category_id: int) -> Category:
    """Ask an archived category again, with all its labels; DuplicateCategory when its name was given away."""
    category = get(c, category_id)
    if category.archived_at is not None:
        _refuse_duplicate(c, category.project_id, category.name, besides=category_id)
        c.execute(update(_TABLE).where(_TABLE.id == category_id).values(archived_at=None))
    return get(c, category_id)


def reorder(c: Connection, project_id: int, ids: Sequence[int]) -> list[Category]:
    """Put the active categories into the order of `ids`.

    Conflict when `ids` are not exactly the active ones: somebody added or archived one meanwhile.
    """
    active = list_active(c, project_id)
    if sorted(ids) != sorted(category.id for category in active):
        raise Conflict("The list of categories has changed meanwhile; look at it again, then sort it.")
    for position, category_id in enumerate(ids):
        c.execute(update(_TABLE).where(_TABLE.id == category_id).values(position=position))
    return list_active(c, project_id)


def name_key(name: str) -> str:
    """What makes two names the same category; see `names.twin_key`."""
    return twin_key(name)


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
