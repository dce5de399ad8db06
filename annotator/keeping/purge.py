"""Removing an archived project for good: rows, generations, and pictures that no other project has.

Files go after the rows that name them, and a list on the disk says which ones until they are gone: so a run
that was killed anywhere is finished by the next one, and a file that a row names is there. What features say
about the pictures stays in `features/`, by digest; that cache can be removed as a whole.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import Connection

from annotator import locking
from annotator.artifacts import sync_folder
from annotator.errors import Conflict, NotFound, StoreError, is_full, no_room
from annotator.failpoints import failpoint
from annotator.importing import shelf
from annotator.keeping import layout
from annotator.records import Image, Project
from annotator.settings import Settings
from annotator.store import LONG_PATIENCE_S, Store, now_ms, purging
from annotator.store.rows import chunks

PICTURES = 200  # rows and files that go in one step
WAIT_S = 20.0  # for imports to end
_LISTED = re.compile(r"(?:originals|canonical|thumbnails)/[0-9a-f]{2}/[0-9a-f]{64}\.[a-z0-9]{1,8}")

_log = logging.getLogger(__name__)

OnProgress = Callable[[int, int | None, str], None]


def silent(_done: int, _total: int | None, _what: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Purged:
    """What was removed; `shared`: pictures whose files stay, since other projects have them too."""

    name: str
    pictures: int
    answers: int
    files: int
    shared: int


@dataclass
class _Tally:
    files: int = 0
    shared: int = 0


def finish(
    store: Store, project_id: int, *, on_progress: OnProgress = silent, wait_s: float = WAIT_S
) -> Purged:
    """Remove everything of a project whose removal has begun; done again it goes on where it stopped.

    Conflict while an import or another removal of it is at work, StoreError when the disk refuses.
    """
    try:
        return _finish(store, project_id, on_progress, wait_s)
    except OSError as error:
        if is_full(error):
            raise no_room("The project could not be removed") from error
        raise StoreError(
            f"Files of the project cannot be removed ({error.strerror or error}); "
            "what is left goes when it is removed again."
        ) from error


def _finish(store: Store, project_id: int, on_progress: OnProgress, wait_s: float) -> Purged:
    root, tally, done = store.data_dir, _Tally(), 0
    with _going(root, project_id) as going:
        for names in chunks(going.names(), 3 * PICTURES):  # of a run that was killed
            with shelf.alone(root, wait_s=wait_s):
                _remove_files(store, names, _Tally())
        while True:
            with shelf.alone(root, wait_s=wait_s):
                count = _step(store, project_id, going, tally)
            done += count
            on_progress(done, None, "pictures")
            if not count:
                break
            time.sleep(shelf.BREATH_S)  # an import that waits gets its turn
        while store.write(lambda c: purging.remove_categories(c, project_id), patience_s=LONG_PATIENCE_S):
            on_progress(done, None, "categories")
        failpoint("purge_before_folder")
        folder = root / "projects" / str(project_id)
        if folder.is_dir():
            shutil.rmtree(folder)
        _sync(root)
        failpoint("purge_before_end")
        told = store.write(lambda c: purging.end(c, project_id, now=now_ms()))
        failpoint("purge_after_end")
        going.path.unlink(missing_ok=True)
    counts = {"pictures": int(told["pictures"]), "answers": int(told["answers"])}
    return Purged(name=str(told["name"]), files=tally.files, shared=tally.shared, **counts)


def due(store: Store, settings: Settings, on_progress: OnProgress = silent) -> list[Purged]:
    """Finish removals that have begun, and begin those that are due where the settings ask for it.

    For a worker that has nothing else to do. One that cannot go on now is left for the next time; StoreError
    of the first whose files or rows the disk refuses, after the others.
    """
    with store.read() as c:
        wanted = [one.id for one in purging.unfinished(c)]
        if settings.purge_by_itself:
            late = purging.due(c, keep_ms=keep_ms(settings), now=now_ms())
        else:
            late = []
    done: list[Purged] = []
    refused: list[StoreError] = []
    for project in late:
        if _begun(store, settings, project):
            wanted.append(project.id)
    for project_id in wanted:
        try:
            done.append(finish(store, project_id, on_progress=on_progress, wait_s=0))
        except (Conflict, NotFound) as error:  # somebody else is at it, or has ended it
            _log.info("project %s is not removed now: %s", project_id, error)
        except StoreError as error:
            refused.append(error)
    if refused:
        raise refused[0]
    return done


def keep_ms(settings: Settings) -> int:
    """How long an archived project can be restored."""
    return int(settings.purge_days * 24 * 3600 * 1000)


def _begun(store: Store, settings: Settings, project: Project) -> bool:
    def work(c: Connection) -> None:
        keep = keep_ms(settings)
        purging.begin(c, project.id, project.name, user_id=None, keep_ms=keep, now=now_ms())

    try:
        store.write(work)
    except (Conflict, NotFound) as error:  # restored meanwhile, or a training has not ended
        _log.info("project %s is not removed now: %s", project.id, error)
        return False
    return True


def sweep(store: Store) -> None:
    """Remove lists of removals that have ended, of runs that were killed just then."""
    found = list(store.data_dir.glob("purging-*.txt"))  # first: one that comes later is of a removal at work
    with store.read() as c:
        wanted = {_list_of(store.data_dir, one.id) for one in purging.unfinished(c)}
    for path in found:
        if path not in wanted:
            path.unlink(missing_ok=True)


class _Going:
    """The list of files that may have lost their rows."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path = path
        self._file = file
        self._file.seek(0)
        if self._file.read() and not self._text().endswith("\n"):
            self._file.write("\n")  # a line that was cut short names nothing

    def names(self) -> list[str]:
        """Paths relative to the data folder, each once; nothing but files of pictures."""
        return list(dict.fromkeys(line for line in self._text().split("\n") if _LISTED.fullmatch(line)))

    def add(self, names: Iterable[str]) -> None:
        """Put names on the list, for good."""
        self._file.write("".join(f"{name}\n" for name in names))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _text(self) -> str:
        self._file.seek(0)
        return self._file.read()


