"""A world to keep, made once and copied for each test, and backups of it in every form."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from annotator.actions import Actions
from annotator.keeping.backup import back_up
from annotator.settings import Settings
from annotator.store import Store
from tests.annotator.keeping.world import World, make_world

FORMS = ("folder", "file.tar")


@pytest.fixture(scope="session")
def made_world(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two projects with pictures, answers and a generation; its store is closed."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "data").mkdir(mode=0o700)
    settings = Settings(data_dir=folder / "data", backbone="tiny", threads=1)
    shutil.copyfile(migrated, settings.database)
    settings.database.chmod(0o600)
    store = Store.open(settings)
    world = make_world(settings, store, folder / "pictures")
    store.close()
    return world


@pytest.fixture
def world(made_world: World, settings: Settings) -> Iterator[World]:
    """A copy of that world in an open store."""
    shutil.copytree(made_world.data_dir, settings.data_dir)
    store = Store.open(settings)
    generation = settings.data_dir / made_world.generation.relative_to(made_world.data_dir)
    yield World(
        settings,
        store,
        Actions(store, settings),
        made_world.project,
        made_world.ids,
        made_world.categories,
        generation,
    )
    store.close()


@pytest.fixture(params=FORMS)
def backup(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Path:
    """A backup of the world, as a folder and as a file."""
    return back_up(world.data_dir, tmp_path / str(request.param)).target


@pytest.fixture
def stop(world: World) -> Callable[[], None]:
    """Close the world's store, as a server that ends does."""
    return world.store.close
