"""One worker per data folder, whatever happens to the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from annotator.errors import StoreError
from annotator.worker import only_one
from annotator.worker.only_one import NAME, born, only_worker
from tests.annotator.processes import alive, until

HOLDER = """
import os, signal, sys, threading
from pathlib import Path
from annotator.worker.only_one import only_worker
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = os.getppid() if sys.argv[2] == "supervised" else None
with only_worker(Path(sys.argv[1]), server=server, stop=threading.Event()) as held:
    print("held", held, flush=True)
    signal.pause()
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
print(child.pid, flush=True)
child.wait()
"""


def holder(folder: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(folder), how]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held True\n"
    return process


def take(folder: Path, *, supervised: bool = True) -> bool:
    with only_worker(folder, server=os.getppid() if supervised else None, stop=threading.Event()) as held:
        return held


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def test_the_first_gets_it_and_says_who_it_is(tmp_path: Path) -> None:
    with only_worker(tmp_path, server=os.getppid(), stop=threading.Event()) as held:
        found = json.loads((tmp_path / NAME).read_text(encoding="utf-8"))
        assert held and found == {"pid": os.getpid(), "born": born(os.getpid()), "server": os.getppid()}
    assert (tmp_path / NAME).read_text(encoding="utf-8") == "", "nobody is told of one that has ended"
    assert take(tmp_path), "it is free again"


@pytest.mark.parametrize("supervised", [True, False])
def test_a_second_one_is_told_who_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervised: bool
) -> None:
    monkeypatch.setattr(only_one, "WAIT_S", 0.3)
    process = holder(tmp_path, "supervised")
    with pytest.raises(StoreError, match=f"has a worker already .process {process.pid}."):
        take(tmp_path, supervised=supervised)
    assert process.poll() is None, "a worker whose server lives is left alone"
    end(process)


def test_the_lock_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    process = holder(tmp_path, "supervised")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert take(tmp_path)
    end(process)


def test_waiting_ends_when_the_worker_is_told_to_stop(tmp_path: Path) -> None:
    process, stop = holder(tmp_path, "supervised"), threading.Event()
    stop.set()
    with only_worker(tmp_path, server=os.getppid(), stop=stop) as held:
        assert not held
    end(process)


def orphan(folder: Path, how: str) -> int:
    """A holder that ignores SIGTERM and whose parent was killed; its process id."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, HOLDER, str(folder), how], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    said = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    assert "held True" in said
    end(parent)
    return int((said - {"held True"}).pop())


def test_a_worker_that_lost_its_server_and_hangs_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = orphan(tmp_path, "supervised")
    monkeypatch.setattr(only_one, "WAIT_S", 0.5)
    assert take(tmp_path)
    until(lambda: not alive(pid) or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")


def test_a_worker_started_by_hand_is_never_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = orphan(tmp_path, "by hand")
    monkeypatch.setattr(only_one, "WAIT_S", 0.3)
    with pytest.raises(StoreError, match="has a worker already"):
        take(tmp_path)
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", '{"pid": "1", "server": 2}', '{"pid": 1}'])
def test_a_lock_file_that_says_nothing_gets_nobody_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(only_one, "WAIT_S", 0.3)
    process = holder(tmp_path, "supervised")
    (tmp_path / NAME).write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match="has a worker already"):
        take(tmp_path)
    assert process.poll() is None
    end(process)


@pytest.mark.parametrize("pid", [-1, 0, 2**22, os.getpid()], ids=["all", "group", "none", "own"])
def test_a_holder_of_which_nothing_can_be_known_gets_nobody_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int
) -> None:
    """Without /proc nobody has a birth: -1 would be everybody, and the others somebody else by now."""
    killed: list[int] = []
    monkeypatch.setattr(only_one, "WAIT_S", 0.1)
    monkeypatch.setattr(only_one, "born", lambda _: "")
    monkeypatch.setattr(only_one.os, "kill", lambda pid, _: killed.append(pid))
    process = holder(tmp_path, "supervised")
    (tmp_path / NAME).write_text(json.dumps({"pid": pid, "born": "", "server": 1}), encoding="utf-8")
    with pytest.raises(StoreError, match="has a worker already"):
        take(tmp_path)
    monkeypatch.undo()
    end(process)
    assert killed == []


def test_a_holder_that_ends_just_before_it_is_killed_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = holder(tmp_path, "supervised")
    monkeypatch.setattr(only_one, "WAIT_S", 0.1)

    def orphaned(_: object) -> bool:
        end(process)  # and is waited for: its process id is nobody's
        return True

    monkeypatch.setattr(only_one, "_orphaned", orphaned)
    assert take(tmp_path)


def test_a_process_id_that_somebody_else_has_by_now_is_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock names our own process with another birth: to kill it would end this test."""
    monkeypatch.setattr(only_one, "WAIT_S", 0.3)
    process = holder(tmp_path, "supervised")
    named = {"pid": os.getpid(), "born": "1", "server": 1}
    (tmp_path / NAME).write_text(json.dumps(named), encoding="utf-8")
    with pytest.raises(StoreError, match="has a worker already, or is being restored"):
        take(tmp_path)
    end(process)
