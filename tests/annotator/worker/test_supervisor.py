from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from annotator.settings import Settings
from annotator.worker import process, signs
from annotator.worker import supervisor as module
from annotator.worker.signs import BEAT_FD, SERVER_PID, Beat, Signs
from annotator.worker.supervisor import Supervisor, environment_of
from tests.annotator.processes import alive, until

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal,time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def test_a_killed_worker_is_started_again(settings: Settings) -> None:
    supervisor = Supervisor(settings, command=SLEEPER)
    supervisor.start()
    until(lambda: supervisor.pid)
    first = supervisor.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.starts == 2 and supervisor.pid not in (None, first))
    supervisor.stop()
    assert supervisor.pid is None


def test_a_machine_without_room_for_another_process_gets_a_worker_later(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = subprocess.Popen, iter([OSError(errno.ENOMEM, "Cannot allocate memory"), None])

    def start(*given: Any, **more: Any) -> Any:
        error = next(tries, None)
        if error is not None:
            raise error
        return real(*given, **more)

    monkeypatch.setattr(subprocess, "Popen", start)
    supervisor = Supervisor(settings, command=SLEEPER)
    supervisor.start()
    until(lambda: supervisor.pid)
    supervisor.stop()
    assert supervisor.starts == 1


def test_stop_ends_the_worker(settings: Settings) -> None:
    supervisor = Supervisor(settings, command=SLEEPER)
    supervisor.start()
    until(lambda: supervisor.pid)
    pid = supervisor.pid
    supervisor.stop()
    assert pid is not None and not alive(pid)


def test_a_worker_that_ignores_the_request_is_killed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_S", 0.5)
    supervisor = Supervisor(settings, command=STUBBORN)
    supervisor.start()
    until(lambda: supervisor.pid)
    pid = supervisor.pid
    supervisor.stop()
    assert pid is not None and not alive(pid)


def test_the_worker_gets_the_settings_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Settings(data_dir=tmp_path, backbone="tiny", retrain_every=7, port=1234)
    for name, value in environment_of(given).items():
        monkeypatch.setenv(name, value)
    assert Settings() == given.model_copy(update={"data_dir": tmp_path.resolve()})


BEATS = """
import os, signal, sys, time
from annotator.worker.signs import Beat
signal.signal(signal.SIGTERM, signal.SIG_DFL)
beat, until = Beat(), int(sys.argv[1])
while until:
    beat()
    until -= 1
    time.sleep(0.05)
time.sleep(600)  # a deadlock
"""


def beating(times: int) -> list[str]:
    return [sys.executable, "-c", BEATS, str(times)]


def test_a_worker_that_falls_silent_is_killed_and_started_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.5)
    supervisor = Supervisor(settings, command=beating(3))
    supervisor.start()
    until(lambda: supervisor.starts == 1 and supervisor.pid)
    first = supervisor.pid
    until(lambda: supervisor.hung == 1 and supervisor.starts == 2)
    assert first is not None and not alive(first)
    supervisor.stop()


def test_a_worker_that_never_says_anything_gets_more_time_but_not_for_ever(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.0)
    monkeypatch.setattr(module, "FIRST_BEAT_S", 1.0)
    supervisor = Supervisor(settings, command=SLEEPER)
    supervisor.start()
    until(lambda: supervisor.hung == 1)
    supervisor.stop()


def beats_heard(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows with every look of the supervisor: whether there was a beat."""
    heard: list[bool] = []
    real = module._any_beat

    def listen(pipe: int) -> bool:
        heard.append(real(pipe))
        return heard[-1]

    monkeypatch.setattr(module, "_any_beat", listen)
    return heard


def test_a_worker_that_beats_is_left_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = beats_heard(monkeypatch)
    supervisor = Supervisor(settings, command=beating(10**6))
    supervisor.start()
    until(lambda: sum(heard) >= 5)
    assert (supervisor.hung, supervisor.starts) == (0, 1)
    supervisor.stop()


def test_a_stopped_process_counts_as_silent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_S", 1.0)
    heard = beats_heard(monkeypatch)
    supervisor = Supervisor(settings, command=beating(10**6))
    supervisor.start()
    until(lambda: any(heard))
    running = supervisor.pid
    assert running is not None, "0 would be every process of this test run"
    os.kill(running, signal.SIGSTOP)
    until(lambda: supervisor.hung == 1)
    supervisor.stop()


def test_signs_grow_old_when_the_main_thread_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(signs.time, "monotonic", lambda: clock[0])
    left = Signs(60.0)
    clock[0] += 59
    assert left.fresh()
    left.leave()
    clock[0] += 59
    assert left.fresh()
    clock[0] += 2
    assert not left.fresh()


def test_beats_go_through_the_pipe_and_a_full_or_broken_one_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, its = os.pipe()
    monkeypatch.setenv(BEAT_FD, str(its))
    beat = Beat()
    assert BEAT_FD not in os.environ and not os.get_inheritable(its), "no child of the worker beats for it"
    beat()
    assert os.read(ours, 10) == b"."
    for _ in range(70_000):
        beat()
    os.close(ours)
    beat()
    beat()
    os.close(its)
    monkeypatch.delenv(BEAT_FD, raising=False)
    Beat()()


def test_a_worker_whose_server_is_gone_before_it_can_ask_still_knows_its_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the time Python has loaded, `getppid` may name the process that adopted the worker."""
    monkeypatch.setenv(SERVER_PID, "4242")
    assert process.server_pid() == 4242
    monkeypatch.delenv(SERVER_PID, raising=False)
    assert process.server_pid() == os.getppid()


def test_the_supervisor_tells_its_worker_who_the_server_is(settings: Settings, tmp_path: Path) -> None:
    said = tmp_path / "said"
    code = f"import os; open({str(said)!r}, 'w').write(os.environ[{SERVER_PID!r}] + '.')"
    supervisor = Supervisor(settings, command=[sys.executable, "-c", code])
    supervisor.start()
    until(lambda: said.exists() and said.read_text().endswith("."))
    supervisor.stop()
    assert said.read_text() == f"{os.getpid()}."
