"""The interactive retrain: from cached feature maps to suggestions, cold and warm, against the linear model.

    python benchmarks/retrain.py --data DIR [--images 6000] [--known 0.1] [--seed 0] [--cache DIR]
    python benchmarks/retrain.py --quick

DIR is any set that `python -m dsrb_core bench` reads; features (`lite0-320`) are extracted before the clock
starts. Cold is a run from nothing: maps read, floor, check, residual, prediction of every picture,
propagation, neighbours, context, calibration. Warm is the same after 100 new decisions, started from the cold
model, whose gate and held-out cells it takes over. `--quick` draws 300 small maps instead of reading a
folder. The last line is `RESULT {json}`:

    cold_s, warm_s, linear_s         seconds of the two runs and of the plain logistic regression
    map_cold, map_warm, map_linear   mAP (0..1) on the test pictures
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script's own folder is on the path, the repository is not

from benchmarks.photographs import photographs  # noqa: E402
from dsrb_core.config import DSRBConfig, TrainConfig  # noqa: E402
from dsrb_core.labels import Labels, hide_labels  # noqa: E402
from dsrb_core.method import Rows, Subset  # noqa: E402
from dsrb_core.methods import method  # noqa: E402
from dsrb_core.metrics import mean_average_precision  # noqa: E402
from dsrb_core.neighbour_methods import Array, Learnt, suggested  # noqa: E402
from dsrb_core.tokens import MapSource  # noqa: E402
from dsrb_core.trainer import FitResult, fit  # noqa: E402

NEW_DECISIONS = 100


@dataclass(frozen=True)
class Problem:
    """Maps of all pictures, complete labels (N, C), and the rows that train and test."""

    source: MapSource
    labels: Labels
    train: Rows
    test: Rows


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    problem = _drawn() if options.quick else _photographs(options.data, options.cache, options.images)
    truth = problem.labels[problem.train]
    partial = hide_labels(truth, options.known, seed=options.seed)
    training = TrainConfig(seed=options.seed)

    began = time.perf_counter()
    linear = _linear(problem, partial, training)
    linear_s = time.perf_counter() - began
    print(f"linear: {linear_s:.1f} s")

    cold, first, cold_s = _run(problem, partial, training, warm=None)
    print(f"cold: {cold_s:.1f} s, gate {float(first.model.gate):g}")

    more = partial.copy()
    hidden = np.argwhere(partial == 0)
    drawn = np.random.default_rng(options.seed).permutation(len(hidden))[:NEW_DECISIONS]
    rows, columns = hidden[drawn].T
    more[rows, columns] = truth[rows, columns]
    warm, _, warm_s = _run(problem, more, training, warm=first)
    print(f"warm, after {len(drawn)} decisions: {warm_s:.1f} s")

    asked = problem.labels[problem.test]
    count = len(problem.train)
    figures = {"cold_s": cold_s, "warm_s": warm_s, "linear_s": linear_s}
    figures |= {
        "map_cold": mean_average_precision(cold[count:], asked),
        "map_warm": mean_average_precision(warm[count:], asked),
        "map_linear": mean_average_precision(linear[problem.test], asked),
    }
    print("RESULT " + json.dumps({name: round(value, 4) for name, value in figures.items()}))


def _run(
    problem: Problem, labels: Labels, training: TrainConfig, *, warm: FitResult | None
) -> tuple[Array, FitResult, float]:
    """Logits of train and test rows behind each other, what was learnt, and the seconds it took."""
    began = time.perf_counter()
    part = Subset(problem.source, problem.train)
    result = fit(
        part,
        labels,
        config=DSRBConfig(),
        training=training,
        warm_start=None if warm is None else warm.model,
        recheck=warm is None,
        earlier=None if warm is None else warm.holdout,
    )
    rows = np.concatenate([problem.train, problem.test])
    logits = suggested(
        Learnt.of(result), Subset(problem.source, rows), labels, training=training, context=True
    )
    return logits, result, time.perf_counter() - began


def _linear(problem: Problem, labels: Labels, training: TrainConfig) -> Array:
    everywhere = np.zeros_like(problem.labels)
    everywhere[problem.train] = labels
    return method("linear").fit_predict(
        problem.source, everywhere, problem.train, problem.test, seed=training.seed, training=training
    )


def _drawn() -> Problem:
    """300 maps in which each category shines at one place, 12 categories."""
    from tests.references import localised

    source, labels, _ = localised(300, categories=12, dim=64, side=4)
    return Problem(source, labels, np.arange(200), np.arange(200, 300))


def _photographs(folder: Path, cache: Path | None, images: int) -> Problem:
    dataset, source = photographs(folder, cache)
    return Problem(source, dataset.labels, dataset.train[:images], dataset.test)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of a set with complete labels")
    parser.add_argument("--images", type=int, default=6000, help="most training pictures")
    parser.add_argument("--known", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="features; default: a folder for temporary files")
    parser.add_argument("--quick", action="store_true", help="drawn maps, a few seconds")
    options = parser.parse_args()
    if not options.quick and options.data is None:
        parser.error("--data is needed unless --quick is given.")
    return options


if __name__ == "__main__":
    main()
