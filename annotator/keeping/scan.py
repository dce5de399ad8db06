"""Compare picture files with what the database says of them.

A scan marks pictures missing, changed or ready. It never deletes a row, a label or a file, and when very many
files seem to be gone (an empty mount looks like that) it marks nothing until a person says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from annotator import artifacts, missing
from annotator.errors import Conflict
from annotator.importing import shelf
from annotator.records import Image, ImageState
from annotator.store import LONG_PATIENCE_S, Store, checks, images

Progress = Callable[[int, int | None, str], None]


@dataclass(kw_only=True)
class Seen:
    """What a look at the files found; lists hold pictures, in id order."""

    total: int = 0
    deep: bool = False
    no_original: list[Image] = field(default_factory=list)
    no_canonical: list[Image] = field(default_factory=list)
    no_thumbnail: list[Image] = field(default_factory=list)
    changed: list[Image] = field(default_factory=list)
    states: dict[ImageState, list[int]] = field(default_factory=dict)  # states that have to be set

    @property
    def newly_missing(self) -> int:
        """How many pictures would be marked missing that are not yet."""
        return len(self.states.get(ImageState.MISSING, ()))


def look(store: Store, *, deep: bool, on_progress: Progress) -> Seen:
    """Look for the files of every picture; `deep` also reads originals and compares their digests."""
    seen = Seen(deep=deep)
    with store.read() as c:
        total = checks.count_images(c)
    for image in every_image(store):
        seen.total += 1
        state = _state(store.data_dir, image, seen)
        if state is not image.state:
            seen.states.setdefault(state, []).append(image.id)
        on_progress(seen.total, total, image.name)
    _leave_out_removed(store, seen)
    return seen


def _leave_out_removed(store: Store, seen: Seen) -> None:
    """Files of a project that was removed for good meanwhile are no sign of a missing disk."""
    lacking = (seen.no_original, seen.no_canonical, seen.no_thumbnail, seen.changed)
    wanted = {image.id for found in lacking for image in found}.union(*seen.states.values())
    with store.read() as c:
        there = images.there(c, sorted(wanted))
    for found in lacking:
        found[:] = [image for image in found if image.id in there]
    states = {state: [key for key in ids if key in there] for state, ids in seen.states.items()}
    seen.states = {state: ids for state, ids in states.items() if ids}


def every_image(store: Store) -> Iterator[Image]:
    """All pictures of all projects in id order; no read stays open meanwhile, however long it takes."""
    page: list[Image] = []
    while True:
        with store.read() as c:
            page = checks.images_after(c, page[-1].id if page else 0)
        if not page:
            return
        yield from page


def mark(store: Store, seen: Seen, *, accept_missing: bool) -> None:
    """Set the states that were seen; Conflict, and nothing is marked, when too many seem to be missing."""
    if too_many(seen) and not accept_missing:
        said = missing.sentence(seen.newly_missing, seen.total, str(store.data_dir))
        raise Conflict(f"{said}; add --accept-missing if they are really gone.")

    def states(c: Connection) -> None:
        for state, ids in seen.states.items():
            checks.set_states(c, ids, state)

    if seen.states:
        store.write(states, patience_s=LONG_PATIENCE_S)


def too_many(seen: Seen) -> bool:
    """Whether more pictures went missing than a scan believes by itself."""
    return missing.too_many(seen.newly_missing, seen.total)


def scan(store: Store, *, deep: bool, accept_missing: bool, on_progress: Progress) -> Seen:
    """Look, then mark; see there."""
    seen = look(store, deep=deep, on_progress=on_progress)
    mark(store, seen, accept_missing=accept_missing)
    return seen


def _state(data_dir: Path, image: Image, seen: Seen) -> ImageState:
    """The state a picture should have; what the page shows and the model reads is its canonical file."""
    has_original = _there(data_dir / image.original)
    has_canonical = _there(data_dir / image.canonical)
    if not has_original:
        seen.no_original.append(image)
    if not has_canonical and image.canonical != image.original:
        seen.no_canonical.append(image)
    if not _there(data_dir / shelf.thumbnail(image.sha256)):
        seen.no_thumbnail.append(image)
    changed = has_original and _changed(data_dir / image.original, image.sha256, deep=seen.deep)
    if changed:
        seen.changed.append(image)
    if not has_canonical:
        return ImageState.MISSING
    if image.canonical == image.original and (
        changed or (image.state is ImageState.CHANGED and not seen.deep)
    ):
        return ImageState.CHANGED  # only a deep scan can take that back
    return ImageState.REFUSED if image.state is ImageState.REFUSED else ImageState.READY


def _there(path: Path) -> bool:
    return path.is_file()


def _changed(path: Path, sha256: str, *, deep: bool) -> bool:
    """Whether a file is not what was imported: empty, or in a deep scan with other bytes or unreadable."""
    try:
        return path.stat().st_size == 0 or (deep and artifacts.sha256_of(path) != sha256)
    except OSError:
        return True
