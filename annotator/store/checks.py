"""Whether derived rows still say what the decisions say, and how to make them say it again."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, func, select, update

from annotator.records import Image, ImageState, JobStatus
from annotator.store import images
from annotator.store.rows import chunks
from db import schema

PAGE: Final = 2_000
_COPIED = ("state", "source", "user_id", "seq", "decided_at", "generation_id", "score")
# The last answer of each cell, in the order of an index: nothing is sorted or kept in memory.
_LAST = (
    "(SELECT image_id, category_id, max(seq) AS seq FROM decision GROUP BY image_id, category_id) AS last "
    "JOIN decision ON decision.seq = last.seq"
)
_LATER = (
    "SELECT 1 FROM decision AS later WHERE later.image_id = label.image_id "
    "AND later.category_id = label.category_id AND later.seq > label.seq"
)
_SAME = " AND ".join(f"decision.{name} IS label.{name}" for name in ("image_id", "category_id", *_COPIED))
_COUNTED = (
    "SELECT category.id AS category_id, coalesce(sum(state = 1), 0), coalesce(sum(state = -1), 0), "
    "coalesce(sum(state = 2), 0) FROM category LEFT JOIN label ON label.category_id = category.id "
    "GROUP BY category.id"
)
_TOLD = "SELECT category_id, positive, negative, unsure FROM category_stat"


def wrong_labels(c: Connection) -> int:
    """How many cells have a label that is not their last decision, or lack one, or have one too many."""
    wrong = c.exec_driver_sql(
        "SELECT count(*) FROM label LEFT JOIN decision ON decision.seq = label.seq "
        f"WHERE decision.seq IS NULL OR NOT ({_SAME}) OR EXISTS ({_LATER})"
    )
    absent = c.exec_driver_sql(
        f"SELECT count(*) FROM {_LAST} LEFT JOIN label ON label.image_id = decision.image_id "
        "AND label.category_id = decision.category_id WHERE decision.state != 0 AND label.image_id IS NULL"
    )
    return int(wrong.scalar_one()) + int(absent.scalar_one())


def wrong_counts(c: Connection) -> int:
    """How many categories have counts that are not those of their labels, or lack them."""
    different = f"SELECT category_id FROM ({_COUNTED} EXCEPT {_TOLD})"
    extra = f"SELECT category_id FROM ({_TOLD} EXCEPT {_COUNTED})"
    return int(c.exec_driver_sql(f"SELECT count(*) FROM ({different} UNION {extra})").scalar_one())


def derive_again(c: Connection) -> None:
    """Write labels and counts from the decisions, which are never touched."""
    c.exec_driver_sql("DELETE FROM label")
    columns = ", ".join(f"decision.{name}" for name in ("image_id", "category_id", *_COPIED))
    c.exec_driver_sql(
        f"INSERT INTO label (image_id, category_id, {', '.join(_COPIED)}) "
        f"SELECT {columns} FROM {_LAST} WHERE decision.state != 0"
    )
    c.exec_driver_sql("DELETE FROM category_stat")
    c.exec_driver_sql(f"INSERT INTO category_stat (category_id, positive, negative, unsure) {_COUNTED}")


def images_after(c: Connection, image_id: int) -> list[Image]:
    """The next pictures of all projects in id order, at most `PAGE`; empty after the last."""
    query = select(schema.Image.id).where(schema.Image.id > image_id).order_by(schema.Image.id).limit(PAGE)
    return images.many(c, list(c.execute(query).scalars()))


def count_images(c: Connection) -> int:
    """How many pictures there are in all projects."""
    return int(c.execute(select(func.count()).select_from(schema.Image)).scalar_one())


def set_states(c: Connection, image_ids: list[int], state: ImageState) -> None:
    """Note for many pictures at once what `images.set_state` notes for one; labels stay."""
    for part in chunks(image_ids):
        c.execute(update(schema.Image).where(schema.Image.id.in_(part)).values(state=state.value))


def stale_jobs(c: Connection, now: int) -> int:
    """How many jobs count as running although their worker has not been heard of."""
    table = schema.Job
    query = select(func.count()).where(table.status == JobStatus.RUNNING.value, table.lease_until < now)
    return int(c.execute(query).scalar_one())
