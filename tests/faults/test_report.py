"""The page of docs/reliability.md says what the run did, whether it passed, failed or was skipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.report import PAGE, read, render
from tests.faults.servers import ROOT

CONFTEST = """
from tests.faults.claims import Plugin, claim

def pytest_configure(config):
    config.addinivalue_line("markers", "claims: x")
    config.pluginmanager.register(Plugin(), "claims")
"""
TESTS = """
import pytest

def test_shown(claim):
    shown = claim("N-01", "Nothing is lost.", unit="kills", seed=3)
    shown.done(12, saves=4)

def test_broken(claim):
    claim("N-02", "Nothing | is torn.")
    assert 3 == 4, "three of four"

def test_absent(claim):
    claim("R-03", "Old or new.")
    pytest.skip("strace is not installed")

@pytest.fixture
def missing():
    raise RuntimeError

def test_too_early(missing, claim):
    pass

def test_something_else():
    pass
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """What a run with one test of every outcome writes down."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_them.py").write_text(TESTS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FAULTS_RESULTS": str(tmp_path / "results.jsonl")}
    environment.pop("FAULTS", None)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "claims", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert "1 failed, 1 passed, 1 skipped, 1 deselected, 1 error" in done.stdout, done.stdout
    return tmp_path / "results.jsonl"


def test_every_outcome_is_written_down_and_shown(results: Path) -> None:
    lines = {line["test"].partition("::")[2]: line for line in read(results)}
    assert {name: line["outcome"] for name, line in lines.items()} == {
        "test_shown": "passed", "test_broken": "failed", "test_absent": "skipped", "test_too_early": "failed",
    }  # fmt: skip
    assert (lines["test_shown"]["count"], lines["test_shown"]["seed"]) == (12, 3)
    (commit,) = {line["commit"] for line in lines.values()}
    page = render(list(lines.values()), command="make faults")
    assert "1 of 4 claims shown" in page and f"commit `{commit}`, command `make faults`" in page
    rows = [row for row in page.splitlines() if "test_them.py" in row]
    assert len(rows) == 4 and all(row.replace("\\|", "").count("|") == 9 for row in rows)
    assert "| N-01 | Nothing is lost. | 12 kills | small | saves 4, seed 3, " in page
    assert "(ended before it said what it shows)" in rows[0] and "**failed**" in rows[0]
    assert "Nothing \\| is torn." in rows[2] and "**failed**: AssertionError: three of four" in rows[2]
    assert "not tried: strace is not installed" in rows[3]


def test_the_last_run_of_a_test_counts(results: Path) -> None:
    first = next(line for line in read(results) if line["id"] == "N-02")
    better: dict[str, Any] = {**first, "outcome": "passed", "count": 5}
    with results.open("a") as file:
        file.write(json.dumps(better) + "\n")
    assert [line["outcome"] for line in read(results) if line["id"] == "N-02"] == ["passed"]


def test_a_run_of_some_tests_keeps_the_other_lines(results: Path, tmp_path: Path) -> None:
    page, again = tmp_path / "page.md", tmp_path / "again.jsonl"
    command = [sys.executable, "-m", "tests.faults.report"]
    subprocess.run([*command, str(results), "--page", str(page)], cwd=ROOT, check=True, timeout=60)
    (broken,) = [line for line in read(results) if line["test"].endswith("test_broken")]
    mended = {**broken, "outcome": "passed", "text": "Nothing is torn any more.", "commit": "repaired"}
    again.write_text(json.dumps(mended) + "\n", "utf-8")
    subprocess.run([*command, str(again), "--page", str(page), "--part"], cwd=ROOT, check=True, timeout=60)
    told = page.read_text("utf-8")
    assert "2 of 4 claims shown" in told and "`repaired`" in told and "Nothing is lost." in told
    assert "Nothing is torn any more." in told and "Nothing \\| is torn." not in told
    subprocess.run([*command, str(again), "--page", str(page)], cwd=ROOT, check=True, timeout=60)
    assert "1 of 1 claims shown" in page.read_text("utf-8")


def test_the_page_in_docs_is_made_of_the_figures_beside_it_and_its_tests_exist() -> None:
    lines = read(PAGE.with_suffix(".jsonl"))
    command = PAGE.read_text("utf-8").partition(", command `")[2].partition("`")[0]
    assert render(lines, command=command) == PAGE.read_text("utf-8")
    for name in {line["test"] for line in lines}:
        path, _, function = name.partition("::")
        assert f"def {function.partition('[')[0]}(" in (ROOT / path).read_text("utf-8"), name
