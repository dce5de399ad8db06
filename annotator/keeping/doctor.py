"""A look at everything that can be wrong with a data folder, in plain words, and mending what can be mended.

Repair writes derived things only: labels and counts from decisions, thumbnails and 8-bit pictures from
originals, states of pictures, modes of files. Nothing that somebody gave is ever removed; files that nothing
refers to are moved to `orphans/`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection

from annotator.errors import Conflict
from annotator.keeping import files, scan
from annotator.keeping.mending import remake
from annotator.keeping.places import nobody_at_work
from annotator.keeping.scan import Progress, Seen
from annotator.settings import Settings
from annotator.store import LONG_PATIENCE_S, Store, checks, decisions, generations, jobs, now_ms, projects
from db import migrate
from db.copying import DatabaseFileError, problems


class Level(StrEnum):
    """How a finding ends."""

    FINE = "fine"
    NOTE = "note"  # worth knowing, nothing is wrong
    PROBLEM = "problem"
    REPAIRED = "repaired"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor: how many things, and what about them."""

    level: Level
    check: str
    count: int | None  # None: the text is a sentence of its own
    text: str

    @property
    def words(self) -> str:
        """The line for a person."""
        if self.count is None:
            return self.text
        return f"{self.count} {self.text if self.count else self.text.split(';')[0]}"


@dataclass(frozen=True, kw_only=True)
class _Visit:
    """What one run of the doctor was asked to do."""

    settings: Settings
    store: Store
    deep: bool
    repair: bool
    accept_missing: bool
    on_progress: Progress


def doctor(
    settings: Settings, *, deep: bool, repair: bool, accept_missing: bool, on_progress: Progress
) -> Iterator[Finding]:
    """Findings, one check after the other; `deep` reads every file and compares digests.

    A database that is missing, damaged or of another schema ends the visit with one problem. `repair` keeps
    servers out meanwhile: StoreError when one is running.
    """
    with ExitStack() as stack:
        if repair and settings.data_dir.is_dir():
            stack.enter_context(nobody_at_work(settings.data_dir))
        found = _database(settings)
        yield found
        if found.level is Level.PROBLEM:
            return
        store = Store.open(settings)
        stack.callback(store.close)
        visit = _Visit(
            settings=settings,
            store=store,
            deep=deep,
            repair=repair,
            accept_missing=accept_missing,
            on_progress=on_progress,
        )
        for check in (_labels, _pictures, _orphans, _generations, _left_over, _modes, _jobs, _room):
            yield from check(visit)


def _database(settings: Settings) -> Finding:
    path = settings.database
    if not path.is_file():
        return _problem("database", f"there is no database at {path}")
    try:
        found = migrate.revision(path)
        migrate.check_known(found, path)
        wrong = problems(path)
    except migrate.SchemaTooNew as error:
        return _problem("database", str(error))
    except (DatabaseFileError, migrate.SchemaError) as error:
        advice = _advice(settings) if _ours(settings) else "run this as the user whom the folder belongs to"
        return _problem("database", f"{str(error).rstrip('.')}; {advice}")
    if wrong:
        return _problem("database", f"the file is damaged ({wrong[0]}); {_advice(settings)}")
    if found != migrate.head():
        text = f"it has schema {found}, this program needs {migrate.head()}; run `annotator migrate`"
        return _problem("database", text)
    return Finding(level=Level.FINE, check="database", count=None, text=f"sound, schema {found}")


def _ours(settings: Settings) -> bool:
    """Whether this user may write where the database is: without that not even reading works."""
    return os.access(settings.data_dir, os.W_OK) and os.access(settings.database, os.R_OK | os.W_OK)


def _advice(settings: Settings) -> str:
    kept = sorted((settings.data_dir / migrate.BACKUPS).glob("before-*.db"))
    found = f"; copies from before upgrades are in {kept[-1].parent}" if kept else ""
    return f"restore the last backup (`annotator restore`){found}"


def _labels(visit: _Visit) -> Iterator[Finding]:
    with visit.store.read() as c:
        labels, counts = checks.wrong_labels(c), checks.wrong_counts(c)
    if visit.repair and (labels or counts):
        visit.store.write(checks.derive_again, patience_s=LONG_PATIENCE_S)
    done = "; written again from the decisions" if visit.repair else ""
    yield _counted(visit, "labels", labels, f"cells have a label that is not their last decision{done}")
    yield _counted(visit, "counts", counts, f"categories do not have the counts of their labels{done}")


def _pictures(visit: _Visit) -> Iterator[Finding]:
    seen = scan.look(visit.store, deep=visit.deep, on_progress=visit.on_progress)
    lacking = list({image.id: image for image in (*seen.no_canonical, *seen.no_thumbnail)}.values())
    made = 0
    if visit.repair and lacking:
        made = remake(visit.settings.data_dir, lacking, visit.settings.max_pixels, visit.on_progress)
        seen = scan.look(visit.store, deep=visit.deep, on_progress=visit.on_progress)
    if made:
        text = "pictures had no thumbnail or no 8-bit picture; made again"
        yield Finding(level=Level.REPAIRED, check="derived pictures", count=made, text=text)
    yield from _files(seen)
    yield from _states(visit, seen)


