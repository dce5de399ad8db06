"""The house numbers of docs/architecture.md, held by reading the source."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("annotator", "dsrb_core", "db", "assets")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_no_property_is_held_against_the_clock() -> None:
    assert hypothesis.settings.default is not None and hypothesis.settings.default.deadline is None


def test_the_sources_are_found() -> None:
    assert len(SOURCES) > 40


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_over_400_lines_and_no_function_over_60(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert {node.name: lines(node) for node in functions(path) if lines(node) > 60} == {}


def test_nine_files_in_ten_stay_within_250_lines() -> None:
    sizes = [len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES]
    assert statistics.quantiles(sizes, n=10)[-1] <= 250


def test_half_the_functions_fit_in_a_dozen_lines() -> None:
    assert statistics.median(lines(node) for path in SOURCES for node in functions(path)) <= 12


def broad_handlers(path: Path) -> list[int]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
        )
    ]


def test_a_broad_except_stands_at_the_borders_only() -> None:
    """The worker's loop, the page's border, and three places that clean up or pass the error on."""
    allowed = {
        "annotator/worker/loop.py",
        "annotator/store/writer.py",
        "annotator/artifacts.py",
        "annotator/ui/border.py",
    }
    found = {str(path.relative_to(ROOT)) for path in SOURCES if broad_handlers(path)}
    assert found <= allowed


def test_the_two_requirement_lists_differ_in_faiss_alone() -> None:
    def wanted(name: str) -> set[str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return {line for line in text.splitlines() if line and not line.startswith("#")}

    cpu, gpu = wanted("requirements.txt"), wanted("requirements-gpu.txt")
    assert {line.split(">")[0] for line in cpu - gpu} == {"faiss-cpu"}
    assert {line.split(">")[0] for line in gpu - cpu} == {"faiss-gpu"}


def test_torch_and_torchvision_are_an_exact_pair() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "torch==2.14.1" in text and "torchvision==0.29.1" in text
