"""Which generation folders stay on disk, and what a killed worker left half-written."""

from __future__ import annotations

import logging
import re
import shutil

from annotator.records import Generation, GenerationStatus
from annotator.settings import Settings
from annotator.store import Store, generations

log = logging.getLogger(__name__)

GRACE_MS = 10 * 60_000  # a page may still read a generation that was replaced a moment ago
_COMPLETE = re.compile(r"\d+")
_HALF_WRITTEN = (".*.tmp", "*.part")


class Keeper:
    """Removes old generations, each a while after it was first seen to be one too many."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._keep = settings.keep_generations
        self._since: dict[int, int] = {}  # generation -> time (ms) since when it is one too many

    def prune(self, project_id: int, now: int) -> list[int]:
        """Remove what has been too many for `GRACE_MS`; returns the generations whose files are gone now."""
        with self._store.read() as c:
            known = generations.history(c, project_id)
        many = {one.id: one for one in too_many(known, self._keep)}
        mine = {one.id for one in known}
        for gone in (self._since.keys() & mine) - many.keys():
            del self._since[gone]
        removed = []
        for number, generation in many.items():
            if now - self._since.setdefault(number, now) >= GRACE_MS and self._remove(generation):
                del self._since[number]
                removed.append(number)
        return removed

    def _remove(self, generation: Generation) -> bool:
        """The row says so first: whoever wants to go back to it from now on is told that it cannot be."""
        if not self._store.write(lambda c: generations.mark_removed(c, generation.id)):
            return False
        shutil.rmtree(self._store.data_dir / generation.folder, ignore_errors=True)
        log.info("generation %s: its files were removed, newer ones are kept", generation.id)
        return True


def too_many(known: list[Generation], keep: int) -> list[Generation]:
    """Those of `known` that are not among the `keep` newest with files; the current one always is.

    So is, from three on, the newest that served before: while the current one is damaged it steps in, which
    rejected ones never do.
    """
    kept = [one for one in known if one.status is not GenerationStatus.REMOVED]
    others = sorted((one for one in kept if one.status is not GenerationStatus.CURRENT), key=lambda o: -o.id)
    room = max(0, keep - (len(kept) - len(others)))
    served = [one for one in others if one.status is GenerationStatus.RETIRED]
    if room > 1 and served and served[0] not in others[:room]:
        others.remove(served[0])
        others.insert(0, served[0])
    return others[room:]


def sweep(store: Store) -> list[str]:
    """Remove what a killed worker left: half-written files and folders that no row speaks of.

    Only for the worker that holds the data folder, before its first job. Returns what was removed, as paths
    relative to the data folder.
    """
    with store.read() as c:
        folders = {store.data_dir / folder for folder in generations.kept_folders(c)}
    left = [
        path
        for place in store.data_dir.glob("projects/*/generations")
        for path in place.iterdir()
        if path.is_dir() and path not in folders and (path.name[0] == "." or _COMPLETE.fullmatch(path.name))
    ]
    left += [path for name in _HALF_WRITTEN for path in store.data_dir.glob(f"projects/*/{name}")]
    for path in left:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        log.info("removed %s, which a killed worker left", path)
    return sorted(path.relative_to(store.data_dir).as_posix() for path in left)
