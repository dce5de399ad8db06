"""Images: rows that point at content-addressed files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update

from annotator.errors import NotFound
from annotator.records import Image, ImageState, NewImage
from annotator.store import projects
from annotator.store.rows import chunks, fields, known_id
from db import schema

_TABLE = schema.Image
_COLUMNS = (
    _TABLE.id,
    _TABLE.project_id,
    _TABLE.sha256,
    _TABLE.name,
    _TABLE.media_type,
    _TABLE.width,
    _TABLE.height,
    _TABLE.state,
    _TABLE.original,
    _TABLE.canonical,
    _TABLE.created_at,
)
_GET = select(*_COLUMNS).where(_TABLE.id == bindparam("id"))
_BY_DIGEST = select(*_COLUMNS).where(
    _TABLE.project_id == bindparam("project"), _TABLE.sha256 == bindparam("digest")
)
_BY_NAME = select(*_COLUMNS).where(
    _TABLE.project_id == bindparam("project"), _TABLE.name == bindparam("name")
)
_ADD = insert(_TABLE.__table__).returning(_TABLE.id)  # type: ignore[arg-type]
_SOME = select(*_COLUMNS).where(_TABLE.id.in_(bindparam("ids", expanding=True)))


def add(c: Connection, project_id: int, new: NewImage, *, now: int) -> tuple[Image, bool]:
    """Store an image; the same bytes again give the image already there and False.

    A name that other bytes already have gets " (2)", " (3)" ... before its suffix.
    """
    projects.get(c, project_id)
    row = c.execute(_BY_DIGEST, {"project": project_id, "digest": new.sha256}).one_or_none()
    if row is not None:
        return _image(row), False
    values = {
        "project_id": project_id,
        "sha256": new.sha256,
        "name": _free_name(c, project_id, new.name),
        "media_type": new.media_type,
        "width": new.width,
        "height": new.height,
        "state": ImageState.READY.value,
        "original": new.original,
        "canonical": new.canonical,
        "created_at": now,
    }
    key = c.execute(_ADD, values).scalar_one()
    return get(c, key), True


def get(c: Connection, image_id: int) -> Image:
    """The image with this id, or NotFound."""
    row = c.execute(_GET, {"id": known_id(image_id, "image")}).one_or_none()
    if row is None:
        raise NotFound(f"There is no image {image_id}.")
    return _image(row)


def many(c: Connection, image_ids: Sequence[int]) -> list[Image]:
    """Images in the order of `image_ids`; NotFound names the first that is missing."""
    found = there(c, image_ids)
    missing = next((value for value in image_ids if value not in found), None)
    if missing is not None:
        raise NotFound(f"There is no image {missing}.")
    return [found[value] for value in image_ids]


def there(c: Connection, image_ids: Sequence[int]) -> dict[int, Image]:
    """Those of `image_ids` that this connection sees, by id: one that began earlier sees less."""
    found: dict[int, Image] = {}
    for part in chunks([known_id(value, "image") for value in image_ids]):
        for row in c.execute(_SOME, {"ids": part}):
            found[row.id] = _image(row)
    return found


def digests(c: Connection, image_ids: Sequence[int]) -> dict[int, str]:
    """Image id to SHA-256 of the original bytes, of those that this connection sees."""
    found: dict[int, str] = {}
    for part in chunks([known_id(value, "image") for value in image_ids]):
        for key, sha256 in c.execute(select(_TABLE.id, _TABLE.sha256).where(_TABLE.id.in_(part))):
            found[key] = sha256
    return found


def by_name(c: Connection, project_id: int, name: str) -> Image | None:
    """The image with exactly this name, if there is one."""
    row = c.execute(_BY_NAME, {"project": project_id, "name": name}).one_or_none()
    return None if row is None else _image(row)


def name_map(c: Connection, project_id: int) -> dict[str, int]:
    """Name to id of every image of a project."""
    query = select(_TABLE.name, _TABLE.id).where(_TABLE.project_id == project_id)
    return {row[0]: row[1] for row in c.execute(query)}


class Kept(NamedTuple):
    """What an import needs to know of a picture that is there already."""

    name: str
    original: str
    canonical: str
    state: ImageState


def shas(c: Connection, project_id: int) -> dict[str, Kept]:
    """Every image of a project by the SHA-256 of its original bytes."""
    query = select(_TABLE.sha256, _TABLE.name, _TABLE.original, _TABLE.canonical, _TABLE.state)
    rows = c.execute(query.where(_TABLE.project_id == project_id))
    return {sha: Kept(name, original, made, ImageState(state)) for sha, name, original, made, state in rows}


def page(c: Connection, project_id: int, *, after: int = 0, limit: int = 500) -> list[Image]:
    """At most `limit` images with ids above `after`, in id order."""
    query = select(*_COLUMNS).where(_TABLE.project_id == project_id, _TABLE.id > after)
    return [_image(row) for row in c.execute(query.order_by(_TABLE.id).limit(limit))]


def ids(c: Connection, project_id: int, *, after: int = 0) -> list[int]:
    """Every image id of a project above `after`, ascending."""
    query = select(_TABLE.id).where(_TABLE.project_id == project_id, _TABLE.id > after)
    return list(c.execute(query.order_by(_TABLE.id)).scalars())


def count(c: Connection, project_id: int) -> int:
    """How many images a project has."""
    return int(c.execute(select(func.count()).where(_TABLE.project_id == project_id)).scalar_one())


def has_sha(c: Connection, project_id: int, sha256: str) -> bool:
    """Whether a picture with these original bytes is in the project."""
    query = select(_TABLE.id).where(_TABLE.project_id == project_id, _TABLE.sha256 == sha256)
    return c.execute(query).first() is not None


def set_state(c: Connection, image_id: int, state: ImageState) -> None:
    """Note that a picture went missing, changed, or is usable again; its labels stay."""
    get(c, image_id)
    c.execute(update(_TABLE).where(_TABLE.id == image_id).values(state=ImageState(state).value))


def _free_name(c: Connection, project_id: int, name: str) -> str:
    path = PurePosixPath(name)
    stem = name[: len(name) - len(path.suffix)]
    candidate, number = name, 1
    while by_name(c, project_id, candidate) is not None:
        number += 1
        candidate = f"{stem} ({number}){path.suffix}"
    return candidate


def _image(row: object) -> Image:
    values = fields(row)
    return Image(**{**values, "state": ImageState(values["state"])})
