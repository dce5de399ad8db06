"""Picture files by image id: only what the database registered, only inside the data folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from annotator.actions import Actions
from annotator.actions.pictures import thumbnail_path
from annotator.errors import BadInput, DiskFull, Gone, NotFound
from annotator.records import Image, ImageState, NewImage, Project
from annotator.settings import Settings
from annotator.store import Store, images, now_ms


@pytest.fixture
def actions(store: Store, settings: Settings) -> Actions:
    return Actions(store, settings)


@pytest.fixture
def stored(store: Store, project: Project, make_picture: Callable[..., Path]) -> Image:
    sha = "ab" * 32
    new = NewImage(
        sha256=sha,
        name="beach.png",
        media_type="image/png",
        width=40,
        height=30,
        original=f"originals/ab/{sha}.png",
        canonical=f"originals/ab/{sha}.png",
    )
    image, _ = store.write(lambda c: images.add(c, project.id, new, now=now_ms()))
    make_picture(store.data_dir / image.canonical)
    make_picture(store.data_dir / thumbnail_path(image), size=(8, 6))
    return image


def test_full_and_thumb_are_the_registered_files(store: Store, actions: Actions, stored: Image) -> None:
    path, media_type = actions.image_file(stored.id, "full")
    assert (path, media_type) == ((store.data_dir / stored.canonical).resolve(), "image/png")
    path, media_type = actions.image_file(stored.id, "thumb")
    assert (path.parent.parent.name, media_type) == ("thumbnails", "image/jpeg")


def test_a_file_that_is_gone_marks_the_image_missing_until_it_is_back(
    store: Store, actions: Actions, stored: Image, make_picture: Callable[..., Path]
) -> None:
    (store.data_dir / stored.canonical).unlink()
    for size in ("full", "thumb"):
        with pytest.raises(NotFound, match=r"'beach.png' \(image \d+\) is missing"):
            actions.image_file(stored.id, size)
    with store.read() as c:
        assert images.get(c, stored.id).state is ImageState.MISSING
    make_picture(store.data_dir / stored.canonical)
    actions.image_file(stored.id, "full")
    with store.read() as c:
        assert images.get(c, stored.id).state is ImageState.READY


def test_a_file_that_has_changed_is_not_shown_as_the_picture_it_was(
    store: Store, actions: Actions, stored: Image
) -> None:
    store.write(lambda c: images.set_state(c, stored.id, ImageState.CHANGED))
    for size in ("full", "thumb"):
        with pytest.raises(Gone, match=r"'beach.png' \(image \d+\) has changed since it was imported"):
            actions.image_file(stored.id, size)
    with store.read() as c:
        assert images.get(c, stored.id).state is ImageState.CHANGED


def test_a_file_that_cannot_be_opened_counts_as_missing(
    store: Store, actions: Actions, stored: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotator.actions.pictures.os.access", lambda _path, _mode: False)
    with pytest.raises(Gone, match="is missing"):
        actions.image_file(stored.id, "full")


def test_a_missing_file_is_told_also_while_nothing_can_be_written(
    store: Store, actions: Actions, stored: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: object) -> None:
        raise DiskFull("The disk is full.")

    (store.data_dir / stored.canonical).unlink()
    monkeypatch.setattr(store, "write", full)
    with pytest.raises(Gone, match="is missing"):
        actions.image_file(stored.id, "full")


def test_without_a_thumbnail_the_picture_itself_is_shown_and_it_is_logged(
    store: Store, actions: Actions, stored: Image, caplog: pytest.LogCaptureFixture
) -> None:
    (store.data_dir / thumbnail_path(stored)).unlink()
    assert actions.image_file(stored.id, "thumb")[1] == "image/png"
    assert "no thumbnail" in caplog.text


@pytest.mark.parametrize("planted", ["../outside.png", "/etc/passwd", "originals/../../outside.png"])
def test_a_registered_path_outside_the_data_folder_is_never_opened(
    store: Store,
    actions: Actions,
    project: Project,
    planted: str,
    make_picture: Callable[..., Path],
) -> None:
    make_picture(store.data_dir.parent / "outside.png")
    new = NewImage(
        sha256="cd" * 32,
        name="x.png",
        media_type="image/png",
        width=1,
        height=1,
        original=planted,
        canonical=planted,
    )
    image, _ = store.write(lambda c: images.add(c, project.id, new, now=now_ms()))
    with pytest.raises(NotFound):
        actions.image_file(image.id, "full")


def test_a_link_out_of_the_data_folder_is_not_followed(
    store: Store, actions: Actions, stored: Image, make_picture: Callable[..., Path]
) -> None:
    outside = make_picture(store.data_dir.parent / "outside.png")
    (store.data_dir / stored.canonical).unlink()
    (store.data_dir / stored.canonical).symlink_to(outside)
    with pytest.raises(NotFound):
        actions.image_file(stored.id, "full")


def test_an_unknown_size_or_id_is_named(actions: Actions, stored: Image) -> None:
    with pytest.raises(BadInput, match="'huge'"):
        actions.image_file(stored.id, "huge")
    with pytest.raises(NotFound, match="12345"):
        actions.image_file(12345, "full")
