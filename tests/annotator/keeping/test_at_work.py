"""Verbs of the terminal keep out of the way of a restore, a repair or an upgrade; with real processes."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from annotator import at_work, cli, locking
from annotator.at_work import NAME
from annotator.cli_common import opened
from annotator.errors import StoreError
from annotator.keeping.backup import back_up
from annotator.keeping.doctor import doctor
from annotator.keeping.places import SERVER, nobody_at_work, put_in_place
from annotator.keeping.restore import restore
from annotator.lock import only_server
from annotator.processes import NICENESS
from annotator.settings import Settings
from annotator.store import Store, checks
from annotator.worker.only_one import only_worker
from db.migrate import head, revision
from tests.annotator.keeping.world import World, content
from tests.db.released import make

TABLE = b"file_name,heron\na.jpg,1\nb.png,0\n"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A label file that is not there until somebody writes it."""
    path = tmp_path / "labels.csv"
    os.mkfifo(path)
    return path


@contextmanager
def importing(data_dir: Path, pipe: Path) -> Iterator[tuple[subprocess.Popen[str], IO[bytes]]]:
    """`annotator import` in a process of its own, which has opened the folder and waits for its labels."""
    command = [sys.executable, "-m", "annotator", "import", "--labels", str(pipe), "--project", "birds"]
    process = subprocess.Popen(
        [*command, "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "300"},
    )
    try:
        with pipe.open("wb") as labels:  # opens when the other end does
            yield process, labels
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: Settings) -> Run:
    """Call the command in this process, which does not wait; its exit code and what it said."""
    monkeypatch.setattr(at_work, "WAIT_S", 0.0)

    def call(*arguments: object) -> tuple[int, str]:
        command = ["annotator", *map(str, arguments), "--data-dir", str(settings.data_dir)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((said.out + said.err).split())

    return call


def test_a_running_import_is_not_robbed_of_its_folder(world: World, pipe: Path, tmp_path: Path) -> None:
    backup = back_up(world.data_dir, tmp_path / "b.tar").target
    world.store.close()
    before = content(world.data_dir)
    with importing(world.data_dir, pipe) as (process, _):
        words = rf"in use by `annotator import` \(process {process.pid}\); let it end or stop it first\."
        with pytest.raises(StoreError, match=words):
            restore(backup, world.data_dir, replace=True)
        assert not list(tmp_path.glob("data.before-restore-*"))
        os.kill(process.pid, signal.SIGKILL)  # the kernel lets go for it
        process.wait()
        done = restore(backup, world.data_dir, replace=True)
    assert done.aside is not None and content(world.data_dir) == before


def test_import_and_server_work_in_one_folder(world: World, pipe: Path) -> None:
    world.store.close()
    with (
        only_server(world.settings) as lock,
        opened(world.settings, "run", besides={SERVER}) as (store, actions),
    ):
        lock.check(store)
        with importing(world.data_dir, pipe) as (process, _):
            assert actions.add_category(world.project.id, "swan").name == "swan"
            words = r"in use by another annotator \(process"
            with pytest.raises(StoreError, match=words), nobody_at_work(world.data_dir):
                pass
            assert process.poll() is None


def test_two_imports_are_both_named(world: World, tmp_path: Path, pipe: Path) -> None:
    with importing(world.data_dir, pipe) as (process, _), at_work.at_work(world.data_dir, "user invite"):
        both = (
            f"`annotator import` (process {process.pid}) and `annotator user invite` (process {os.getpid()})"
        )
        with pytest.raises(StoreError, match=re.escape(both)), nobody_at_work(world.data_dir):
            pass


def test_an_import_stands_back_behind_the_server(world: World, pipe: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with importing(world.data_dir, pipe) as (process, _):
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == max(own, NICENESS)


TELLS = """
import os, sys, threading
from annotator import cli
from annotator.importing import labels
real = labels.bulk.import_cells
def told(*given, **more):
    print("priority", os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), flush=True)
    return real(*given, **more)
labels.bulk.import_cells = told
cli.main()
"""


def test_but_not_while_it_holds_the_database(world: World, tmp_path: Path) -> None:
    """Everybody's answers wait for whoever writes: that must not take ten times as long on a busy machine."""
    (tmp_path / "l.csv").write_bytes(TABLE)
    command = [sys.executable, "-c", TELLS, "import", "--labels", str(tmp_path / "l.csv")]
    done = subprocess.run(
        [*command, "--project", "birds", "--data-dir", str(world.data_dir)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"priority {os.getpriority(os.PRIO_PROCESS, 0)}\n" in done.stdout


def test_an_import_that_waits_goes_on_in_the_folder_that_is_there_then(world: World, tmp_path: Path) -> None:
    """A restore exchanges the folders while a verb waits for it: the verb must not work in the old one."""
    restore(back_up(world.data_dir, tmp_path / "b").target, tmp_path / "new")
    world.store.close()
    waits, held, go = threading.Event(), threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        waits.set()
        threading.Event().wait(seconds)

    def verb() -> None:
        with at_work.at_work(world.data_dir, "import"):
            held.set()
            go.wait(20)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at_work.time, "sleep", sleep)
        patch.setattr(at_work, "WAIT_S", 20.0)
        with nobody_at_work(world.data_dir):
            thread = threading.Thread(target=verb)
            thread.start()
            assert waits.wait(20) and not held.is_set()
            put_in_place(tmp_path / "new", world.data_dir, tmp_path / "aside")
        assert held.wait(20)
    try:
        assert str(os.getpid()) in (world.data_dir / NAME).read_text(encoding="utf-8")
        assert (tmp_path / "aside" / NAME).read_text(encoding="utf-8") == ""
        with pytest.raises(StoreError, match="`annotator import`"), nobody_at_work(world.data_dir):
            pass
    finally:
        go.set()
        thread.join()


def test_folders_exchanged_between_opening_and_locking_are_noticed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore(back_up(world.data_dir, tmp_path / "b").target, tmp_path / "new")
    world.store.close()
    real, exchanged = locking.fcntl.flock, []

    def late(file: IO[str], how: int) -> None:
        if not exchanged:
            exchanged.append(True)
            put_in_place(tmp_path / "new", world.data_dir, tmp_path / "aside")
        real(file, how)

    monkeypatch.setattr(locking.fcntl, "flock", late)
    with at_work.at_work(world.data_dir, "import"):
        monkeypatch.undo()
        assert exchanged and str(os.getpid()) in (world.data_dir / NAME).read_text(encoding="utf-8")
        with pytest.raises(StoreError, match="`annotator import`"), nobody_at_work(world.data_dir):
            pass


def test_a_verb_is_told_while_somebody_has_the_folder_alone(world: World, run: Run) -> None:
    before = content(world.data_dir)
    with nobody_at_work(world.data_dir):
        code, said = run("train", "--project", "birds")
    assert code == 1 and "is being restored, repaired or upgraded; try again when that is done." in said
    assert content(world.data_dir) == before
    assert run("train", "--project", "birds")[0] == 0


def test_no_worker_starts_in_a_folder_that_somebody_has_alone(world: World, tmp_path: Path) -> None:
    """Not where none ever was, either: it would go on in the folder that a restore has put aside."""
    for _ in range(2):
        with (
            nobody_at_work(world.data_dir),
            pytest.raises(StoreError, match="is being restored, repaired or upgraded; try again"),
            only_worker(world.data_dir, server=None, stop=threading.Event()),
        ):
            pass
        with only_worker(world.data_dir, server=None, stop=threading.Event()) as held:
            assert held
            with pytest.raises(StoreError, match="another annotator"), nobody_at_work(world.data_dir):
                pass


def test_a_repair_waits_for_verbs_and_a_look_does_not(world: World) -> None:
    def visit(*, repair: bool) -> int:
        options = {"deep": False, "accept_missing": False, "on_progress": lambda *_: None}
        return len(list(doctor(world.settings, repair=repair, **options)))  # type: ignore[arg-type]

    with at_work.at_work(world.data_dir, "import"):
        assert visit(repair=False) > 5
        with pytest.raises(StoreError, match="`annotator import`"):
            visit(repair=True)
    world.store.close()
    assert visit(repair=True) > 5


@pytest.mark.parametrize("verb", [("migrate",), ("train",), ("user", "list")])
def test_a_schema_does_not_change_under_somebody_who_has_the_database_open(
    run: Run, settings: Settings, verb: tuple[str, ...]
) -> None:
    """A newer program is installed beside a server, or beside a verb, that runs on."""
    make("0001", settings.database)
    with at_work.at_work(settings.data_dir, "import"):
        code, said = run(*verb)
    assert code == 1 and "in use by `annotator import`" in said
    with only_server(settings):
        code, said = run(*verb)
    assert code == 1 and "in use by another annotator (process" in said
    assert revision(settings.database) == "0001"
    assert run("migrate")[0] == 0 and revision(settings.database) == head()
    with at_work.at_work(settings.data_dir, "import"):
        assert run("migrate")[0] == 0, "nothing is left to do"


def test_a_server_upgrades_its_own_folder(settings: Settings) -> None:
    make("0001", settings.database)
    with only_server(settings), opened(settings, "run", besides={SERVER}) as (store, _):
        assert revision(settings.database) == head()
        with store.read() as c:
            assert checks.wrong_counts(c) == 0


def test_the_file_does_not_grow_and_the_dead_are_not_named(world: World, pipe: Path) -> None:
    with importing(world.data_dir, pipe) as (process, _):
        process.kill()
        process.wait()
    path = world.data_dir / NAME
    assert path.read_text(encoding="utf-8").startswith(f"{process.pid} ")
    with path.open(encoding="utf-8") as file:
        assert at_work.holders(file) == []
    for _ in range(3):
        with at_work.at_work(world.data_dir, "import"):
            pass
    assert path.read_text(encoding="utf-8").count("\n") == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_without_locks_is_refused_at_once(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking.fcntl, "flock", unable)
    with (
        pytest.raises(StoreError, match=r"cannot be locked \(No locks available\).*local disk"),
        at_work.at_work(settings.data_dir, "import"),
    ):
        pass
