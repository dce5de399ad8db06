"""Archived projects removed for good, a part at a time, so that nobody else has to wait.

It begins with one transaction after which nobody finds the project any more and nothing brings it back; it
ends with another that removes its row. In between pictures go with all that was said about them, so that at
every moment labels and counts are what the answers say. What was done to the project stays in the list of
deeds, which names it by its number.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, select, text, update

from annotator.errors import BadInput, Conflict, NotFound
from annotator.records import GenerationStatus, Image, Project
from annotator.store import deeds, images, jobs, projects
from annotator.store.rows import chunks, fields, known_id
from db import schema

BEGUN: Final = projects.PURGE  # the deed that begins it
ENDED: Final = "purged"
_CATEGORIES_S: Final = 0.05  # for each of them the database looks through all answers of other projects

_SOME: Final[Any] = bindparam("some", expanding=True)
_UNCOUNT = text("""
UPDATE category_stat SET
    positive = category_stat.positive - gone.positive,
    negative = category_stat.negative - gone.negative,
    unsure = category_stat.unsure - gone.unsure
FROM (
    SELECT category_id, count(*) FILTER (WHERE state = 1) AS positive,
        count(*) FILTER (WHERE state = -1) AS negative, count(*) FILTER (WHERE state = 2) AS unsure
    FROM label WHERE image_id IN :some GROUP BY category_id
) AS gone
WHERE category_stat.category_id = gone.category_id
""").bindparams(_SOME)
_KEEP_DEEDS = text("""
UPDATE deed SET project_id = NULL, detail = json_set(detail, '$.project', project_id)
WHERE project_id = :project
""")


def begin(c: Connection, project_id: int, typed: str, *, user_id: int | None, keep_ms: int, now: int) -> None:
    """From here on the project is gone for everybody; `typed` is its name, exactly.

    NotFound without such a project, BadInput for another name, Conflict when it is not archived, or not for
    `keep_ms` yet, or a training of it has not ended.
    """
    project = projects.get(c, project_id)
    if typed != project.name:
        raise BadInput("name: type the name of the project exactly as it is to remove it for good.")
    if project.archived_at is None:
        raise Conflict(f'The project "{project.name}" is in use; archive it first.')
    if now < project.archived_at + keep_ms:
        left = -(-(project.archived_at + keep_ms - now) // (24 * 3600 * 1000))
        raise Conflict(
            f'The project "{project.name}" can be restored for {left} more day{"s" if left != 1 else ""}; it '
            "can be removed for good after that."
        )
    if any(_at_work(job.owner, job.lease_until, now) for job in jobs.active(c, project_id)):
        raise Conflict(f'A training of "{project.name}" is about to stop; try again in a minute.')
    for job in jobs.active(c, project_id):
        jobs.cancel(c, job.id, now=now)
    _forget(c, project_id)
    found = _counts(c, project_id)
    deeds.add(c, BEGUN, user_id=user_id, now=now, project_id=project_id, name=project.name, **found)


def due(c: Connection, *, keep_ms: int, now: int) -> list[Project]:
    """Archived projects that can be removed for good by now, oldest first."""
    found = projects.list_all(c, archived=True)
    return [one for one in found if one.archived_at is not None and one.archived_at + keep_ms <= now]


def unfinished(c: Connection) -> list[Project]:
    """Projects of which a part may still be there, oldest first."""
    table, deed = schema.Project, schema.Deed
    begun = select(deed.id).where(deed.project_id == table.id, deed.action == BEGUN).exists()
    query = select(table.id, table.name, table.created_at, table.archived_at)
    return [Project(**fields(row)) for row in c.execute(query.where(begun).order_by(table.id))]


def next_pictures(c: Connection, project_id: int, limit: int) -> list[Image]:
    """At most `limit` pictures that are still there."""
    return images.page(c, project_id, limit=limit)


def remove_pictures(c: Connection, project_id: int, image_ids: Sequence[int]) -> None:
    """Remove pictures with every answer about them; only after `begin`."""
    _check_begun(c, project_id)
    some = {"some": list(image_ids)}
    c.execute(_UNCOUNT, some)
    for table in (schema.Label, schema.Decision):
        c.execute(delete(table).where(table.image_id.in_(_SOME)), some)
    mine = schema.Image.id.in_(_SOME), schema.Image.project_id == project_id
    c.execute(delete(schema.Image).where(*mine), some)


def remove_categories(c: Connection, project_id: int) -> int:
    """Remove some categories, as many as fit into a moment; how many are left. After the last picture."""
    _check_begun(c, project_id)
    table, stat = schema.Category, schema.CategoryStat
    left = list(c.execute(select(table.id).where(table.project_id == project_id)).scalars())
    end = time.monotonic() + _CATEGORIES_S
    while left:
        key = left.pop()
        c.execute(delete(stat).where(stat.category_id == key))
        c.execute(delete(table).where(table.id == key))
        if time.monotonic() > end:
            break
    return len(left)


def end(c: Connection, project_id: int, *, now: int) -> dict[str, Any]:
    """Remove what is left of the project; what was in it when the removal began.

    The deed names who began it, whoever has come to the end of it.
    """
    _check_begun(c, project_id)
    for table in (schema.Generation, schema.Snapshot, schema.Job):
        c.execute(delete(table).where(table.project_id == project_id))
    user_id, first = _begun(c, project_id)
    c.execute(_KEEP_DEEDS, {"project": project_id})
    c.execute(delete(schema.Project).where(schema.Project.id == project_id))
    deeds.add(c, ENDED, user_id=user_id, now=now, **{**first, "project": project_id})
    return first


def named_files(c: Connection, digests: Sequence[str]) -> set[tuple[str, str, str]]:
    """(digest, original, canonical) of every picture of any project with one of these bytes."""
    table = schema.Image
    everywhere = table.project_id.in_(select(schema.Project.id))  # so that an index can be used
    query = select(table.sha256, table.original, table.canonical).where(everywhere)
    return {
        (sha256, original, canonical)
        for part in chunks(sorted(set(digests)))
        for sha256, original, canonical in c.execute(query.where(table.sha256.in_(_SOME)), {"some": part})
    }


def _forget(c: Connection, project_id: int) -> None:
    """Take people, invitations and generations away: nobody gets in, and nobody counts on its files."""
    for table in (schema.Membership, schema.Invitation):
        c.execute(delete(table).where(table.project_id == project_id))
    generation = schema.Generation
    gone = update(generation).where(generation.project_id == project_id)
    c.execute(gone.values(status=GenerationStatus.REMOVED.value))


def _counts(c: Connection, project_id: int) -> dict[str, int]:
    said = "SELECT count(*) FROM decision WHERE project_id = ?"
    return {
        "pictures": images.count(c, project_id),
        "answers": int(c.exec_driver_sql(said, (project_id,)).scalar_one()),
    }


def _begun(c: Connection, project_id: int) -> tuple[int | None, dict[str, Any]]:
    table = schema.Deed
    query = select(table.user_id, table.detail).where(table.project_id == project_id, table.action == BEGUN)
    row = c.execute(query.order_by(table.id).limit(1)).one()
    return row.user_id, dict(row.detail)


def _check_begun(c: Connection, project_id: int) -> None:
    if not deeds.noted(c, known_id(project_id, "project"), BEGUN):
        raise NotFound(f"There is no project {project_id} that is being removed.")


def _at_work(owner: str | None, lease_until: int | None, now: int) -> bool:
    return owner is not None and lease_until is not None and lease_until >= now
