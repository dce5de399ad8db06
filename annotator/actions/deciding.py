"""Answers and their history, and the categories they are about."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from annotator.errors import OtherPerson
from annotator.records import Category, NewDecision, PastDecision, StoredDecision
from annotator.store import Store, categories, decisions, deeds, history, projects, users
from annotator.store.clock import now_ms

HISTORY_LIMIT = 500  # lines of a history at once


def decide(
    c: Connection, project_id: int, new: Sequence[NewDecision], *, user_id: int, given_by: int | None = None
) -> tuple[list[StoredDecision], int]:
    """Store answers, all or none; see `Actions.decide`."""
    if given_by is not None and given_by != user_id:
        raise OtherPerson(
            "These answers were given by another person on this computer; they wait until they sign in."
        )
    projects.get(c, project_id)
    stored = decisions.record(c, project_id, new, user_id=user_id, now=now_ms())
    new_seq = max((one.seq for one in stored if one.stored), default=None)
    return stored, decisions.head_seq(c, project_id) if new_seq is None else new_seq


def past(
    store: Store, image_id: int, *, category_id: int | None, before: int | None, limit: int
) -> list[PastDecision]:
    """Who decided what about one picture, newest first."""
    with store.read() as c:
        return history.of_image(
            c, image_id, category_id=category_id, before=before, limit=min(limit, HISTORY_LIMIT)
        )


def rename(store: Store, project_id: int, category_id: int, name: str, *, by: int | None) -> Category:
    """Another name for the same category; the deed keeps the old one."""

    def work(c: Connection) -> Category:
        before = categories.of_project(c, project_id, category_id)
        after = categories.rename(c, category_id, name)
        if after.name != before.name:
            _note(c, "rename_category", after, by, before=before.name)
        return after

    return store.write(work)


def archive(store: Store, project_id: int, category_id: int, *, by: int | None) -> Category:
    """Stop asking a category."""

    def work(c: Connection) -> Category:
        before = categories.of_project(c, project_id, category_id)
        if before.archived_at is None:
            _note(c, "archive_category", before, by)
        return categories.archive(c, category_id, now=now_ms())

    return store.write(work)


def restore(store: Store, project_id: int, category_id: int, *, by: int | None) -> Category:
    """Ask an archived category again."""

    def work(c: Connection) -> Category:
        before = categories.of_project(c, project_id, category_id)
        if before.archived_at is not None:
            _note(c, "restore_category", before, by)
        return categories.restore(c, category_id)

    return store.write(work)


def _note(c: Connection, action: str, category: Category, by: int | None, **detail: str) -> None:
    deeds.add(
        c,
        action,
        user_id=by if by is not None else users.owner(c, now=now_ms()),
        now=now_ms(),
        project_id=category.project_id,
        category_id=category.id,
        name=category.name,
        **detail,
    )
