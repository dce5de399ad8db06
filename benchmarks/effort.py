"""How few answers finish a set: a simulated annotator against ground truth, retrains included.

    python benchmarks/effort.py --data DIR [--images 2000] [--seeds 0,1,2] [--cache DIR] [--out DIR]
    python benchmarks/effort.py --quick

DIR is any set that `python -m dsrb_core bench` reads. An answer decides one cell. Final labels are all
answers and, without asking, the most likely open cells, as many as leave the expected precision at 0.96.
Compared: every cell in the order of the pictures, random cells and uncertainty with the logistic regression,
the most likely cells by neighbours of whole pictures, and the product's own order with its own model;
`--ablations` adds what the parts of ours are worth. A run that was stopped goes on where it was (`--out`).
Modelled seconds: 1.0 to open a picture or a grid, 1.7 a cell of a picture, 0.6 a cell of a grid
(annotator.ordering.pace).

The last line is `RESULT {json}`, means over the seeds for 90 % of the positives at 95 % precision:

    share_of_exhaustive       our answers / those of the exhaustive order
    share_of_best_baseline    our answers / those of the best other way
    precision, recall         of our final labels there

null where a way did not come that far within `--most` of the cells. Curves are drawn to OUT/effort.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script's own folder is on the path, the repository is not

from benchmarks.effort_loop import (  # noqa: E402
    ABLATIONS,
    WAYS,
    Point,
    Problem,
    Run,
    Way,
    play,
    sorted_by_a_full_model,
)
from benchmarks.photographs import photographs  # noqa: E402
from dsrb_core.plot import Panel, line_chart  # noqa: E402
from dsrb_core.plot import Point as Mark  # noqa: E402

RECALLS = (0.90, 0.95, 0.99)
BOUNDS = (0.70, 0.80, 0.85, 0.90, 0.95)
PRECISION = 0.95
OURS, EXHAUSTIVE = "ours", "exhaustive"


def main() -> None:
    """Play every way with every seed and print the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    ways = [way for way in (*WAYS, *(ABLATIONS if options.ablations else ())) if _wanted(way, options.ways)]
    seeds = [int(seed) for seed in options.seeds.split(",")]
    runs = []
    with Progress(transient=not sys.stdout.isatty()) as progress:
        task = progress.add_task("playing", total=len(ways) * len(seeds))
        for seed in seeds:
            problem = _drawn(seed) if options.quick else _photographs(options, seed)
            for way in ways:
                progress.update(task, description=f"{way.name}, seed {seed}")
                runs.append(_played(problem, way, seed, options))
                progress.advance(task)
    cells = problem.truth.size
    if options.bound:
        bound = sorted_by_a_full_model(problem, BOUNDS, seed=seeds[-1])
        ours = [_mean(runs, OURS, share) for share in BOUNDS]
        print("share of positives: " + " / ".join(f"{share:.0%}" for share in BOUNDS))
        print("sorted by a model of all other labels: " + " / ".join(f"{one:.1%}" for one in bound))
        print("ours: " + " / ".join("–" if one is None else f"{one / cells:.1%}" for one in ours))
    print(_table(runs, [way.name for way in ways], cells))
    (options.out / "effort.png").write_bytes(_plot(runs, [way.name for way in ways], cells))
    print(f"Curves: {options.out / 'effort.png'}")
    print("RESULT " + json.dumps(_result(runs)))


def _played(problem: Problem, way: Way, seed: int, options: argparse.Namespace) -> Run:
    kept = options.out / f"{way.name.replace(', ', '-').replace(' ', '-')}-{seed}.json"
    if kept.exists() and not options.quick:
        return Run(way.name, seed, [Point(**one) for one in json.loads(kept.read_text(encoding="utf-8"))])
    points = list(play(problem, way, seed=seed, growth=options.growth, most=options.most))
    kept.write_text(json.dumps([asdict(one) for one in points]), encoding="utf-8")
    return Run(way.name, seed, points)


def needed(run: Run, recall: float, *, what: str = "answers") -> float | None:
    """Answers (or `seconds`, `precision`) at which a run first has `recall` at the wanted precision, linear
    between two rounds; None when it never has. Where what was taken unasked is not precise enough, only
    answers count.
    """
    before: tuple[float, float] | None = None
    for point in run.points:
        precise = point.precision >= PRECISION
        reached = point.recall if precise else point.answered
        value = {
            "answers": float(point.answers),
            "seconds": point.seconds,
            "precision": point.precision if precise else 1.0,
            "recall": reached,
        }[what]
        if reached >= recall:
            if before is None or reached <= before[0]:
                return value
            part = (recall - before[0]) / (reached - before[0])
            return value if what in ("precision", "recall") else before[1] + part * (value - before[1])
        before = reached, value
    return None


