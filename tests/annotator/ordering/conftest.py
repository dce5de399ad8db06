"""A project with pictures and three categories, and the ordering of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from annotator.ordering import Grid, Ordered, Ordering
from annotator.records import Category, CellState, Image, NewDecision, Project
from annotator.settings import Settings
from annotator.store import Store, categories, decisions, now_ms, users
from annotator.suggesting import Suggester


class Desk:
    """Asks for decks and grids, and answers."""

    def __init__(self, store: Store, settings: Settings, project: Project, made: Sequence[Image]) -> None:
        self.store, self.project, self.settings = store, project, settings
        self.ids = [image.id for image in made]
        self.images = list(made)
        self.categories: list[Category] = [self.add(name) for name in ("cat", "dog", "boat")]
        self.ordering = Ordering(Suggester(store, settings), settings)
        self._ops = 0

    def add(self, name: str) -> Category:
        return self.store.write(lambda c: categories.add(c, self.project.id, name, now=now_ms()))

    def again(self, **settings: object) -> None:
        """As after a start of the server with other settings."""
        changed = self.settings.model_copy(update=settings)
        self.ordering = Ordering(Suggester(self.store, changed), changed)

    def deck(self, limit: int = 100, **how: object) -> Ordered:
        with self.store.read() as c:
            return self.ordering.deck(c, self.project.id, limit, **how)

    def grid(self, category: int = 0, limit: int = 36, **how: object) -> Grid:
        with self.store.read() as c:
            return self.ordering.grid(c, self.project.id, self.categories[category].id, limit, **how)

    def decide(self, *cells: tuple[int, int, int], **more: object) -> None:
        """Answers (place of the picture, place of the category, state)."""
        new = []
        for image, category, state in cells:
            self._ops += 1
            new.append(
                NewDecision(
                    op_id=f"operation-{self._ops:06d}",
                    image_id=self.ids[image],
                    category_id=self.categories[category].id,
                    state=CellState(state),
                    **more,
                )
            )

        def work(c: object) -> None:
            who = users.owner(c, now=now_ms())
            decisions.record(c, self.project.id, new, user_id=who, now=now_ms())

        self.store.write(work)

    def places(self, ordered: Ordered) -> list[int]:
        """The pictures of a deck by their place in the import."""
        return [self.ids.index(image_id) for image_id in ordered.ids]


@pytest.fixture
def make_desk(
    store: Store, settings: Settings, project: Project, add_images: Callable[..., list[Image]]
) -> Callable[[int], Desk]:
    return lambda count: Desk(store, settings, project, add_images(project, count))


@pytest.fixture
def desk(make_desk: Callable[[int], Desk]) -> Desk:
    """Sixteen pictures: too few for a blind question in one deck."""
    return make_desk(16)
