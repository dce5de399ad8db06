"""A lock that somebody has is waited for; a disk without locks is told, never taken for somebody."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from annotator import at_work, locking
from annotator.errors import Conflict, StoreError
from annotator.importing import shelf
from annotator.keeping import places, purge
from annotator.lock import only_server
from annotator.settings import Settings
from annotator.worker.only_one import only_worker

ERRORS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def hold(path: Path, how: int = fcntl.LOCK_EX) -> int:
    """Another holder, which the system tells apart by its own opening of the file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, how)
    return descriptor


def test_a_lock_is_for_one_alone_or_for_several_together(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with locking.open_private(path) as one, locking.open_private(path) as other:
        assert locking.take(one, tmp_path, shared=True) and locking.take(other, tmp_path, shared=True)
        assert not locking.take(one, tmp_path), "the other one is there still"
        other.close()
        assert locking.take(one, tmp_path)
    with locking.open_private(path) as again:
        assert locking.take(again, tmp_path)


def test_whoever_waits_gets_it_when_the_other_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, real, tries = hold(tmp_path / "a.lock"), fcntl.flock, []

    def flock(file: int, how: int) -> None:
        tries.append(how)
        if len(tries) == 3:
            os.close(other)
        real(file, how)

    monkeypatch.setattr(locking.fcntl, "flock", flock)
    with locking.open_private(tmp_path / "a.lock") as file:
        assert locking.take(file, tmp_path, wait_s=60.0)
    assert len(tries) == 3


def test_waiting_ends_when_told_to_stop(tmp_path: Path) -> None:
    other, stop = hold(tmp_path / "a.lock"), threading.Event()
    stop.set()
    with locking.open_private(tmp_path / "a.lock") as file:
        assert not locking.take(file, tmp_path, wait_s=3600.0, stop=stop)
        os.close(other)
        assert locking.take(file, tmp_path, stop=stop), "nobody has to wait for a free one"


def test_a_lock_is_its_owners_alone_and_anything_may_stand_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_bytes(b"4711\xff\x00\n")
    with locking.open_private(path) as file:
        file.seek(0)
        assert file.read().startswith("4711")
    path.unlink()
    old = os.umask(0)
    try:
        with locking.open_private(path):
            assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(old)


def callers(root: Path) -> dict[str, AbstractContextManager[object]]:
    """Everything that locks something in a data folder or beside it."""
    return {
        "server": only_server(Settings(data_dir=root)),
        "worker": only_worker(root, server=None, stop=threading.Event()),
        "supervised worker": only_worker(root, server=os.getppid(), stop=threading.Event()),
        "verb": at_work.at_work(root, "import"),
        "restore": places.nobody_at_work(root),
        "backup": places.partial(root / "backup", "partial"),
        "import": shelf.Shelf(root),
        "removal beside imports": shelf.alone(root, wait_s=0.0),
        "removal": purge._going(root, 1),
    }


CALLERS = sorted(callers(Path("nowhere")))


@pytest.mark.parametrize("number", ERRORS)
@pytest.mark.parametrize("who", CALLERS)
def test_a_disk_without_locks_is_not_taken_for_somebody_who_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str, number: int
) -> None:
    def unable(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locking.fcntl, "flock", unable)
    words = rf"cannot be locked \({os.strerror(number)}\).*local disk"
    with pytest.raises(StoreError, match=words), callers(tmp_path)[who]:
        pass


def test_an_import_that_does_not_begin_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal may be stopped in a terminal with Ctrl-Z: an import says so and does not wait for ever."""
    monkeypatch.setattr(shelf, "WAIT_S", 0.1)
    other = hold(tmp_path / shelf.LOCK)
    with pytest.raises(Conflict, match="Pictures are being removed"), shelf.Shelf(tmp_path):
        pass
    assert not list((tmp_path / "incoming").iterdir())
    os.close(other)
    with (
        shelf.Shelf(tmp_path),
        pytest.raises(Conflict, match="being imported"),
        shelf.alone(tmp_path, wait_s=0),
    ):
        pass
    with shelf.alone(tmp_path, wait_s=0):
        pass


def test_an_import_is_not_disturbed_by_one_that_ends_as_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shelf.Shelf(tmp_path).__enter__()
    real = shelf.time.time

    def ends() -> float:
        first.__exit__(None, None, None)
        return real()

    monkeypatch.setattr(shelf.time, "time", ends)
    with shelf.Shelf(tmp_path):
        assert len(list((tmp_path / "incoming").iterdir())) == 1


def test_the_workers_lock_is_nobody_elses_to_read(tmp_path: Path) -> None:
    with only_worker(tmp_path, server=None, stop=threading.Event()):
        assert (tmp_path / "worker.lock").stat().st_mode & 0o777 == 0o600


def test_a_server_starts_on_a_lock_that_a_power_cut_has_garbled(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / "server.lock").write_bytes(b"\xfe\xff\x00")
    with only_server(settings) as lock:
        assert lock._must_check
