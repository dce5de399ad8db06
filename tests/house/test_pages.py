"""Pages say a thing once: a paragraph that was put in again by mistake is found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_paragraph_stands_on_a_page_twice(page: Path) -> None:
    paragraphs = [one.strip() for one in page.read_text(encoding="utf-8").split("\n\n")]
    twice = [text[:80] for text, count in Counter(paragraphs).items() if count > 1 and len(text) > 80]
    assert twice == []
