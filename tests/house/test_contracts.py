"""Who may import whom, seen at run time; the static half is .importlinter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(chr(10).join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "module",
    [
        "annotator.api.app",
        "annotator.actions",
        "annotator.suggesting",
        "annotator.ordering",
        "annotator.importing",
        "annotator.exporting",
        "annotator.snapshotting",
        "annotator.keeping.doctor",
        "annotator.cli",
    ],
)
def test_the_web_side_runs_without_torch_and_gradio(module: str) -> None:
    assert not modules_after(f"import {module}") & {"torch", "torchvision", "openvino", "gradio"}


def test_the_page_runs_without_torch() -> None:
    assert "torch" not in modules_after("import annotator.ui.app")


def test_the_server_never_loads_pycocotools() -> None:
    """Small malformed files end a process that reads them with it."""
    loaded = modules_after("import annotator.ui.app, annotator.cli, annotator.worker.process")
    assert "pycocotools" not in loaded
    sources = [path for room in ("annotator", "db", "dsrb_core") for path in (ROOT / room).rglob("*.py")]
    assert sources and [path for path in sources if "import pycocotools" in path.read_text("utf-8")] == []
    assert [path for path in sources if "from pycocotools" in path.read_text("utf-8")] == []


def test_the_worker_runs_without_gradio() -> None:
    assert not modules_after("import annotator.worker.process") & {"gradio", "fastapi"}
