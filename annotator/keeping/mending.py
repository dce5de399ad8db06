"""Making again what can be made again: 8-bit pictures and thumbnails from originals."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from annotator.artifacts import write_atomic
from annotator.decoding.pool import shared
from annotator.errors import BadFile, is_full, no_room
from annotator.importing import shelf
from annotator.keeping.scan import Progress
from annotator.records import Image


def remake(data_dir: Path, pictures: Sequence[Image], max_pixels: int, on_progress: Progress) -> int:
    """Make missing canonical files and thumbnails of `pictures` from their originals; how many could be made.

    A picture whose original is gone, changed or unreadable is left as it is. DiskFull when there is no room.
    """
    made = 0
    for number, image in enumerate(pictures, 1):
        made += _remake(data_dir, image, max_pixels)
        on_progress(number, len(pictures), image.name)
    return made


def _remake(data_dir: Path, image: Image, max_pixels: int) -> bool:
    try:
        data = (data_dir / image.original).read_bytes()
    except OSError:
        return False
    if hashlib.sha256(data).hexdigest() != image.sha256:
        return False
    try:
        normal = shared().decode(data, image.name, max_pixels)
    except BadFile:
        return False
    _put(data_dir / shelf.thumbnail(image.sha256), normal.thumbnail)
    fits = Path(image.canonical).suffix == f".{normal.canonical_ext}"
    if image.canonical != image.original and normal.canonical is not None and fits:
        _put(data_dir / image.canonical, normal.canonical)
    return (data_dir / image.canonical).is_file()


def _put(path: Path, data: bytes) -> None:
    if path.is_file() and path.stat().st_size:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError as error:
        if is_full(error):
            raise no_room(f"The picture {path.name} could not be made again") from error
        raise
