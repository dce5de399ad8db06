"""The retrain benchmark runs without any data and ends with its figures."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"cold_s", "warm_s", "linear_s", "map_cold", "map_warm", "map_linear"}


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/retrain.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_last_line_is_the_result() -> None:
    done = run("--quick", "--threads", "1")
    assert done.returncode == 0, done.stderr
    name, figures = done.stdout.strip().splitlines()[-1].split(" ", 1)
    found = json.loads(figures)
    assert name == "RESULT" and set(found) == KEYS
    assert all(value > 0 for value in found.values())
    assert found["map_cold"] > found["map_linear"], "the evidence is local, the pooled mean hides it"


def test_a_missing_folder_is_one_sentence() -> None:
    done = run()
    assert done.returncode == 2 and "--data is needed unless --quick is given." in done.stderr
