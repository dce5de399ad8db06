"""A data folder with real pictures, answers and a current generation, and what it held."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotator.actions import Actions
from annotator.records import CellState, NewDecision, Project
from annotator.settings import Settings
from annotator.store import Store, images
from db.copying import reading
from tests.annotator.generation_builder import build
from tests.conftest import picture

NAMES = ("a.jpg", "b.png", "c.jpg", "d.jpg", "deep.tif")


@dataclass
class World:
    """Two projects in an open store; the second shares a picture with the first."""

    settings: Settings
    store: Store
    actions: Actions
    project: Project
    ids: list[int]
    categories: list[int]
    generation: Path

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir

    def answer(self, op: str, image: int, category: int, state: CellState = CellState.POSITIVE) -> None:
        """One answer, acknowledged when this returns."""
        decision = NewDecision(op_id=op, image_id=image, category_id=category, state=state)
        self.actions.decide(self.project.id, [decision])


def make_world(settings: Settings, store: Store, folder: Path) -> World:
    """Pictures of several sorts, one of which needs an 8-bit picture; seven answers; a generation."""
    for seed, name in enumerate(NAMES):
        picture(folder / name, seed=seed)
    actions = Actions(store, settings)
    project = actions.create_project("birds")
    actions.import_folder(project.id, folder)
    other = actions.create_project("other")
    (folder / "only").mkdir()
    (folder / "only" / "a.jpg").write_bytes((folder / "a.jpg").read_bytes())
    actions.import_folder(other.id, folder / "only")
    with store.read() as c:
        ids = images.ids(c, project.id)
    categories = [actions.add_category(project.id, name).id for name in ("duck", "gull")]
    world = World(settings, store, actions, project, ids, categories, settings.data_dir)
    for place, image in enumerate(ids[:4]):
        world.answer(
            f"world-{place}", image, categories[0], CellState.POSITIVE if place % 2 else CellState.NEGATIVE
        )
        world.answer(
            f"again-{place}", image, categories[1], CellState.UNSURE if place == 3 else CellState.POSITIVE
        )
    world.answer("cleared", ids[0], categories[1], CellState.UNKNOWN)
    world.generation = build(store, project).folder
    return world


def content(data_dir: Path) -> dict[str, Any]:
    """Everything that a backup must bring back: rows of every lasting table, and digests of files."""
    with reading(data_dir / "annotator.db") as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
            )
            if name not in ("session", "worker_beat")
        ]
        rows = {
            name: sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)
            for name in tables
        }
    return {"rows": rows, "files": files(data_dir)}


def files(
    folder: Path, *, roots: tuple[str, ...] = ("originals", "canonical", "thumbnails", "projects")
) -> dict[str, str]:
    """Digest of every file below some folders."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for root in roots
        for path in sorted((folder / root).rglob("*"))
        if path.is_file()
    }
