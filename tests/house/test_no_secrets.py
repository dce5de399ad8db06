"""No key, token or password hash stands in the sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("annotator", "assets", "benchmarks", "db", "docs", "dsrb_core", "tests")
SUFFIXES = frozenset(
    {".py", ".js", ".css", ".html", ".md", ".toml", ".txt", ".sql", ".json", ".cfg", ".ini", ".yml"}
)
SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"
    r"|\bannotator_[A-Za-z0-9_-]{43}\b"  # a token of ours
    r"|\$argon2id\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]{16,}\$[A-Za-z0-9+/]{32,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bhf_[A-Za-z0-9]{34}\b|\bxox[abp]-[A-Za-z0-9-]{20,}"
    r"|(?i:secret_key|api_key|password)[\"']?\s*[:=]\s*[\"'][A-Za-z0-9+/_=-]{32,}[\"']"
)


def sources() -> list[Path]:
    found = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.suffix in SUFFIXES]
    return found + [path for path in ROOT.iterdir() if path.is_file() and path.suffix in SUFFIXES]


def test_no_source_holds_a_secret() -> None:
    """A-05."""
    assert len(sources()) > 200
    found = {
        f"{path.relative_to(ROOT)}: {match[0][:12]}..."
        for path in sources()
        for match in SECRET.finditer(path.read_text(encoding="utf-8", errors="replace"))
    }
    assert not found


@pytest.mark.parametrize(
    "planted",
    [
        "-----BEGIN " + "PRIVATE KEY-----",
        "annotator_" + "a" * 43,
        "$argon2id$v=19$m=65536,t=3,p=4$" + "a" * 22 + "$" + "b" * 43,
        'SECRET_KEY = "' + "a" * 40 + '"',
    ],
)
def test_a_planted_one_would_be_seen(planted: str) -> None:
    assert SECRET.search(planted)
