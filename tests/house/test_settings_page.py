"""The page about settings names every one with what it is when nothing is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from annotator.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", re.MULTILINE)


def said(default: Any) -> str:
    """How the page writes a default."""
    if default is None or default == ():
        return "not given" if default is None else "none"
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"


def test_every_setting_stands_on_the_page_with_its_default() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Settings\n")[2].partition("\n## ")[0]
    found = {name: default for name, default, _ in ROW.findall(section)}
    assert found == {name: said(field.default) for name, field in Settings.model_fields.items()}