def _files(seen: Seen) -> Iterator[Finding]:
    back = "import the same files again, or put them back from a backup"
    yield _lost("originals", len(seen.no_original), f"original files are missing; {back}")
    digest = "with other bytes than were imported" if seen.deep else "that are empty"
    yield _lost("digests", len(seen.changed), f"original files {digest}; {back}")
    yield _lost("8-bit pictures", len(seen.no_canonical), "8-bit pictures are missing; --repair makes them")
    yield _lost("thumbnails", len(seen.no_thumbnail), "thumbnails are missing; --repair makes them")


def _states(visit: _Visit, seen: Seen) -> Iterator[Finding]:
    count = sum(len(ids) for ids in seen.states.values())
    words = ", ".join(f"{len(ids)} {state.value}" for state, ids in sorted(seen.states.items()))
    text = (
        f"pictures are not marked as they are ({words})" if count else "pictures are not marked as they are"
    )
    if not (visit.repair and count):
        yield _lost("states", count, f"{text}; `annotator scan` marks them" if count else text)
        return
    try:
        scan.mark(visit.store, seen, accept_missing=visit.accept_missing)
    except Conflict as error:
        yield _problem("states", str(error))
        return
    yield Finding(level=Level.REPAIRED, check="states", count=count, text=f"{text}; marked now, labels stay")


def _orphans(visit: _Visit) -> Iterator[Finding]:
    known = {
        name
        for image in scan.every_image(visit.store)
        for name in (image.original, image.canonical, files.thumbnail(image))
    }
    found = files.orphans(visit.settings.data_dir, known)
    done = f"; --repair moves them to {files.ORPHANS}/"
    if visit.repair:
        files.put_aside(visit.settings.data_dir, found)
        done = f"; moved to {files.ORPHANS}/"
    yield _counted(visit, "orphans", len(found), f"files belong to no picture{done}")


def _generations(visit: _Visit) -> Iterator[Finding]:
    damaged = 0
    with visit.store.read() as c:
        current = [(project, generations.current(c, project.id)) for project in projects.list_all(c)]
    for project, generation in current:
        if generation is None:
            continue
        folder = visit.settings.data_dir / generation.folder
        wrong = files.generation_problem(folder, generation.manifest_sha256, deep=visit.deep)
        if wrong:
            damaged += 1
            yield _problem("generations", f"{wrong.rstrip('.')}; {_train(visit, project.id)}")
    if not damaged:
        yield _lost("generations", 0, "generations are damaged")


def _train(visit: _Visit, project_id: int) -> str:
    if not visit.repair:
        return "the next training replaces it, --repair asks for one"

    def ask(c: Connection) -> None:
        head = decisions.head_seq(c, project_id)
        jobs.request(c, project_id, "retrain", wanted_seq=head, now=now_ms())

    visit.store.write(ask)
    return "a training that replaces it was asked for"


def _left_over(visit: _Visit) -> Iterator[Finding]:
    found = files.left_over(visit.settings.data_dir)
    if visit.repair:
        files.remove(found)
    done = "; removed" if visit.repair else ""
    yield _counted(visit, "temporary", len(found), f"temporary files of runs that were killed{done}")


def _modes(visit: _Visit) -> Iterator[Finding]:
    found = files.too_open(visit.settings.data_dir)
    if visit.repair:
        files.close(found)
    names = ", ".join(sorted(path.name for path in found)[:5])
    done = "closed" if visit.repair else "--repair closes them"
    text = f"files and folders can be read by other users; {done} ({names})"
    yield _counted(visit, "permissions", len(found), text)


def _jobs(visit: _Visit) -> Iterator[Finding]:
    with visit.store.read() as c:
        stale = checks.stale_jobs(c, now_ms())
    level = Level.NOTE if stale else Level.FINE
    text = "jobs were left by a worker that is gone; the next worker goes on with them"
    yield Finding(level=level, check="jobs", count=stale, text=text)


def _room(visit: _Visit) -> Iterator[Finding]:
    usage = shutil.disk_usage(visit.settings.data_dir)
    share = 100 * usage.free / usage.total
    low = share < visit.settings.disk_low_percent or usage.free < visit.settings.disk_low_bytes
    text = f"{usage.free / 2**30:.1f} GiB ({share:.0f} %) of the disk are free"
    yield Finding(level=Level.NOTE if low else Level.FINE, check="room", count=None, text=text)


def _problem(check: str, text: str) -> Finding:
    return Finding(level=Level.PROBLEM, check=check, count=None, text=text)


def _lost(check: str, count: int, text: str) -> Finding:
    """A problem that stays, or nothing."""
    return Finding(level=Level.PROBLEM if count else Level.FINE, check=check, count=count, text=text)


def _counted(visit: _Visit, check: str, count: int, text: str) -> Finding:
    """A problem that was repaired if that was asked for, or nothing."""
    level = Level.FINE if not count else Level.REPAIRED if visit.repair else Level.PROBLEM
    return Finding(level=level, check=check, count=count, text=text)
