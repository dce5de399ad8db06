"""How the store and its disk are, in sentences for people and in facts for an administrator.

When room becomes scarce, what needs much of it stops first: uploads and trainings. Answers are small and are
saved until the disk is truly full. Then they wait in the browser; the ballast is not given up by itself,
since whatever fills the disk would take it too and leave nothing to repair with.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from annotator.errors import DiskFull, is_full
from annotator.settings import Settings
from annotator.store import Store
from db.engine import sqlite_module, wal_is_safe
from db.place import is_network

BALLAST: Final = "ballast"
BALLAST_SHARE: Final = 20  # the disk must have so many times the ballast free before it is made
TRULY_FULL: Final = 4 * 2**20  # free bytes below which the next answers may not fit
GIB: Final = 2**30

Level = Literal["warning", "error"]


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One sentence for everybody who works here."""

    code: str
    level: Level
    text: str


@dataclass(frozen=True, kw_only=True)
class Room:
    """Bytes on the disk of the data folder."""

    free: int
    total: int
    low: bool

    @property
    def words(self) -> str:
        """As "1.5 GB of 20 GB are free"."""
        return f"{_size(self.free)} of {_size(self.total)} are free"


@dataclass(frozen=True, kw_only=True)
class Health:
    """`status` is "ok", "warning", or what keeps answers from being saved: "disk_full", "read_only"."""

    status: str
    notices: tuple[Notice, ...]
    details: dict[str, Any] = field(default_factory=dict)


def room(settings: Settings, *, coming: int = 0) -> Room:
    """How much room the disk of the data folder has; `low` as if `coming` more bytes were on it already."""
    usage = shutil.disk_usage(settings.data_dir)
    left = usage.free - coming
    low = left < settings.disk_low_bytes or left * 100 < usage.total * settings.disk_low_percent
    return Room(free=usage.free, total=usage.total, low=low)


def need_room(settings: Settings, what: str, *, coming: int = 0) -> None:
    """DiskFull when the disk is nearly full; `what` waits for room, as "Pictures are not taken in".

    `coming` bytes are announced: together with them it must not become nearly full either.
    """
    found = room(settings, coming=coming)
    if found.low:
        raise DiskFull(
            f"{what} while the disk is nearly full ({found.words}); answers are still saved. Make room first."
        )


def health(store: Store, settings: Settings) -> Health:
    """Look at everything; quick enough to be asked once a minute by every page."""
    notices = tuple(_notices(store, settings))
    errors = [notice.code for notice in notices if notice.level == "error"]
    status = errors[0] if errors else "warning" if notices else "ok"
    return Health(status=status, notices=notices, details=_details(store, settings))


def start_up_warnings(store: Store) -> list[str]:
    """What an administrator should know about the place and the library, one sentence each."""
    facts, found = store.facts, []
    if is_network(facts.file_system):
        found.append(
            f"The data folder lies on a network file system ({facts.file_system}): a slower rollback journal "
            "is used, and locks may not hold; a local disk is safer."
        )
    version = tuple(sqlite_module().sqlite_version_info)
    if not wal_is_safe(version):
        found.append(
            f"SQLite {facts.library} can damage a database in its fast mode, so a slower rollback journal is "
            "used; install pysqlite3, which brings a newer one."
        )
    return found


def make_ballast(settings: Settings) -> bool:
    """Put a file aside that `free_space` can give up; whether it is there. Small disks get none."""
    path, size = settings.data_dir / BALLAST, settings.ballast_bytes
    if path.is_file():
        return True
    found = room(settings)
    if size == 0 or found.low or found.free < BALLAST_SHARE * size:
        return False
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        path.unlink()
        if not is_full(error):
            raise
        return False
    finally:
        os.close(descriptor)
    return True


def free_space(settings: Settings) -> str:
    """Give up the ballast; one sentence about what that brought."""
    path = settings.data_dir / BALLAST
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return f"There is no ballast to give up; {room(settings).words}."
    return (
        f"The ballast of {_size(size)} was given up; {room(settings).words}. Answers that wait in browsers "
        "are saved now. Make more room: the next start puts a new ballast aside."
    )


def secure(folder: Path) -> bool:
    """Close the data folder to other users of the machine; whether it was open before."""
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        folder.chmod(mode & 0o700)
    return bool(mode & 0o077)


def _notices(store: Store, settings: Settings) -> list[Notice]:
    found = []
    if store.trouble:
        found.append(Notice(code="read_only", level="error", text=store.trouble))
    place = room(settings)
    if place.free < TRULY_FULL:
        text = (
            "The disk is full: answers wait in your browser and are saved as soon as there is room; keep "
            "this page open. An administrator can run `annotator free-space`."
        )
        found.append(Notice(code="disk_full", level="error", text=text))
    elif place.low:
        text = f"The disk is nearly full ({place.words}): uploads and trainings wait, answers are saved."
        found.append(Notice(code="disk_low", level="warning", text=text))
    return found


def _details(store: Store, settings: Settings) -> dict[str, Any]:
    facts, place = store.facts, room(settings)
    log = settings.database.with_name(settings.database.name + "-wal")
    return {
        "disk_free": place.free,
        "disk_total": place.total,
        "ballast": (settings.data_dir / BALLAST).is_file(),
        "sqlite": facts.library,
        "journal": facts.journal,
        "synchronous": facts.synchronous,
        "foreign_keys": facts.foreign_keys,
        "file_system": facts.file_system,
        "log_bytes": log.stat().st_size if log.is_file() else 0,
        "warnings": start_up_warnings(store),
    }


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GB" if count >= GIB else f"{count / 2**20:.0f} MB"
