"""Fixtures shared by all tests: a fresh data folder, a migrated store, a project, real pictures."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image as Pillow

from annotator.records import Image, NewImage, Project
from annotator.settings import Settings
from annotator.store import Store, images, projects
from db.migrate import upgrade
from tests import ends
from tests.faults.claims import Plugin, claim

__all__ = ["claim"]

NOW = 1_790_000_000_000


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Plugin(), "claims")
    config.pluginmanager.register(ends, "ends")
    hypothesis.settings.register_profile("house", deadline=None)  # a busy machine is no defect
    hypothesis.settings.load_profile("house")


# A real browser, killed processes and full disks depend on the moment: one more try, shown as R,
# before such a test is called broken. Every other test has to pass at once.
AGAIN = ("tests/browser/", "tests/faults/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(AGAIN):
            item.add_marker(pytest.mark.flaky(reruns=1))
        else:  # a failure is one, but the test that was running when a whole process ended is tried again
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=["the process ended"]))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database at the newest schema, made once; tests copy it."""
    path = tmp_path_factory.mktemp("template") / "annotator.db"
    upgrade(path)
    return path


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a fresh data folder, untouched by the machine's own variables or files."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ANNOTATOR_{name.upper()}", raising=False)
    return Settings(data_dir=tmp_path / "data", backbone="tiny", threads=1)


@pytest.fixture(autouse=True)
def priority_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb or a worker that is called in this process must not slow down whatever is tested after it."""
    monkeypatch.setattr("annotator.processes.stand_back", lambda: None)


@pytest.fixture
def open_store(migrated: Path) -> Iterator[Callable[[Settings], Store]]:
    """Opens stores on fresh copies of the migrated database and closes them at the end."""
    opened: list[Store] = []

    def opener(settings: Settings) -> Store:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        if not settings.database.exists():
            shutil.copyfile(migrated, settings.database)
        opened.append(Store.open(settings))
        return opened[-1]

    yield opener
    for store in opened:
        store.close()


@pytest.fixture
def store(settings: Settings, open_store: Callable[[Settings], Store]) -> Store:
    """A store on an empty, migrated database."""
    return open_store(settings)


@pytest.fixture
def project(store: Store) -> Project:
    """A project without images or categories."""
    return store.write(lambda c: projects.create(c, "holiday", now=NOW))


@pytest.fixture
def user_id(store: Store) -> int:
    """The owner."""
    from annotator.store import users

    return store.write(lambda c: users.owner(c, now=NOW))


@pytest.fixture
def make_picture() -> Callable[..., Path]:
    """Writes a real picture; see `picture`."""
    return picture


@pytest.fixture
def add_images(store: Store) -> Callable[..., list[Image]]:
    """Adds rows of pictures that are not on disk, for tests that never open them."""

    def adder(project: Project, count: int, prefix: str = "p", start: int = 0) -> list[Image]:
        def work(c: Any) -> list[Image]:
            return [
                images.add(c, project.id, new_image(f"{prefix}{number}.jpg"), now=NOW)[0]
                for number in range(start, start + count)
            ]

        return store.write(work)

    return adder


def new_image(name: str, sha256: str | None = None) -> NewImage:
    """A row to add; its digest follows from the name when none is given."""
    sha = sha256 or name.encode().hex().ljust(64, "0")[-64:]
    path = f"originals/{sha[:2]}/{sha}.jpg"
    return NewImage(
        sha256=sha, name=name, media_type="image/jpeg", width=40, height=30, original=path, canonical=path
    )


def picture(
    path: Path, *, size: tuple[int, int] = (40, 30), seed: int = 0, mode: str = "RGB", **save: Any
) -> Path:
    """Write a picture of smooth noise to `path`; the suffix chooses the format, `seed` the content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture_bytes(path.suffix, size=size, seed=seed, mode=mode, **save))
    return path


def picture_bytes(
    suffix: str = ".jpg", *, size: tuple[int, int] = (40, 30), seed: int = 0, mode: str = "RGB", **save: Any
) -> bytes:
    """The bytes of such a picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Pillow.fromarray(coarse).resize(size, Pillow.Resampling.BICUBIC).convert(mode)
    target = io.BytesIO()
    image.save(target, format=Pillow.registered_extensions()[suffix.lower()], **save)
    return target.getvalue()