def _mean(runs: Sequence[Run], way: str, recall: float, what: str = "answers") -> float | None:
    found = [needed(run, recall, what=what) for run in runs if run.way == way]
    return None if not found or None in found else float(np.mean([one for one in found if one is not None]))


def _result(runs: Sequence[Run]) -> dict[str, float | None]:
    names = {way.name for way in WAYS} - {OURS}
    ours = _mean(runs, OURS, 0.90)
    every = _mean(runs, EXHAUSTIVE, 0.90)
    others = [found for name in names if (found := _mean(runs, name, 0.90)) is not None]
    figures = {
        "share_of_exhaustive": None if ours is None or every is None else ours / every,
        "share_of_best_baseline": None if ours is None or not others else ours / min(others),
        "precision": _mean(runs, OURS, 0.90, "precision"),
        "recall": _mean(runs, OURS, 0.90, "recall"),
    }
    return {name: None if value is None else round(value, 4) for name, value in figures.items()}


def _table(runs: Sequence[Run], names: Sequence[str], cells: int) -> str:
    head = "| way | " + " | ".join(f"{100 * r:.0f} %: answers (share of cells) | hours" for r in RECALLS)
    lines = [
        head + " | mAP at 5 / 10 / 20 % of cells |",
        "| --- |" + " ---: | ---: |" * len(RECALLS) + " --- |",
    ]
    for name in names:
        row = [name]
        for recall in RECALLS:
            each = [needed(run, recall) for run in runs if run.way == name]
            mean, seconds = _mean(runs, name, recall), _mean(runs, name, recall, "seconds")
            if mean is None or seconds is None:
                row += ["not reached" if not any(each) else "not by every seed", ""]
                continue
            spread = np.ptp([one for one in each if one is not None]) / 2
            row += [f"{mean:,.0f} ± {spread:,.0f} ({mean / cells:.1%})", f"{seconds / 3600:.1f}"]
        quality = [_map_at(runs, name, share * cells) for share in (0.05, 0.1, 0.2)]
        row.append(" / ".join("–" if one is None else f"{100 * one:.1f}" for one in quality))
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _at(run: Run, answers: float, name: str) -> float | None:
    """A figure of a run after so many answers, linear between two rounds."""
    points = [(one.answers, getattr(one, name)) for one in run.points if getattr(one, name) is not None]
    if not points or not points[0][0] <= answers <= points[-1][0]:
        return None
    return float(np.interp(answers, *zip(*points, strict=True)))


def _map_at(runs: Sequence[Run], name: str, answers: float) -> float | None:
    found = [_at(run, answers, "map") for run in runs if run.way == name]
    return None if None in found or not found else float(np.mean([one for one in found if one is not None]))


def _plot(runs: Sequence[Run], names: Sequence[str], cells: int) -> bytes:
    """Positives found by answers, and mAP by answers."""
    shares = [
        0.01,
        0.02,
        0.04,
        0.06,
        0.08,
        0.1,
        0.15,
        0.2,
        0.25,
        0.3,
        0.35,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
        1.0,
    ]
    panels = []
    for title, figure in (("positives found", "recall"), ("mAP on other pictures", "map")):
        lines = {}
        for name in names:
            marks = []
            for share in shares:
                found = [_at(run, share * cells, figure) for run in runs if run.way == name]
                real = [one for one in found if one is not None]
                whole = bool(real) and len(real) == len(found)
                mean, spread = (float(np.mean(real)), float(np.std(real))) if whole else (None, None)
                marks.append(Mark(share, mean, spread))
            lines[name] = marks
        panels.append(Panel(title, "share of all cells asked", f"{title} (%)", lines))
    return line_chart(panels)


def _drawn(seed: int) -> Problem:
    """240 maps in which each category shines at one place, 8 categories."""
    from tests.references import localised

    source, labels, _ = localised(240, categories=8, dim=32, side=3, strength=5.0, seed=seed)
    return Problem(source, labels, np.arange(180), np.arange(180, 240))


def _photographs(options: argparse.Namespace, seed: int) -> Problem:
    dataset, source = photographs(options.data, options.cache)
    asked = np.random.default_rng(seed).permutation(dataset.train)[: options.images]
    return Problem(source, dataset.labels, np.sort(asked), dataset.test[: options.images // 4])


def _wanted(way: Way, names: str) -> bool:
    return not names or way.name in names.split(";")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of a set with complete labels")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--growth", type=float, default=0.15, help="answers of a round / answers so far")
    parser.add_argument("--most", type=float, default=1.0, help="share of cells at which a run ends")
    parser.add_argument("--ways", default="", help="names, separated by ; (default: all)")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--bound", action="store_true", help="also sort by a model of all other labels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="features; default: a folder for temporary files")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "annotator-effort")
    parser.add_argument("--quick", action="store_true", help="drawn maps, one seed, under 45 s")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.growth = "0", 0.5
    elif options.data is None:
        parser.error("--data is needed unless --quick is given.")
    return options


if __name__ == "__main__":
    main()
