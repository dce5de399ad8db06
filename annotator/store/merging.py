"""One category taken over by another: decisions are added, none is changed, nothing is overwritten.

All of it is a few statements over sets of cells, so that a hundred thousand of them keep nobody waiting long.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, text

from annotator.errors import BadInput, Conflict
from annotator.records import Category, CellState, Disagreement, Merged, Source
from annotator.store import bulk, categories
from annotator.store.rows import fields

MODE: Final = "merge"  # of the decisions that a merge adds; their source is "derived"
SHOWN: Final = 100  # disagreements that are listed

_BOTH = """
FROM label AS given LEFT JOIN label AS held ON held.image_id = given.image_id AND held.category_id = :target
WHERE given.category_id = :source
"""
# One for each answer that was taken over, so that it is taken once; no client can send a name with slashes.
_OP = "'merge/' || :source || '/' || :target || '/' || given.image_id || '/' || given.seq"
_TAKEN_BEFORE = f"EXISTS (SELECT 1 FROM decision WHERE decision.op_id = {_OP})"
_COUNT = f"""
SELECT count(*) FILTER (WHERE held.state IS NULL AND NOT {_TAKEN_BEFORE}) AS taken,
    count(*) FILTER (WHERE held.state = given.state) AS same,
    count(*) FILTER (WHERE held.state <> given.state) AS differ,
    count(*) FILTER (WHERE held.state IS NULL AND {_TAKEN_BEFORE}) AS cleared
{_BOTH}
"""
_DIFFERING = f"""
SELECT given.image_id AS image_id, given.state AS source, held.state AS target {_BOTH}
AND held.state <> given.state ORDER BY given.image_id LIMIT :shown
"""
_NAMED = (
    "SELECT found.image_id, image.name, found.source, found.target "
    f"FROM ({_DIFFERING}) AS found JOIN image ON image.id = found.image_id ORDER BY found.image_id"
)
_DECIDE = f"""
INSERT INTO decision (
    seq, op_id, project_id, image_id, category_id, state, source, user_id, mode, random_stream, base_seq,
    decided_at
)
SELECT :seq + row_number() OVER (ORDER BY given.image_id), {_OP}, :project, given.image_id, :target,
    given.state, :how, :user, :mode, FALSE, 0, :now
{_BOTH} AND held.state IS NULL AND NOT {_TAKEN_BEFORE}
"""


def look(c: Connection, project_id: int, source_id: int, target_id: int) -> Merged:
    """What merging would do; nothing is written.

    NotFound for a category that is not of the project, BadInput when both are the same, Conflict when the
    target is archived. The source may be: answers that came after an earlier merge are taken over then.
    """
    source, target = (categories.of_project(c, project_id, key) for key in (source_id, target_id))
    if source.id == target.id:
        raise BadInput(f'into: the category "{source.name}" cannot be merged into itself.')
    if target.archived_at is not None:
        raise Conflict(f'The category "{target.name}" is archived; restore it before merging into it.')
    return _merged(c, source, target)


def merge(
    c: Connection, project_id: int, source_id: int, target_id: int, *, user_id: int, now: int
) -> Merged:
    """Give every cell of the target that is unknown what the source says, and archive the source.

    Where both are decided the target stays as it is. Errors as `look`. Doing it again does nothing more.
    """
    found = look(c, project_id, source_id, target_id)
    if found.taken:
        seq = int(c.exec_driver_sql("SELECT coalesce(max(seq), 0) FROM decision").scalar_one())
        values: dict[str, Any] = {
            "seq": seq,
            "project": project_id,
            "source": source_id,
            "target": target_id,
            "how": Source.DERIVED.value,
            "mode": MODE,
            "user": user_id,
            "now": now,
        }
        c.execute(text(_DECIDE), values)
        bulk.follow(c, seq)
    categories.archive(c, source_id, now=now)
    return Merged(**{**vars(found), "done": True})


def _merged(c: Connection, source: Category, target: Category) -> Merged:
    both = {"source": source.id, "target": target.id}
    counts = fields(c.execute(text(_COUNT), both).one())
    rows = c.execute(text(_NAMED), {**both, "shown": SHOWN}) if counts["differ"] else ()
    differing = tuple(
        Disagreement(
            image_id=row.image_id, name=row.name, source=CellState(row.source), target=CellState(row.target)
        )
        for row in rows
    )
    return Merged(source=source, target=target, **counts, differing=differing, done=False)
