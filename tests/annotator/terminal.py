"""Commands of the terminal, called in the process of a test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from annotator import cli

Run = Callable[..., tuple[int, str]]


def commands(
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> Run:
    """Calls `annotator` on a data folder, with words `before` and `after`: its exit code and all it said."""
    monkeypatch.setenv("ANNOTATOR_DATA_DIR", str(data_dir))
    monkeypatch.setenv("COLUMNS", "400")

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["annotator", *before, *map(str, arguments), *after])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return call
