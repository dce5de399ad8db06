"""What a protocol run reports: results.json, a Markdown page with two tables, and a plot."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from dsrb_core.datasets import Dataset
from dsrb_core.judging import Figures, mean_and_spread
from dsrb_core.methods import METHODS
from dsrb_core.plot import Panel, Point, line_chart
from dsrb_core.protocol import FORMAT, CellResult, Plan, write_atomic

Part = Literal["test", "hidden"]
COLUMNS = {
    "map": "mAP",
    "map_interpolated": "mAP interpolated",
    "cf1": "CF1",
    "of1": "OF1",
    "top3_cf1": "CF1 top-3",
    "top3_of1": "OF1 top-3",
}
"""What the terminal shows."""
ALL_COLUMNS = COLUMNS | {
    prefix + name: f"{name.upper()}{about}"
    for prefix, about in (("", ""), ("top3_", " top-3"))
    for name in ("cp", "cr", "op", "or")
}
FLOOR = "linear"
"""The method that the others are held against, where it is part of the plan."""
_PARTS: dict[Part, str] = {
    "test": "Test pictures",
    "hidden": "Hidden cells of labelled (training) pictures",
}


def summarise(results: Sequence[CellResult], part: Part) -> dict[tuple[str, float], dict[str, Point]]:
    """(method, known) -> figure -> mean and spread over seeds; x of a point is the known proportion."""
    grouped: dict[tuple[str, float], list[Figures]] = {}
    for result in results:
        grouped.setdefault((result.cell.method, result.cell.known), []).append(getattr(result, part))
    return {
        key: {
            name: Point(key[1], *mean_and_spread([figures[name] for figures in found])) for name in found[0]
        }
        for key, found in grouped.items()
    }


def averages(results: Sequence[CellResult], part: Part) -> dict[str, dict[str, Point]]:
    """Method -> figure -> plain mean over the proportions of each seed, then mean and spread over seeds."""
    seeds = list(dict.fromkeys(result.cell.seed for result in results))
    table: dict[str, dict[str, Point]] = {}
    for name in dict.fromkeys(result.cell.method for result in results):
        rows = [
            [getattr(r, part) for r in results if r.cell.method == name and r.cell.seed == seed]
            for seed in seeds
        ]
        table[name] = {
            figure: Point(0.0, *mean_and_spread([_plain_mean(f[figure] for f in row) for row in rows]))
            for figure in rows[0][0]
        }
    return table


def _plain_mean(values: Iterable[float | None]) -> float | None:
    return mean_and_spread(list(values))[0]


def _cell(point: Point) -> str:
    if point.mean is None:
        return "-"
    spread = "" if point.spread is None else f" ± {100 * point.spread:.1f}"
    return f"{100 * point.mean:.1f}{spread}"


def table(
    results: Sequence[CellResult], plan: Plan, part: Part, columns: Mapping[str, str] = COLUMNS
) -> list[str]:
    """Markdown lines: a row per proportion and method, then the average over proportions."""

    def row(first: Sequence[str], points: dict[str, Point]) -> str:
        return "| " + " | ".join([*first, *(_cell(points[name]) for name in columns)]) + " |"

    found = summarise(results, part)
    lines = [
        "| " + " | ".join(["known", "method", *columns.values()]) + " |",
        "| --- | --- " + "| ---: " * len(columns) + "|",
    ]
    for known in plan.known:
        lines += [row([f"{100 * known:g} %", name], found[name, known]) for name in plan.methods]
    if len(plan.known) > 1:
        lines += [row(["average", name], points) for name, points in averages(results, part).items()]
    return lines


def gains(results: Sequence[CellResult], plan: Plan, part: Part) -> list[str]:
    """Markdown lines: mAP gained over the floor, seed by seed; none without the floor or another method."""
    others = [name for name in plan.methods if name != FLOOR]
    if FLOOR not in plan.methods or not others:
        return []
    score = {(r.cell.method, r.cell.known, r.cell.seed): getattr(r, part)["map"] for r in results}

    def gain(name: str, known: float) -> str:
        pairs = [(score[name, known, seed], score[FLOOR, known, seed]) for seed in plan.seeds]
        return " ".join("-" if None in pair else f"{100 * (pair[0] - pair[1]):+.1f}" for pair in pairs)

    lines = ["| known | " + " | ".join(others) + " |", "| --- " * (len(others) + 1) + "|"]
    lines += [
        f"| {100 * known:g} % | " + " | ".join(gain(name, known) for name in others) + " |"
        for known in plan.known
    ]
    return lines


def _seconds(results: Sequence[CellResult], plan: Plan) -> list[str]:
    lines = ["| method | what it is | seconds per run |", "| --- | --- | ---: |"]
    for name in plan.methods:
        spent = [result.seconds for result in results if result.cell.method == name]
        lines.append(f"| {name} | {METHODS[name].about} | {sum(spent) / len(spent):.1f} |")
    return lines


def markdown(results: Sequence[CellResult], plan: Plan, dataset: Dataset) -> str:
    """The page."""
    seeds = ", ".join(map(str, plan.seeds))
    lines = [
        f"# {dataset.name}, partial labels",
        "",
        f"{len(dataset.train)} training and {len(dataset.test)} test pictures, {len(dataset.categories)} "
        f"categories. Features: `{plan.backbone}`, frozen. Labels are dropped by the published rule (every "
        f"cell on its own, nested over proportions), seeds {seeds}; figures are percentages, mean ± sample "
        "standard deviation over seeds. mAP is non-interpolated unless it says so; CF1 and OF1 count a "
        "logit of at least 0. Methods choose everything on known training cells; complete labels are read by "
        f"the report alone. Category vectors of an attention: {plan.category_vectors}.",
    ]
    for part, title in _PARTS.items():
        lines += ["", f"## {title}", "", *table(results, plan, part, ALL_COLUMNS)]
        if gained := gains(results, plan, part):
            lines += ["", f"mAP gained over `{FLOOR}`, each seed:", "", *gained]
    lines += ["", "![mAP by known proportion](results.png)", "", "## Methods", "", *_seconds(results, plan)]
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[CellResult], plan: Plan, dataset: Dataset) -> dict[str, Any]:
    """Everything measured: the cells as they are, and the two tables."""

    def rows(part: Part) -> list[dict[str, Any]]:
        return [
            {"method": name, "known": known} | {figure: _pair(point) for figure, point in points.items()}
            for (name, known), points in summarise(results, part).items()
        ]

    return {
        "format": FORMAT,
        "dataset": dataset.about(),
        "backbone": plan.backbone,
        "category_vectors": plan.category_vectors,
        "training": plan.training.to_dict(),
        "methods": {name: METHODS[name].about for name in plan.methods},
        "seeds": list(plan.seeds),
        "test": rows("test"),
        "hidden": rows("hidden"),
        "cells": [asdict(result) for result in results],
    }


def _pair(point: Point) -> dict[str, float | None]:
    return {"mean": point.mean, "spread": point.spread}


def panels(results: Sequence[CellResult], plan: Plan) -> list[Panel]:
    """The test and the hidden mAP over the known proportion, a line per method."""
    made = []
    for part, title in _PARTS.items():
        found = summarise(results, part)
        series = {name: [found[name, known]["map"] for known in sorted(plan.known)] for name in plan.methods}
        made.append(Panel(title, "known labels (%)", "mAP (%)", series))
    return made


def write_report(results: Sequence[CellResult], plan: Plan, dataset: Dataset, out: Path) -> list[Path]:
    """Write results.json, results.md and results.png into `out`; returns their paths."""
    paths = [out / "results.json", out / "results.md", out / "results.png"]
    text = json.dumps(as_json(results, plan, dataset), indent=1, allow_nan=False) + "\n"
    write_atomic(paths[0], text.encode())
    write_atomic(paths[1], markdown(results, plan, dataset).encode())
    write_atomic(paths[2], line_chart(panels(results, plan)))
    return paths
