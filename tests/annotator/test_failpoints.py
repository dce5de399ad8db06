from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from annotator import failpoints
from annotator.failpoints import VARIABLE, Failed, failpoint


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    failpoint("here")


def test_only_the_named_place_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "here:raise")
    failpoint("there")
    with pytest.raises(Failed, match="here"):
        failpoint("here")


def test_sleep_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(failpoints.time, "sleep", slept.append)
    monkeypatch.setenv(VARIABLE, "here:sleep")
    failpoint("here")
    assert slept == [failpoints.SLEEP_S]


def test_an_unknown_action_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "here:explode")
    with pytest.raises(ValueError, match="'explode'"):
        failpoint("here")


def test_kill_ends_the_process_without_any_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "here:kill")
    code = (
        "from annotator.failpoints import failpoint\n"
        "try:\n    failpoint('here')\nfinally:\n    print('cleaned up')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"")
