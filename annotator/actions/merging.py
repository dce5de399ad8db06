"""Merging a category into another one, first as a look at what it would do."""

from __future__ import annotations

from sqlalchemy import Connection

from annotator.records import Merged
from annotator.store import LONG_PATIENCE_S, Store, deeds, merging
from annotator.store.clock import now_ms

DEED = "merge_categories"


def look(store: Store, project_id: int, source_id: int, target_id: int) -> Merged:
    """What a merge would do now; nothing is written."""
    with store.read() as c:
        return merging.look(c, project_id, source_id, target_id)


def merge(store: Store, project_id: int, source_id: int, target_id: int, *, by: int) -> Merged:
    """Merge in one transaction; the deed says what into what, with the counts."""

    def work(c: Connection) -> Merged:
        done = merging.merge(c, project_id, source_id, target_id, user_id=by, now=now_ms())
        if not done.nothing:
            deeds.add(
                c,
                DEED,
                user_id=by,
                now=now_ms(),
                project_id=project_id,
                category_id=done.source.id,
                name=done.source.name,
                into=done.target.id,
                into_name=done.target.name,
                taken=done.taken,
                same=done.same,
                differ=done.differ,
                cleared=done.cleared,
            )
        return done

    return store.write(work, patience_s=LONG_PATIENCE_S)


def sentence(found: Merged) -> str:
    """What a merge would do or has done, for a person."""
    source, target = f'"{found.source.name}"', f'"{found.target.name}"'
    if found.nothing:
        said = f"{source} is merged into {target} already; there is nothing more to take over."
    elif found.done:
        said = f"{source} is merged into {target} and archived: {_answers(found.taken)} taken over."
    else:
        said = f"{_answers(found.taken)} of {source} would be taken over by {target}."
    if found.differ:
        said += f" In {_pictures(found.differ)} the two disagree, and {target} stays as it is."
    if found.cleared:
        said += f" {_answers(found.cleared)} taken over before and cleared since stay cleared."
    return said


def _answers(count: int) -> str:
    return f"{count:,} answer{'' if count == 1 else 's'}"


def _pictures(count: int) -> str:
    return f"{count:,} picture{'' if count == 1 else 's'}"
