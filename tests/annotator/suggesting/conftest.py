"""A project with pictures, categories and answers, small enough to reason about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from annotator.records import Category, Image, Project, SuggestionList
from annotator.settings import Settings
from annotator.store import Store, categories, now_ms
from annotator.suggesting import Suggester


@dataclass
class World:
    """Everything a test of suggestions needs."""

    store: Store
    settings: Settings
    project: Project
    images: list[Image]
    categories: list[Category]
    suggester: Suggester

    @property
    def ids(self) -> list[int]:
        return [image.id for image in self.images]

    def ask(self, image: int, limit: int = 12) -> SuggestionList:
        with self.store.read() as c:
            return self.suggester.for_image(c, self.project.id, self.ids[image], limit)

    def cell(self, image: int, category: int, state: int) -> tuple[int, int, int]:
        return self.ids[image], self.categories[category].id, state

    def place(self, category_id: int) -> int:
        return [category.id for category in self.categories].index(category_id)

    def probabilities(self, image: int) -> dict[int, float]:
        return {self.place(one.category_id): one.probability for one in self.ask(image).suggestions}


@pytest.fixture
def world(
    store: Store, settings: Settings, project: Project, add_images: Callable[..., list[Image]]
) -> World:
    """Twenty pictures, four categories, nothing decided."""
    images = add_images(project, 20)
    made = [
        store.write(lambda c, name=name: categories.add(c, project.id, name, now=now_ms()))
        for name in ("cat", "dog", "boat", "tree")
    ]
    return World(store, settings, project, images, made, Suggester(store, settings))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
