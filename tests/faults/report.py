"""Writes docs/reliability.md, and the figures it is made of beside it, from the results of a run.

    python -m tests.faults.report RESULTS [--part] [--command TEXT]

RESULTS is the file that FAULTS_RESULTS named, see `claims`. Every sentence of the page comes from a test that
said it, with how far it was tried and how it ended; nothing in the table is written by hand. After a run of
some tests only (`--part`) the others keep their last outcome, with the commit that it belongs to.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
HEAD = """# Reliability

What the tests of faults have shown. This page is made by `make faults` from what the run wrote down; the ids
are those of the abuse cases (A), faults (R) and numbers (N) that the tests were written for. A test that was
skipped shows nothing and says why. The small sizes run with every change, the full ones on demand.

"""
OUTCOMES = {"passed": "shown", "failed": "**failed**", "skipped": "not tried"}
Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """The lines of a results file; a test that ran twice counts with its last run."""
    last: dict[tuple[str, str, str], Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        last[line["test"], line["id"], line["text"]] = line
    return in_order(last.values())


def in_order(lines: Iterable[Line]) -> list[Line]:
    """By id, then by test."""
    return sorted(lines, key=lambda line: (line["id"], line["test"], line["text"]))


def render(lines: Sequence[Line], *, command: str) -> str:
    """The page."""
    shown = sum(line["outcome"] == "passed" for line in lines)
    days = sorted({line["at"] for line in lines})
    when = days[0] if days[:1] == days[-1:] else f"{days[0]} to {days[-1]}"
    commits = sorted({line["commit"] for line in lines})
    tested = f"commit{'s' * (len(commits) > 1)} " + ", ".join(f"`{commit}`" for commit in commits)
    told = f"{shown} of {len(lines)} claims shown; {when}, {tested}, command `{command}`.\n\n"
    table = ["| id | claim | tried | size | figures | outcome | commit | test |", "| --- " * 8 + "|"]
    return HEAD + told + "\n".join([*table, *map(row, lines)]) + "\n"


def row(line: Line) -> str:
    """One line of the table."""
    seed = [] if line["seed"] is None else [f"seed {line['seed']}"]
    figures = [f"{name.replace('_', ' ')} {value}" for name, value in sorted(line["figures"].items())]
    cells = (
        line["id"] or "?",
        line["text"] or "(ended before it said what it shows)",
        f"{line['count']:,} {line['unit']}" if line["count"] else "",
        "full" if line["full"] else "small",
        ", ".join([*figures, *seed, f"{line['seconds']:g} s"]),
        OUTCOMES[line["outcome"]] + (f": {line['reason']}" if line["reason"] else ""),
        f"`{line['commit']}`",
        f"`{line['test']}`",
    )
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def main() -> None:
    """Write the page and its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--command", default="make faults")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--part", action="store_true", help="keep what the page says of other tests")
    options = parser.parse_args()
    figures = options.page.with_suffix(".jsonl")
    lines = read(options.results)
    if options.part and figures.exists():
        again = {line["test"] for line in lines}
        lines = in_order([*lines, *(line for line in read(figures) if line["test"] not in again)])
    figures.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines), "utf-8")
    options.page.write_text(render(lines, command=options.command), "utf-8")


if __name__ == "__main__":
    main()
