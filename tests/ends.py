"""How a test process ended that ended too early: with `-n` nobody else tells."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest

WAIT_S = 20.0


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say which signal or exit code it was; a crash of the interpreter tells its stack besides."""
    process = getattr(node.gateway._io, "popen", None)
    if not error or process is None:
        return
    try:
        words = told(process.wait(WAIT_S))
    except subprocess.TimeoutExpired:
        words = "runs on, but answers no more"
    reporter = node.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n[{node.gateway.id}] process {process.pid} {words}")


def told(code: int) -> str:
    """The exit status of a process in words."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended by itself with code {code}"
