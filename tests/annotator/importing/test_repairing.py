"""R-28, R-29: importing the same files again puts back what was lost from the data folder or has changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as Pillow

from annotator.importing import import_folder, shelf
from annotator.keeping.scan import scan
from annotator.records import ImageState, Project
from annotator.settings import Settings
from annotator.store import Store, images


def turned(folder: Path) -> Path:
    """A folder with one picture that is not used as it is, and one that is."""
    folder.mkdir(parents=True)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.new("RGB", (40, 30), "red").save(folder / "turned.jpg", exif=exif)
    Pillow.new("RGB", (40, 30), "blue").save(folder / "plain.png")
    return folder


@pytest.mark.parametrize(
    ("fault", "scanned"),
    [
        *[(fault, True) for fault in ("original", "canonical", "thumbnail", "rotten", "longer")],
        *[(fault, False) for fault in ("original", "canonical", "thumbnail", "longer")],
    ],
)
def test_an_import_of_the_same_files_repairs_what_was_lost_or_has_changed(
    tmp_path: Path, store: Store, project: Project, settings: Settings, fault: str, scanned: bool
) -> None:
    """Who still has the pictures need not look for a backup."""
    folder = turned(tmp_path / "in")
    assert import_folder(store, project.id, folder, settings=settings).added == 2
    with store.read() as c:
        plain, other = sorted(images.page(c, project.id), key=lambda image: image.name)
    image = other if fault == "canonical" else plain
    thumbnail = store.data_dir / shelf.thumbnail(image.sha256)
    file = {"canonical": store.data_dir / image.canonical, "thumbnail": thumbnail}.get(
        fault, store.data_dir / image.original
    )
    before = file.read_bytes()
    if fault in ("rotten", "longer"):
        file.write_bytes(before[:-1] + (b"?" if fault == "rotten" else b"longer"))
    else:
        file.unlink()
    if scanned:
        scan(store, deep=True, accept_missing=True, on_progress=lambda *_: None)
    report = import_folder(store, project.id, folder, settings=settings)
    assert file.read_bytes() == before
    assert (report.added, report.duplicates, report.refused) == (0, 2, ())
    with store.read() as c:
        assert {image.state for image in images.page(c, project.id)} == {ImageState.READY}
