"""Picture files by image id: only what the database registered, only inside the data folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from annotator.errors import BadInput, Gone, StoreError
from annotator.records import Image, ImageState
from annotator.store import Store, images

_log = logging.getLogger(__name__)

# By the name we gave the file ourselves; a client's word about its type is never used.
_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
SIZES = ("thumb", "full")


def thumbnail_path(image: Image) -> str:
    """Path of the thumbnail relative to the data folder."""
    return f"thumbnails/{image.sha256[:2]}/{image.sha256}.jpg"


def picture_file(store: Store, image_id: int, size: str) -> tuple[Path, str]:
    """Path and media type of a picture.

    Raises NotFound for an unknown id and Gone for a file that is missing or has changed since its import: it
    would be another picture that people answer for. A missing one is marked so, and ready again once the file
    is back; whether a changed one is back only a scan can tell.
    """
    if size not in SIZES:
        raise BadInput(f"There is no size {size!r}; there is: {', '.join(SIZES)}.")
    with store.read() as c:
        image = images.get(c, image_id)
    full = _inside(store.data_dir, image.canonical)
    if full is None or not _readable(full):
        _mark(store, image, ImageState.MISSING)
        raise Gone(f"The file of picture {image.name!r} (image {image.id}) is missing from the data folder.")
    if image.state is ImageState.CHANGED:
        raise Gone(
            f"The file of picture {image.name!r} (image {image.id}) has changed since it was imported; "
            "its labels are kept, and `annotator scan --deep` takes it back once the file is the old one."
        )
    if image.state is ImageState.MISSING:
        _mark(store, image, ImageState.READY)
    if size == "thumb":
        thumb = _inside(store.data_dir, thumbnail_path(image))
        if thumb is not None and _readable(thumb):
            return thumb, "image/jpeg"
        _log.warning("image %d has no thumbnail; its full picture is shown instead", image.id)
    return full, _TYPES.get(full.suffix, "application/octet-stream")


def _inside(data_dir: Path, relative: str) -> Path | None:
    root = data_dir.resolve()
    path = (root / relative).resolve()
    return path if path.is_relative_to(root) else None


def _readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def _mark(store: Store, image: Image, state: ImageState) -> None:
    """Note a state in passing: a store that cannot write now must not stop anybody from looking."""
    if image.state is state:
        return
    try:
        store.write(lambda c: images.set_state(c, image.id, state))
    except StoreError as error:
        _log.warning("image %d could not be marked %s (%s)", image.id, state.value, error)
