"""A small project of drawn pictures whose truth is known, for the worker's tests."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from annotator.actions import Actions
from annotator.records import CellState, NewDecision, Project
from annotator.settings import Settings
from annotator.store import Store, categories, decisions, images, users
from annotator.store.clock import now_ms

CATEGORIES = ("red ball", "blue box", "green bar")


@dataclass(frozen=True)
class Scenes:
    """A project with pictures; `truth[name]` holds the categories that are drawn."""

    store: Store
    settings: Settings
    project: Project
    truth: dict[str, set[str]]

    def category_ids(self) -> dict[str, int]:
        with self.store.read() as c:
            return {one.name: one.id for one in categories.list_active(c, self.project.id)}

    def answer(self, names: list[str], chosen: tuple[str, ...] = CATEGORIES) -> int:
        """Answer truthfully for these pictures and categories; returns how many cells."""
        with self.store.read() as c:
            ids = images.name_map(c, self.project.id)
        columns = self.category_ids()
        batch = [
            NewDecision(
                op_id=f"test-{name}-{category}",
                image_id=ids[name],
                category_id=columns[category],
                state=CellState.POSITIVE if category in self.truth[name] else CellState.NEGATIVE,
            )
            for name in names
            for category in chosen
        ]
        self.decide(batch)
        return len(batch)

    def decide(self, batch: list[NewDecision]) -> None:
        self.store.write(
            lambda c: decisions.record(
                c, self.project.id, batch, user_id=users.owner(c, now=now_ms()), now=now_ms()
            )
        )


def draw(path: Path, things: set[str], rng: random.Random) -> None:
    picture = Image.new("RGB", (96, 96), tuple(rng.randrange(150, 220) for _ in range(3)))
    pen = ImageDraw.Draw(picture)
    for thing in sorted(things):
        x, y = rng.randrange(4, 60), rng.randrange(4, 60)
        if thing == "red ball":
            pen.ellipse((x, y, x + 30, y + 30), fill=(220, 20, 20))
        elif thing == "blue box":
            pen.rectangle((x, y, x + 26, y + 26), fill=(20, 20, 210))
        else:
            pen.rectangle((0, y, 95, y + 12), fill=(20, 160, 20))
    picture.save(path, quality=92)


@pytest.fixture
def scenes(store: Store, settings: Settings, tmp_path: Path) -> Scenes:
    rng = random.Random(7)
    folder = tmp_path / "pictures"
    folder.mkdir()
    truth = {}
    for number in range(40):
        name = f"{number:03d}.jpg"
        truth[name] = {thing for thing in CATEGORIES if rng.random() < 0.5}
        draw(folder / name, truth[name], rng)
    actions = Actions(store, settings)
    project = actions.create_project("scenes")
    actions.import_folder(project.id, folder, lambda *_: None)
    for name in CATEGORIES:
        actions.add_category(project.id, name)
    return Scenes(store, settings, project, truth)
