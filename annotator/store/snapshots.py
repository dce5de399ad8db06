"""Snapshots: labels frozen at one `seq`, named by what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, insert, select, update

from annotator.errors import NotFound
from annotator.records import Snapshot, Source
from annotator.store import categories, decisions, images, projects
from annotator.store.rows import fields, known_id
from db import schema

_TABLE = schema.Snapshot
_COLUMNS = (
    _TABLE.id,
    _TABLE.project_id,
    _TABLE.up_to_seq,
    _TABLE.digest,
    _TABLE.counts,
    _TABLE.created_at,
)
_OF_PROJECT = "category_id IN (SELECT id FROM category WHERE project_id = ?)"
_ACTIVE = "category_id IN (SELECT id FROM category WHERE project_id = ? AND archived_at IS NULL)"
_ASKED = (Source.HUMAN.value, Source.GROUP.value, Source.BULK.value)
_FETCH = 50_000


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a project holds at one moment; equal content has an equal digest."""

    project_id: int
    up_to_seq: int
    digest: str
    counts: dict[str, int]
    changed_at: int  # time of the newest decision, image or project row


def freeze(c: Connection, project_id: int, *, now: int) -> Snapshot:
    """The snapshot of what the project holds now; unchanged content gives the snapshot already there."""
    return keep(c, describe(c, project_id), now=now)


def describe(c: Connection, project_id: int) -> Description:
    """Digest and counts of what the project holds, without writing anything.

    The digest covers images (id, bytes, name, size), active categories and every label with its `seq`.
    """
    project = projects.get(c, project_id)
    digest = hashlib.sha256(b"coco_partial/1\n")
    for category in categories.list_active(c, project_id):
        digest.update(json.dumps([category.id, category.name]).encode())
    image_sql = (
        "SELECT id, sha256, name, width, height, created_at FROM image WHERE project_id = ? ORDER BY id"
    )
    changed_at = project.created_at
    for rows in _raw(c, image_sql, (project_id,)):
        digest.update(json.dumps(rows).encode())
        changed_at = max(changed_at, max(row[5] for row in rows))
    states = {1: 0, -1: 0, 2: 0}
    label_sql = f"SELECT image_id, category_id, state, seq, decided_at FROM label WHERE {_ACTIVE}"
    for rows in _raw(c, label_sql + " ORDER BY image_id, category_id", (project_id,)):
        digest.update(json.dumps(rows).encode())
        changed_at = max(changed_at, max(row[4] for row in rows))
        for row in rows:
            states[row[2]] += 1
    return Description(
        project_id=project_id,
        up_to_seq=decisions.head_seq(c, project_id),
        digest=digest.hexdigest(),
        counts={
            "images": images.count(c, project_id),
            "decided_images": decisions.decided_images(c, project_id),
            "categories": len(categories.list_active(c, project_id)),
            "positive": states[1],
            "negative": states[-1],
            "unsure": states[2],
        },
        changed_at=changed_at,
    )


def keep(c: Connection, what: Description, *, now: int) -> Snapshot:
    """The row of a described snapshot, made when it is not there yet.

    Equal content at a later `seq` (an answer that was taken back) moves the row there: who learns from it has
    seen everything up to then.
    """
    query = select(*_COLUMNS).where(_TABLE.project_id == what.project_id, _TABLE.digest == what.digest)
    row = c.execute(query).one_or_none()
    if row is not None:
        if what.up_to_seq > row.up_to_seq:
            c.execute(update(_TABLE).where(_TABLE.id == row.id).values(up_to_seq=what.up_to_seq))
        return get(c, row.id)
    values = {
        "project_id": what.project_id,
        "up_to_seq": what.up_to_seq,
        "digest": what.digest,
        "counts": what.counts,
        "created_at": now,
    }
    return get(c, c.execute(insert(_TABLE).values(values).returning(_TABLE.id)).scalar_one())


def get(c: Connection, snapshot_id: int) -> Snapshot:
    """The snapshot with this id, or NotFound."""
    row = c.execute(select(*_COLUMNS).where(_TABLE.id == known_id(snapshot_id, "snapshot"))).one_or_none()
    if row is None:
        raise NotFound(f"There is no snapshot {snapshot_id}.")
    return Snapshot(**fields(row))


def label_matrix(
    c: Connection, project_id: int, image_ids: Sequence[int], category_ids: Sequence[int]
) -> npt.NDArray[np.int8]:
    """Labels (N, C) of ascending `image_ids` and any `category_ids`: +1, -1, and 0 for unknown or unsure."""
    sql = f"SELECT image_id, category_id, state FROM label WHERE state != 2 AND {_OF_PROJECT}"
    return _matrix(c, sql, (project_id,), image_ids, category_ids)


def asked_by_strategy(
    c: Connection, project_id: int, image_ids: Sequence[int], category_ids: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """(N, C): True where a person gave the current yes or no and the cell was not drawn at random.

    Imported and derived answers are not among them: how those cells came to be is unknown.
    """
    sql = (
        "SELECT image_id, category_id, 1 FROM label WHERE state != 2 "
        f"AND source IN ({', '.join('?' * len(_ASKED))}) AND {_OF_PROJECT} "
        "AND NOT (SELECT random_stream FROM decision WHERE decision.seq = label.seq)"
    )
    return _matrix(c, sql, (*_ASKED, project_id), image_ids, category_ids).astype(bool)


def _matrix(
    c: Connection, sql: str, values: tuple[Any, ...], image_ids: Sequence[int], category_ids: Sequence[int]
) -> npt.NDArray[np.int8]:
    """What a statement says of (image, category) cells, as (N, C); 0 where it says nothing."""
    rows_of = np.asarray(image_ids, dtype=np.int64)
    columns = {category: column for column, category in enumerate(category_ids)}
    matrix = np.zeros((len(rows_of), len(columns)), dtype=np.int8)
    if matrix.size == 0:
        return matrix
    order = np.argsort(rows_of, kind="stable")
    for rows in _raw(c, sql, values):
        part = np.array(rows, dtype=np.int64)
        column = np.array([columns.get(key, -1) for key in part[:, 1].tolist()])
        place = np.minimum(np.searchsorted(rows_of, part[:, 0], sorter=order), len(rows_of) - 1)
        row = order[place]
        wanted = (column >= 0) & (rows_of[row] == part[:, 0])
        matrix[row[wanted], column[wanted]] = part[wanted, 2]
    return matrix


def _raw(c: Connection, sql: str, values: tuple[Any, ...]) -> Iterator[list[tuple[Any, ...]]]:
    """Plain tuples straight from the driver, twenty times faster than rows; never an empty list."""
    cursor = c.exec_driver_sql(sql, values).cursor
    if cursor is None:
        raise RuntimeError("The statement returned no rows to read.")
    while rows := cursor.fetchmany(_FETCH):
        yield list(rows)
