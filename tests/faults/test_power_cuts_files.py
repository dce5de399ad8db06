"""R-02, R-04 and the power: files that were said to be stored are there, and whole, after it failed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from annotator import artifacts
from annotator.artifacts import ArtifactWriter
from annotator.errors import ArtifactDamaged
from annotator.exporting import export_csv, output
from annotator.importing import import_folder, shelf
from annotator.settings import Settings
from annotator.store import Store, images
from tests.conftest import picture
from tests.faults.claims import Claims, size
from tests.faults.disks import make_disk, mounted, needs_disks
from tests.faults.saving import make_world

PICTURES = 3
GENERATION = Path("projects/7/generations/000001")


@pytest.fixture
def room(memory_path: Path) -> Path:
    """A folder for disk images and mount points."""
    needs_disks()
    return memory_path


@pytest.fixture
def prepared(room: Path) -> Path:
    """A disk with a project, unmounted in order."""
    image = make_disk(room / "prepared.img")
    with mounted(image, room / "live") as folder:
        make_world(folder / "data", pictures=1)
    return image


def publish(store: Store, data: Path, _: Path) -> None:
    with ArtifactWriter(data / GENERATION) as writer:
        (writer.folder / "index").mkdir()
        (writer.folder / "logits.npy").write_bytes(b"l" * 50_000)
        (writer.folder / "index" / "1.faiss").write_bytes(b"i" * 9_000)


def is_published(_: Store, data: Path) -> bool:
    try:
        found = artifacts.verify(data / GENERATION)
    except ArtifactDamaged:
        return False
    return set(found["files"]) == {"logits.npy", "index/1.faiss"}


def take_in(store: Store, data: Path, pictures: Path) -> None:
    settings = Settings(data_dir=data, disk_low_bytes=0, disk_low_percent=0)
    assert import_folder(store, 1, pictures, settings=settings).added == PICTURES


def is_taken_in(store: Store, data: Path) -> bool:
    with store.read() as c:
        found = [image for image in images.page(c, 1) if image.name.startswith("new")]
    whole = [
        (data / image.original).is_file()
        and hashlib.sha256((data / image.original).read_bytes()).hexdigest() == image.sha256
        and (data / shelf.thumbnail(image.sha256)).is_file()
        and (data / image.canonical).stat().st_size > 0
        for image in found
    ]
    return len(found) == PICTURES and all(whole)


def write_out(store: Store, data: Path, _: Path) -> None:
    export_csv(store, 1, data / "exports" / "a.csv")


def is_written_out(_: Store, data: Path) -> bool:
    path = data / "exports" / "a.csv"
    return path.is_file() and path.read_text(encoding="utf-8").startswith("file_name")


DEEDS = {
    "generation": (publish, is_published),
    "pictures": (take_in, is_taken_in),
    "export": (write_out, is_written_out),
}


def is_left(room: Path, prepared: Path, deed: str) -> bool:
    """Do it, cut the power as soon as it is said to be done, and look."""
    do, check = DEEDS[deed]
    shutil.copyfile(prepared, room / "disk.img")
    with mounted(room / "disk.img", room / "live") as folder, opened(folder / "data") as store:
        do(store, store.data_dir, room / "new")
        shutil.copyfile(room / "disk.img", room / "cut.img")
    with mounted(room / "cut.img", room / "after") as folder, opened(folder / "data") as store:
        return check(store, store.data_dir)


@contextmanager
def opened(data: Path) -> Iterator[Store]:
    store = Store.open(Settings(data_dir=data))
    try:
        yield store
    finally:
        store.close()


@pytest.mark.parametrize("deed", DEEDS)
def test_what_was_said_to_be_stored_is_there_when_the_power_fails(
    room: Path, prepared: Path, deed: str, claim: Claims
) -> None:
    shown = claim("R-02", f"{deed}: whole after a power cut at the moment it is done.", unit="power cuts")
    for number in range(PICTURES):
        picture(room / "new" / f"new{number}.jpg", seed=number)
    for cut in range(size(2, 30)):
        assert is_left(room, prepared, deed), f"cut {cut}"
    shown.done(size(2, 30), deed=deed)


@pytest.mark.parametrize("deed", ["generation", "export"])
def test_the_same_cut_shows_what_a_folder_that_is_not_synced_would_lose(
    room: Path, prepared: Path, deed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this the test above could be green because its cut cuts nothing."""
    for module in (artifacts, output):
        monkeypatch.setattr(module, "sync_folder", lambda path: None)
    assert not all(is_left(room, prepared, deed) for _ in range(5))
