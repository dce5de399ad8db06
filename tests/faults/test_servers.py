"""The harness ends its own processes and nobody else's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.faults.servers import Nursery, ticks


def test_a_process_id_that_belongs_to_somebody_else_by_now_is_not_killed(
    light: Nursery, tmp_path: Path
) -> None:
    child = light.fork(tmp_path / "said.txt", str(tmp_path / "data"), "--no-such-option")
    for _ in ticks(20):
        if child.gone():
            break
    assert child.gone() and "no-such-option" in child.output()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        child.pid = other.pid
        child.kill()
        assert child.gone() and other.poll() is None
    finally:
        other.kill()
        other.wait()
