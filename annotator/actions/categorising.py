"""What a person can do with the list of categories; a part of `Actions`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from annotator.actions import deciding, merging
from annotator.actions.views import CategoryView
from annotator.records import Category, CategoryCount, Merged
from annotator.store import Store, categories, decisions, projects, users
from annotator.store.clock import now_ms


class CategoryActions:
    """Ids of categories are stable: names, order and archiving change nothing that was answered."""

    _store: Store

    def categories(self, project_id: int) -> list[CategoryView]:
        """Active categories in their order, each with its decided cells."""
        with self._store.read() as c:
            projects.get(c, project_id)
            return _viewed(categories.list_active(c, project_id), decisions.counts(c, project_id))

    def counted(self, project_id: int, found: Sequence[Category]) -> list[CategoryView]:
        """These categories of the project, archived or not, each with its decided cells."""
        with self._store.read() as c:
            return _viewed(found, decisions.counts(c, project_id, archived=True))

    def add_category(self, project_id: int, name: str) -> Category:
        """Add a category; DuplicateCategory when an active one has the name."""
        return self._store.write(lambda c: categories.add(c, project_id, name, now=now_ms()))

    def archived_categories(self, project_id: int) -> list[Category]:
        """Categories that are no longer asked; their labels are kept."""
        with self._store.read() as c:
            return categories.list_archived(c, project_id)

    def rename_category(
        self, project_id: int, category_id: int, name: str, user_id: int | None = None
    ) -> Category:
        """Change the text of a category; its id and labels stay. DuplicateCategory when the name is taken."""
        return deciding.rename(self._store, project_id, category_id, name, by=user_id)

    def archive_category(self, project_id: int, category_id: int, user_id: int | None = None) -> Category:
        """Stop asking a category; labels stay, and answers that are still on their way are kept too."""
        return deciding.archive(self._store, project_id, category_id, by=user_id)

    def restore_category(self, project_id: int, category_id: int, user_id: int | None = None) -> Category:
        """Ask an archived category again, with all its labels; DuplicateCategory when its name is taken."""
        return deciding.restore(self._store, project_id, category_id, by=user_id)

    def merge_categories(
        self, project_id: int, source_id: int, target_id: int, user_id: int | None = None
    ) -> Merged:
        """Let one category take over the answers of another, which is archived; nothing is overwritten.

        Cells of the target that are unknown get what the source says; where both are decided and differ the
        target stays and the report says so. Doing it again does nothing more. NotFound, BadInput (into
        itself) or Conflict (the target is archived), and then nothing changes.
        """
        return merging.merge(self._store, project_id, source_id, target_id, by=self._acting(user_id))

    def look_at_merge(self, project_id: int, source_id: int, target_id: int) -> Merged:
        """What `merge_categories` would do now; errors as there."""
        return merging.look(self._store, project_id, source_id, target_id)

    def reorder_categories(self, project_id: int, ids: Sequence[int]) -> list[Category]:
        """Put all active categories into this order; Conflict when they are not exactly the active ones."""
        return self._store.write(lambda c: categories.reorder(c, project_id, ids))

    def _acting(self, user_id: int | None) -> int:
        """Who acts, before the transaction of the act; only the owner may have to be made first."""
        return self._store.write(lambda c: self._who(c, None)) if user_id is None else user_id

    @staticmethod
    def _who(c: Connection, user_id: int | None) -> int:
        return users.owner(c, now=now_ms()) if user_id is None else user_id


def _viewed(found: Sequence[Category], counts: Sequence[CategoryCount]) -> list[CategoryView]:
    count_of = {count.category_id: count for count in counts}
    return [
        CategoryView(category=one, count=count_of.get(one.id, CategoryCount(category_id=one.id)))
        for one in found
    ]
