"""Picture files by image id: only what the database registered, only inside the data folder."""

from __future__ import annotations

import logging
from pathlib import Path

from annotator.errors import BadInput, NotFound
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

    Raises NotFound for an unknown id and for a file that is gone; then the image is marked missing, and
    ready again once the file is back.
    """
    if size not in SIZES:
        raise BadInput(f"There is no size {size!r}; there is: {', '.join(SIZES)}.")
    with store.read() as c:
        image = images.get(c, image_id)
    full = _inside(store.data_dir, image.canonical)
    if full is None or not full.is_file():
        _mark(store, image, ImageState.MISSING)
        raise NotFound(
            f"The file of picture {image.name!r} (image {image.id}) is missing from the data folder."
        )
    if image.state is ImageState.MISSING:
        _mark(store, image, ImageState.READY)
    if size == "thumb":
        thumb = _inside(store.data_dir, thumbnail_path(image))
        if thumb is not None and thumb.is_file():
            return thumb, "image/jpeg"
        _log.warning("image %d has no thumbnail; its full picture is shown instead", image.id)
    return full, _TYPES.get(full.suffix, "application/octet-stream")


def _inside(data_dir: Path, relative: str) -> Path | None:
    root = data_dir.resolve()
    path = (root / relative).resolve()
    return path if path.is_relative_to(root) else None


def _mark(store: Store, image: Image, state: ImageState) -> None:
    if image.state is not state:
        store.write(lambda c: images.set_state(c, image.id, state))
