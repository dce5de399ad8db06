"""Of a test process that ends without a word the run says how."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENDS = """
import os, signal

def test_one():
    os.kill(os.getpid(), signal.SIGTERM)

def test_other():
    os._exit(3)
"""


def test_a_run_says_how_its_processes_ended(tmp_path: Path) -> None:
    (tmp_path / "test_ends.py").write_text(ENDS, encoding="utf-8")
    options = ["-p", "tests.ends", "-p", "no:cacheprovider", "-n", "1", "--rootdir", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "was ended by SIGTERM" in done.stdout and "ended by itself with code 3" in done.stdout
