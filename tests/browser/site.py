"""A real server on a free port, and what the browser tests need to know about its database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from PIL import Image, ImageDraw
from sqlalchemy import select

from annotator.actions import Actions
from annotator.records import CellState
from annotator.settings import Settings
from annotator.store import Store, decisions
from annotator.ui.app import create_site
from db.schema import Decision

START_S = 60.0


@dataclass(frozen=True)
class Site:
    """A running site with its store."""

    url: str
    store: Store
    settings: Settings
    actions: Actions
    secret: str | None = None  # of the first sign-in

    def project(self, name: str, categories: Sequence[str], pictures: Sequence[Path]) -> int:
        """A project with these categories and pictures; its id."""
        project = self.actions.create_project(name)
        for category in categories:
            self.actions.add_category(project.id, category)
        if pictures:
            assert self.actions.import_files(project.id, pictures).added == len(pictures)
        return project.id

    def category_ids(self, project_id: int) -> dict[str, int]:
        """Ids of the active categories by name."""
        return {view.category.name: view.category.id for view in self.actions.categories(project_id)}

    def answers(self, project_id: int, image_id: int) -> dict[str, CellState]:
        """Decided cells of one picture by category name, as the database has them."""
        names = {number: name for name, number in self.category_ids(project_id).items()}
        with self.store.read() as c:
            labels = decisions.labels_of(c, [image_id]).get(image_id, {})
        return {names[category_id]: label.state for category_id, label in labels.items()}

    def log(self, project_id: int) -> list[Decision]:
        """Every stored decision of a project, oldest first."""
        table = Decision.__table__
        with self.store.read() as c:
            query = select(table).where(table.c.project_id == project_id).order_by(table.c.seq)
            return list(c.execute(query))  # type: ignore[arg-type]


@contextmanager
def running(store: Store, settings: Settings, *, port: int = 0) -> Iterator[Site]:
    """Serve `create_site(store, settings)` until the block ends; port 0 takes a free one."""
    app = create_site(store, settings)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=2, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="site", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_S
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the site did not start"
            thread.join(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        secret = app.state.first_run_secret
        yield Site(f"http://127.0.0.1:{port}", store, settings, app.state.actions, secret)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the site did not stop"


SHAPES = ("circle", "square", "stripe")


def draw_pictures(folder: Path, count: int) -> list[Path]:
    """Real JPEGs with a few shapes, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        wide = number % 3 != 2
        picture = Image.new("RGB", (480, 320) if wide else (300, 420), (90 + 12 * (number % 9), 130, 160))
        draw = ImageDraw.Draw(picture)
        at = 20 + 17 * (number % 8)
        draw.ellipse((at, at, at + 90, at + 90), fill=(220, 40 + number, 60))
        draw.rectangle((at + 110, at + 40, at + 190, at + 120), fill=(40, 90, 40 + 5 * (number % 40)))
        draw.line((0, 10 + number, picture.width, picture.height - 10), fill=(250, 220, 90), width=6)
        path = folder / f"scene_{number:03d}.jpg"
        picture.save(path, quality=90)
        paths.append(path)
    return paths
