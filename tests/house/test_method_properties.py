"""docs/method-properties.md names the tests of each property of the method; every one of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
NAMED = re.compile(r"`(test_\w+)\.py::(test_\w+)`")


def rows() -> dict[int, list[tuple[str, str]]]:
    text = (ROOT / "docs" / "method-properties.md").read_text(encoding="utf-8")
    return {int(number): NAMED.findall(tests) for number, tests in ROW.findall(text)}


def test_all_nineteen_properties_have_tests() -> None:
    assert sorted(rows()) == list(range(1, 20))
    assert all(rows().values())


def test_every_test_that_is_named_exists() -> None:
    for number, named in rows().items():
        for file, name in named:
            tree = ast.parse((ROOT / "tests" / "dsrb_core" / f"{file}.py").read_text(encoding="utf-8"))
            found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in found, f"property {number}: {file}.py has no {name}"
