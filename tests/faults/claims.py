"""What a run of the tests has shown: a line of JSON for each claim, for `docs/reliability.md`.

`FAULTS=full` in the environment chooses the large sizes; without it every test has a size that suits each
change. `FAULTS_RESULTS=FILE` makes the run append one line per claim to FILE; tests that use `claim` carry
the marker `claims`, so `pytest -m claims` runs all of them, in whatever folder they are.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FULL = os.environ.get("FAULTS", "") == "full"
RESULTS = "FAULTS_RESULTS"
LONGEST = 600  # characters of a reason
ROOT = Path(__file__).resolve().parents[2]


def size(small: int, full: int) -> int:
    """How many: `small` for each change, `full` with FAULTS=full."""
    return full if FULL else small


@dataclass
class Claimed:
    """One sentence and how far it was tried; a test sets `count` to what it really did."""

    id: str
    text: str
    count: int = 0
    unit: str = "cases"
    seed: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    def done(self, count: int, **figures: Any) -> None:
        """Set the count reached and add figures to show beside it."""
        self.count = count
        self.figures |= figures


class Claims:
    """The claims of one test: call it with id and sentence before the work, `done` after it."""

    def __init__(self) -> None:
        self.made: list[Claimed] = []

    def __call__(
        self, id: str, text: str, *, unit: str = "cases", seed: int | None = None, count: int = 0
    ) -> Claimed:
        """Say what the test is about to show."""
        made = Claimed(id=id, text=text, unit=unit, seed=seed, count=count)
        self.made.append(made)
        return made


_KEY = pytest.StashKey[Claims]()


@pytest.fixture
def claim(request: pytest.FixtureRequest) -> Claims:
    """The recorder of this test's claims."""
    made = Claims()
    request.node.stash[_KEY] = made
    return made


def mark_claims(items: list[pytest.Item]) -> None:
    """Give every test that records claims the marker `claims`."""
    for item in items:
        if "claim" in getattr(item, "fixturenames", ()):
            item.add_marker("claims")


def record(item: pytest.Item, report: pytest.TestReport) -> None:
    """Append the outcome of one test to the results file, where one is asked for."""
    target = os.environ.get(RESULTS)
    ended = report.when == "call" or (report.when == "setup" and not report.passed)
    if not target or not ended or "claim" not in getattr(item, "fixturenames", ()):
        return
    found = item.stash.get(_KEY, Claims()).made or [Claimed(id="", text="")]
    with Path(target).open("a", encoding="utf-8") as file:
        for made in found:
            line = {
                **asdict(made),
                "test": item.nodeid,
                "outcome": report.outcome,
                "reason": _reason(report),
                "seconds": round(report.duration, 1),
                "full": FULL,
                "commit": current_commit(),
                "at": time.strftime("%Y-%m-%d", time.gmtime()),
            }
            file.write(json.dumps(line, sort_keys=True) + "\n")


@cache
def current_commit() -> str:
    """Short name of the commit that is tested; with `+` when the tree has changes."""
    options = {"cwd": ROOT, "capture_output": True, "text": True, "check": True}
    name: str = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **options).stdout.strip()  # type: ignore[call-overload]
    changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **options).stdout  # type: ignore[call-overload]
    return name + ("+" if changed else "")


def _reason(report: pytest.TestReport) -> str:
    """Why a test was skipped, or the first line of what made it fail; empty otherwise."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message).partition("\n")[0][:LONGEST] if report.failed and crash else ""


class Plugin:
    """The two hooks, for the `conftest.py` of all tests."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark before `-m` chooses."""
        mark_claims(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write each outcome down when it is known."""
        report = yield
        record(item, report)
        return report
