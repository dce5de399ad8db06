"""Take pictures in: check, normalise, keep the files, then their rows.

Files are named by content and are complete before their row is written, so an import that was killed is
finished by running it again, which neither loses nor doubles anything.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from annotator.decoding.pixels import Normalised
from annotator.decoding.pool import Decoders, shared
from annotator.errors import BadFile, BadInput, TypeNotAccepted
from annotator.health import need_room
from annotator.importing import folder, shelf, upload, zipfile
from annotator.importing.items import Found, Item
from annotator.importing.shelf import Shelf, Staged
from annotator.records import ImageState, ImportReport, NewImage, RefusedFile
from annotator.settings import Settings
from annotator.store import LONG_PATIENCE_S, Store, images, now_ms, projects
from annotator.store.images import Kept

Progress = Callable[[int, int | None, str], None]
BATCH = 64
BATCH_SECONDS = 1.0
NOTES = 20  # notes of one sort that are spelled out


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """A checked picture whose files are staged; `new` is None when its bytes were known before."""

    name: str
    sha256: str
    new: NewImage | None = None
    staged: Sequence[Staged] = ()
    note: str = ""


@dataclass
class _Tally:
    """Counts of a running import."""

    added: int = 0
    duplicates: int = 0
    refused: list[RefusedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)
    first_only: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)

    def report(self) -> ImportReport:
        sorts = (self.twins, self.renamed, self.first_only)
        notes = [*self.notes, *(note for sort in sorts for note in _shortened(sort))]
        return ImportReport(
            added=self.added, duplicates=self.duplicates, refused=tuple(self.refused), notes=tuple(notes)
        )


def no_progress(done: int, total: int | None, name: str) -> None:
    """Progress that nobody watches."""


def import_folder(
    store: Store, project_id: int, path: Path, *, settings: Settings, on_progress: Progress = no_progress
) -> ImportReport:
    """Import every picture below a folder; BadInput when there is none in it."""
    return _import_found(
        store, project_id, folder.find(path, skip=store.data_dir), settings=settings, on_progress=on_progress
    )


def import_zip(
    store: Store, project_id: int, path: Path, *, settings: Settings, on_progress: Progress = no_progress
) -> ImportReport:
    """Import every picture of a ZIP archive; BadFile when it is not a sane archive."""
    with zipfile.opened(path, settings) as found:
        return _import_found(store, project_id, found, settings=settings, on_progress=on_progress)


def import_files(
    store: Store,
    project_id: int,
    files: Sequence[tuple[str, Path]],
    *,
    settings: Settings,
    on_progress: Progress = no_progress,
) -> ImportReport:
    """Import uploaded pictures, given as (name in the browser, file here)."""
    return _import_found(store, project_id, upload.find(files), settings=settings, on_progress=on_progress)


def import_images(
    store: Store,
    project_id: int,
    items: Iterable[Item],
    *,
    settings: Settings,
    on_progress: Progress = no_progress,
    total: int | None = None,
) -> ImportReport:
    """Import pictures in the order of `items`; one that cannot be used is refused by name, the rest go on."""
    tally = _Tally()
    with store.read() as c:
        projects.get(c, project_id)
        known = images.shas(c, project_id)
    done = 0
    with Shelf(store.data_dir) as place:
        for batch in _batches(_checked(items, place, known, settings.max_pixels)):
            _keep(
                store,
                project_id,
                [taken for taken in batch if isinstance(taken, _Taken)],
                place,
                known,
                tally,
            )
            need_room(settings, "The import has stopped, what was taken in before stays,")
            for outcome in batch:
                if isinstance(outcome, RefusedFile):
                    tally.refused.append(outcome)
                done += 1
                on_progress(done, total, outcome.name)
    return tally.report()


def _import_found(
    store: Store, project_id: int, found: Found, *, settings: Settings, on_progress: Progress
) -> ImportReport:
    with store.read() as c:
        projects.get(c, project_id)
    report = ImportReport()
    if found.items:
        report = import_images(
            store,
            project_id,
            found.items,
            settings=settings,
            on_progress=on_progress,
            total=len(found.items),
        )
    refused = (*found.refused, *report.refused)
    if len(refused) == 1 and len(found.items) == 1 and refused[0].not_accepted:
        raise TypeNotAccepted(refused[0].name, refused[0].reason)
    if report.added + report.duplicates == 0:
        first = f" ({len(refused)} refused; {refused[0].name}: {refused[0].reason})" if refused else ""
        raise BadInput(f"There is no picture to import in {found.where}{first}.")
    return ImportReport(
        added=report.added,
        duplicates=report.duplicates,
        refused=refused,
        notes=(*_shortened(found.notes), *report.notes),
    )


def _checked(
    items: Iterable[Item], place: Shelf, known: Mapping[str, Kept], max_pixels: int
) -> Iterator[_Taken | RefusedFile]:
    """Check and stage pictures on all cores (decoding is done in other processes), answers in order."""
    waiting: deque[Future[_Taken | RefusedFile]] = deque()
    decoders = shared()
    with ThreadPoolExecutor(decoders.size + 1, thread_name_prefix="import") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(_check, item, place, known, max_pixels, decoders))
                if len(waiting) >= 2 * BATCH:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _check(
    item: Item,
    place: Shelf,
    known: Mapping[str, Kept],
    max_pixels: int,
    decoders: Decoders,
) -> _Taken | RefusedFile:
    try:
        data = item.read()
        sha = hashlib.sha256(data).hexdigest()
        if sha in known and _is_whole(known[sha], sha, len(data), place):
            return _Taken(name=item.name, sha256=sha)
        normal = decoders.decode(data, item.name, max_pixels)
    except BadFile as error:
        not_accepted = isinstance(error, TypeNotAccepted)
        return RefusedFile(name=item.name, reason=error.reason, not_accepted=not_accepted)
    except OSError as error:
        return RefusedFile(name=item.name, reason=f"it cannot be read ({error.strerror or error})")
    return _stage(item.name, sha, data, normal, place)


def _is_whole(kept: Kept, sha: str, size: int, place: Shelf) -> bool:
    """Whether nothing of a picture is missing or known to have changed; else it is taken in once more."""
    return (
        kept.state not in (ImageState.MISSING, ImageState.CHANGED)
        and place.holds(kept.original, size)
        and place.holds(kept.canonical)
        and place.holds(shelf.thumbnail(sha))
    )


def _stage(name: str, sha: str, data: bytes, normal: Normalised, place: Shelf) -> _Taken:
    original = canonical = shelf.original(sha, normal.ext)
    files = [(original, data), (shelf.thumbnail(sha), normal.thumbnail)]
    if normal.canonical is not None:
        canonical = shelf.canonical(sha, normal.canonical_ext)
        files.append((canonical, normal.canonical))
    staged = [place.stage(relative, content) for relative, content in files]
    new = NewImage(
        sha256=sha,
        name=name,
        media_type=normal.media_type,
        width=normal.width,
        height=normal.height,
        original=original,
        canonical=canonical,
    )
    return _Taken(name=name, sha256=sha, new=new, staged=[file for file in staged if file], note=normal.note)


def _batches(outcomes: Iterator[_Taken | RefusedFile]) -> Iterator[list[_Taken | RefusedFile]]:
    batch: list[_Taken | RefusedFile] = []
    started = time.monotonic()
    for outcome in outcomes:
        batch.append(outcome)
        if len(batch) >= BATCH or time.monotonic() - started > BATCH_SECONDS:
            yield batch
            batch, started = [], time.monotonic()
    if batch:
        yield batch


def _keep(
    store: Store,
    project_id: int,
    batch: Sequence[_Taken],
    place: Shelf,
    known: dict[str, Kept],
    tally: _Tally,
) -> None:
    """Files first, rows after; then count."""
    place.settle([file for taken in batch for file in taken.staged])
    new: dict[str, NewImage] = {}
    for taken in batch:
        if taken.new is not None:
            new.setdefault(taken.sha256, taken.new)

    def rows(c: Connection) -> dict[str, tuple[str, bool]]:
        found = {}
        for sha, image in new.items():
            stored, created = images.add(c, project_id, image, now=now_ms())
            if stored.state is not ImageState.READY:
                images.set_state(c, stored.id, ImageState.READY)
            found[sha] = (stored.name, created)
        return found

    stored = store.write(rows, patience_s=LONG_PATIENCE_S) if new else {}
    for sha, image in new.items():
        known[sha] = Kept(stored[sha][0], image.original, image.canonical, ImageState.READY)
    fresh = {sha for sha, (_, created) in stored.items() if created}
    for taken in batch:
        if taken.note:
            tally.first_only.append(f"{taken.name}: {taken.note}.")
        if taken.sha256 in fresh:
            fresh.discard(taken.sha256)
            tally.added += 1
            if known[taken.sha256].name != taken.name:
                other = known[taken.sha256].name
                tally.renamed.append(f"{taken.name} is another picture here and was stored as {other}.")
            continue
        tally.duplicates += 1
        if known[taken.sha256].name != taken.name:
            tally.twins.append(f"{taken.name} has the same bytes as {known[taken.sha256].name}.")


def _shortened(notes: Sequence[str]) -> list[str]:
    more = len(notes) - NOTES
    return [*notes[:NOTES], f"... and {more} more like this."] if more > 0 else list(notes)
