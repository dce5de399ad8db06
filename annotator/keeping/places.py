"""Folders that are being made beside their final place, and the locks of a data folder."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from annotator import at_work, locking
from annotator.artifacts import sync_folder
from annotator.errors import Conflict, StoreError

SERVER, WORKER = "server.lock", "worker.lock"  # held by a server and by a worker for as long as they run
LOCKS = (SERVER, WORKER, at_work.NAME)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def private(path: Path, mode: str) -> IO[Any]:
    """Open a new file that only its owner can read."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


@contextmanager
def partial(target: Path, word: str) -> Iterator[Path]:
    """An empty folder `.<name>.<word>` beside `target` to build it in; what is left of it at the end goes.

    A killed run leaves it behind and the next one with the same target begins it anew. Conflict while another
    one is at work there.
    """
    folder = target.with_name(f".{target.name}.{word}")
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if not locking.take(descriptor, target.parent):
            raise Conflict(f"Another run is at work in {folder}; wait for it to end.")
        try:
            empty(folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for left in folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


@contextmanager
def nobody_at_work(data_dir: Path, *, besides: Container[str] = ()) -> Iterator[None]:
    """Have a data folder for oneself; StoreError names the server, worker or verb that is at work there.

    `besides`: locks that the caller holds already.
    """
    with ExitStack() as stack:
        for name in LOCKS:
            if name in besides:
                continue
            lock = stack.enter_context(locking.open_private(data_dir / name))
            if not locking.take(lock, data_dir):
                raise StoreError(f"{data_dir} is in use by {_holder(name, lock)} first.")
        yield


def _holder(name: str, lock: IO[str]) -> str:
    """Who holds a lock, and what to do about it, as far as its file tells."""
    if name == at_work.NAME:
        return f"{' and '.join(at_work.holders(lock)) or 'an unknown process'}; let it end or stop it"
    lock.seek(0)
    found = re.search(r"\d+[^,\n]*", lock.read(200))
    who = f"process {found[0]}" if found else "an unknown process"
    return f"another annotator ({who}); stop it"


def put_in_place(made: Path, place: Path, aside: Path | None) -> None:
    """Give the folder `made` the name `place`; what was there goes to `aside` (None: nothing was).

    At every moment `place` is the old folder or the new one, whole, where the system can exchange two names
    in one step (Linux); elsewhere `place` may be missing for a moment, and the old folder is at `aside`.
    """
    if aside is None:
        made.rename(place)
    elif _can_exchange(made.parent):
        made.rename(aside)
        try:
            _exchange(aside, place)
        except OSError:
            aside.rename(made)
            raise
    else:
        place.rename(aside)
        try:
            made.rename(place)
        except OSError:
            aside.rename(place)
            raise
    sync_folder(place.parent)


def _can_exchange(folder: Path) -> bool:
    """Whether two names in this folder can be exchanged in one step, tried where nothing can be lost."""
    with tempfile.TemporaryDirectory(prefix=".exchange-", dir=folder) as made:
        one, other = Path(made) / "one", Path(made) / "other"
        one.mkdir()
        other.mkdir()
        try:
            _exchange(one, other)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
                raise
            return False
        return True


def _exchange(one: Path, other: Path) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    done = rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))