@contextmanager
def _going(root: Path, project_id: int) -> Iterator[_Going]:
    path = _list_of(root, project_id)
    with locking.open_private(path) as file:
        if not locking.take(file, "The data folder"):
            raise Conflict("This project is being removed at this moment.")
        sync_folder(root)
        yield _Going(path, file)


def _list_of(root: Path, project_id: int) -> Path:
    return root / f"purging-{project_id}.txt"


def _step(store: Store, project_id: int, going: _Going, tally: _Tally) -> int:
    """Remove the next pictures, first their rows; how many there were."""
    with store.read() as c:
        found = purging.next_pictures(c, project_id, PICTURES)
    if not found:
        return 0
    names = [name for image in found for name in _files_of(image)]
    going.add(names)
    failpoint("purge_before_rows")
    ids = [image.id for image in found]
    store.write(lambda c: purging.remove_pictures(c, project_id, ids), patience_s=LONG_PATIENCE_S)
    failpoint("purge_after_rows")
    _remove_files(store, names, tally)
    return len(found)


def _files_of(image: Image) -> tuple[str, ...]:
    return tuple(dict.fromkeys((image.original, image.canonical, shelf.thumbnail(image.sha256))))


def _remove_files(store: Store, names: Sequence[str], tally: _Tally) -> None:
    """Remove the files among `names` that no row of any project names."""
    listed = [name for name in names if _LISTED.fullmatch(name)]
    with store.read() as c:
        kept = purging.named_files(c, [_digest(name) for name in listed])
    wanted = {name for sha256, *files in kept for name in (*files, shelf.thumbnail(sha256))}
    tally.shared += len({sha256 for sha256, *_ in kept})
    for name in listed:
        if name in wanted:
            continue
        try:
            (store.data_dir / name).unlink()
        except FileNotFoundError:
            continue
        tally.files += 1
        if tally.files == 1:
            failpoint("purge_between_files")


def _digest(name: str) -> str:
    return Path(name).stem


def _sync(root: Path) -> None:
    """Return once the names that went are gone on the disk, too."""
    folders = [folder for name in layout.PICTURES for folder in sorted((root / name).glob("??"))]
    for folder in (*folders, root / "projects"):
        if folder.is_dir():
            sync_folder(folder)
