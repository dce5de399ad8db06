"""Many cells of an import in one step: the database itself sorts out which are new.

The same rows as `decisions.record` would write, some ten times as fast, so that an import that is all or
nothing keeps nobody waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from annotator.records import Source

# op_id, image, category, state
NewCell = tuple[str, int, int, int]

_MAKE = """
CREATE TEMP TABLE new_cell (
    place INTEGER PRIMARY KEY, op_id TEXT NOT NULL, image_id INTEGER NOT NULL, category_id INTEGER NOT NULL,
    state INTEGER NOT NULL
)
"""
_FILL = "INSERT INTO new_cell (op_id, image_id, category_id, state) VALUES (?, ?, ?, ?)"
_DECIDED = """
SELECT count(*) FILTER (WHERE label.state = new_cell.state),
    count(*) FILTER (WHERE label.state <> new_cell.state)
FROM new_cell JOIN label USING (image_id, category_id)
"""
_DROP_DECIDED = """
DELETE FROM new_cell WHERE EXISTS (
    SELECT 1 FROM label WHERE label.image_id = new_cell.image_id AND label.category_id = new_cell.category_id
)
"""
_DROP_SEEN = (
    "DELETE FROM new_cell WHERE EXISTS (SELECT 1 FROM decision WHERE decision.op_id = new_cell.op_id)"
)
# An image or category of another project, or of none, is not in this join: `stored` then tells.
_DECIDE = """
INSERT INTO decision (
    seq, op_id, project_id, image_id, category_id, state, source, user_id, mode, random_stream, decided_at
)
SELECT :seq + row_number() OVER (ORDER BY new_cell.place), new_cell.op_id, :project, new_cell.image_id,
    new_cell.category_id, new_cell.state, :source, :user, 'import', FALSE, :now
FROM new_cell
    JOIN image ON image.id = new_cell.image_id AND image.project_id = :project
    JOIN category ON category.id = new_cell.category_id AND category.project_id = :project
"""
_LABEL = """
INSERT INTO label (image_id, category_id, state, source, user_id, seq, decided_at)
SELECT image_id, category_id, state, source, user_id, seq, decided_at FROM decision WHERE seq > :seq
"""
_COUNT = """
UPDATE category_stat SET
    positive = category_stat.positive + added.positive,
    negative = category_stat.negative + added.negative,
    unsure = category_stat.unsure + added.unsure
FROM (
    SELECT category_id, count(*) FILTER (WHERE state = 1) AS positive,
        count(*) FILTER (WHERE state = -1) AS negative, count(*) FILTER (WHERE state = 2) AS unsure
    FROM decision WHERE seq > :seq GROUP BY category_id
) AS added
WHERE category_stat.category_id = added.category_id
"""


@dataclass(frozen=True, kw_only=True)
class ImportedCells:
    """What became of the cells."""

    stored: int = 0
    same: int = 0  # decided that way before
    kept: int = 0  # decided otherwise before, and left so
    seen: int = 0  # stored by an earlier import and cleared since, and left so

    def __add__(self, other: ImportedCells) -> ImportedCells:
        return ImportedCells(
            stored=self.stored + other.stored,
            same=self.same + other.same,
            kept=self.kept + other.kept,
            seen=self.seen + other.seen,
        )


def import_cells(
    c: Connection, project_id: int, cells: Sequence[NewCell], *, user_id: int, now: int
) -> ImportedCells:
    """Decide every unknown cell among `cells`, none of which may come twice; decided ones are never touched.

    Images and categories must be of the project; states must not be unknown.
    """
    sorted_out = _sort_out(c, cells)
    values: dict[str, Any] = {
        "seq": c.exec_driver_sql("SELECT coalesce(max(seq), 0) FROM decision").scalar_one(),
        "project": project_id,
        "source": Source.IMPORTED.value,
        "user": user_id,
        "now": now,
    }
    stored = c.execute(text(_DECIDE), values).rowcount
    if stored != sorted_out.stored:
        raise ValueError(f"{sorted_out.stored - stored} cells are of another project.")
    follow(c, values["seq"])
    c.exec_driver_sql("DROP TABLE new_cell")
    return sorted_out


def compare_cells(c: Connection, cells: Sequence[NewCell]) -> ImportedCells:
    """What `import_cells` would make of these cells; nothing is stored, so a reading connection will do."""
    sorted_out = _sort_out(c, cells)
    c.exec_driver_sql("DROP TABLE new_cell")
    return sorted_out


def _sort_out(c: Connection, cells: Sequence[NewCell]) -> ImportedCells:
    """Leave those in the temporary table `new_cell` that are to be stored."""
    c.exec_driver_sql(_MAKE)
    if cells:
        c.exec_driver_sql(_FILL, list(cells))
    same, kept = c.exec_driver_sql(_DECIDED).one()
    c.exec_driver_sql(_DROP_DECIDED)
    seen = c.exec_driver_sql(_DROP_SEEN).rowcount
    wanted = c.exec_driver_sql("SELECT count(*) FROM new_cell").scalar_one()
    return ImportedCells(stored=wanted, same=same, kept=kept, seen=seen)


def follow(c: Connection, seq: int) -> None:
    """Write labels and counts of the decisions above `seq`, which are about cells that were unknown."""
    c.execute(text(_LABEL), {"seq": seq})
    c.execute(text(_COUNT), {"seq": seq})
