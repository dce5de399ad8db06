from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from annotator.settings import Settings
from annotator.worker import supervisor as module
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
