"""What must be the same before and after an upgrade, a backup or a restore."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

TABLES = ("project", "image", "category", "decision", "label", "user")
_ROWS = 50_000


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Counts and digest of a store, at one moment."""

    counts: dict[str, int]  # rows by table
    heads: dict[int, int]  # newest `decision.seq` by project id, 0 before the first
    label_digest: str  # SHA-256 over every label in the order of its cell


def contents(connection: Any) -> Contents:
    """Facts of the database behind a driver connection or cursor; its tables must be there.

    Reads only columns that every schema so far has, so that files of different schemas can be compared.
    """
    counts = {
        table: int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]) for table in TABLES
    }
    heads = connection.execute(
        "SELECT id, coalesce((SELECT max(seq) FROM decision WHERE project_id = project.id), 0) FROM project"
    ).fetchall()
    digest = hashlib.sha256()
    labels = connection.execute(
        "SELECT image_id, category_id, state, seq, user_id, source FROM label ORDER BY image_id, category_id"
    )
    while rows := labels.fetchmany(_ROWS):
        digest.update("".join("%d %d %d %d %d %s\n" % tuple(row) for row in rows).encode())  # noqa: UP031
    return Contents(
        counts=counts,
        heads={int(project): int(seq) for project, seq in heads},
        label_digest=digest.hexdigest(),
    )
