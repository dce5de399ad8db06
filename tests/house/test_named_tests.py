"""Pages that name tests as proof of what they say: every one of those tests exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("docs/reliability.md", "docs/asvs-v5.md", "SECURITY.md")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:\[[^`]*\])?`")
PROMISE = re.compile(r"^- ", re.MULTILINE)


@cache
def names_in(file: str) -> frozenset[str]:
    """Names of the test functions of a file; nothing for a file that is not there."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    machines = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }  # Hypothesis state machines become tests by `TestX = Machine.TestCase`
    return frozenset(found | machines)


def named(page: str) -> list[tuple[str, str]]:
    """(file, test) pairs that a page names."""
    return NAMED.findall((ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    found = named(page)
    assert found, f"{page} names no test"
    missing = [f"{file}::{name}" for file, name in found if name not in names_in(file)]
    assert missing == []


def test_every_promise_of_the_security_page_names_its_test() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    promised = text.partition("## What is promised")[2].partition("## What is not promised")[0]
    promises = PROMISE.split(promised)[1:]
    assert len(promises) >= 10
    assert [promise for promise in promises if not NAMED.search(promise)] == []


def test_every_claim_of_the_reliability_page_names_its_test() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 10
    assert [row for row in rows if not NAMED.search(row)] == []


def test_a_name_that_does_not_exist_is_seen() -> None:
    assert "test_a_name_that_does_not_exist_is_seen" in names_in("tests/house/test_named_tests.py")
    assert "test_no_such_thing" not in names_in("tests/house/test_named_tests.py")
    assert names_in("tests/no_such_file.py") == frozenset()
