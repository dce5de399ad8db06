"""Can the assistant be trusted, and does it answer at once: calibration, neighbours, speed at full size.

    python benchmarks/trust.py --data DIR [--images 6000] [--known 0.1] [--floor] [--seed 0] [--cache DIR]
    python benchmarks/trust.py --quick

DIR is any set that `python -m dsrb_core bench` reads; features (`lite0-320`) are extracted before anything
else. The assistant is trained on the known cells of the training pictures (`--floor`: without its residual)
and suggests as it does for people: model, propagation, vote of decided neighbours, context, calibration.
Compared in one run: its probabilities with the uncalibrated model's, on the hidden cells of the same
pictures; neighbours by category-specific vectors with those by whole pictures; inverted lists with exact
search; and, by `trust_service.py` in a process of its own, with 100,000 pictures, the first answers after a
training with those that follow.
`--quick` draws maps and a project of 3,000 pictures. The last line is `RESULT {json}`:

    ece_pooled              calibration error (15 bins) of the suggested probabilities, all hidden cells
    ece_worst               the same of the worst category with at least 200 hidden cells
    precision_at_10_category, precision_at_10_image
                            share of positives among the ten nearest other pictures of confirmed positives, by
                            the category's instance vectors and by pooled features, mean over categories
    suggest_p95_ms, next_p95_ms, neighbour_update_ms
                            see `trust_service.py`; one thread
    recall_at_10            inverted lists of 50,000 instances against exact search, least of three categories
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script's own folder is on the path, the repository is not

from benchmarks.photographs import photographs  # noqa: E402
from benchmarks.trust_method import (  # noqa: E402
    LEAST_CELLS,
    Calibration,
    Problem,
    Trained,
    calibration,
    precision,
    recall,
    train,
)
from dsrb_core.config import TrainConfig  # noqa: E402
from dsrb_core.labels import Labels, hide_labels  # noqa: E402

RECALL = {"size": 50_000, "columns": 3}  # vectors of an index, categories
QUICK_RECALL = {"size": 20_500, "columns": 1}


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    problem = _drawn() if options.quick else _photographs(options.data, options.cache, options.images)
    partial = hide_labels(problem.labels[problem.train], options.known, seed=options.seed)
    training = TrainConfig(seed=options.seed, epochs=3) if options.quick else TrainConfig(seed=options.seed)
    began = time.perf_counter()
    trained = train(problem, partial, training, floor=options.floor)
    print(f"trained and suggested: {time.perf_counter() - began:.1f} s, gate {trained.gate:g}", flush=True)
    figures = _calibrated(problem, partial, trained) | _neighbours(problem, partial, trained, options.seed)
    began = time.perf_counter()
    wanted = QUICK_RECALL if options.quick else RECALL
    figures["recall_at_10"] = recall(trained.instances, **wanted, seed=options.seed)
    print(f"recall@10 {figures['recall_at_10']:.4f} in {time.perf_counter() - began:.1f} s", flush=True)
    figures |= _service(options)
    print("RESULT " + json.dumps({name: round(value, 4) for name, value in figures.items()}))


def _calibrated(problem: Problem, partial: Labels, trained: Trained) -> dict[str, float]:
    """The suggestions' calibration on hidden cells; the model's and that on test pictures are told too."""
    truth, count = problem.labels[problem.rows], len(problem.train)
    hidden = np.where(partial == 0, truth[:count], 0).astype(np.int8)
    _tell("hidden cells, model alone", calibration(trained.logits[:count], hidden), problem)
    own = calibration(trained.suggested[:count], hidden)
    _tell("hidden cells, suggestions", own, problem)
    if (np.count_nonzero(truth[count:], axis=0) >= LEAST_CELLS).any():
        _tell("test pictures, model alone", calibration(trained.logits[count:], truth[count:]), problem)
        _tell("test pictures, suggestions", calibration(trained.suggested[count:], truth[count:]), problem)
    return {"ece_pooled": own.pooled, "ece_worst": own.worst}


def _tell(what: str, found: Calibration, problem: Problem) -> None:
    print(
        f"ECE of {what}: {found.pooled:.4f} pooled, {found.worst:.4f} worst "
        f"({problem.categories[found.worst_column]}; {found.measured} categories of {LEAST_CELLS} cells)",
        flush=True,
    )


def _neighbours(problem: Problem, partial: Labels, trained: Trained, seed: int) -> dict[str, float]:
    """Precision@10 over all pictures; that over cells that nobody has answered is told too."""
    truth = problem.labels[problem.rows]
    pooled = np.asarray(problem.source.pooled()[problem.rows], np.float32)
    unknown = np.ones(truth.shape, np.bool_)
    unknown[: len(partial)] = partial == 0
    own = precision(trained, pooled, truth, partial, seed=seed)
    open_ = precision(trained, pooled, truth, partial, seed=seed, candidates=unknown)
    for what, found in (("all pictures", own), ("unknown cells alone", open_)):
        print(
            f"precision@10 among {what}: category-specific {found.category:.4f}, whole pictures "
            f"{found.image:.4f}, at random {found.base:.4f} ({found.categories} categories)",
            flush=True,
        )
    return {"precision_at_10_category": own.category, "precision_at_10_image": own.image}


def _service(options: argparse.Namespace) -> dict[str, float]:
    """Run `trust_service.py` as the service runs, without torch beside it; its lines are passed on."""
    command = [sys.executable, str(ROOT / "benchmarks" / "trust_service.py"), "--seed", str(options.seed)]
    command += ["--quick"] if options.quick else ["--images", str(options.pictures)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    figures: dict[str, float] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=alone) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("RESULT "):
                figures = json.loads(line.removeprefix("RESULT "))
            else:
                print(line, end="", flush=True)
    if child.returncode or not figures:
        raise SystemExit(f"trust_service.py ended with status {child.returncode}; what it said is above.")
    return figures


def _drawn() -> Problem:
    """320 maps in which each category shines at one place, 8 categories."""
    from tests.references import localised

    source, labels, _ = localised(320, categories=8, dim=64, side=4)
    names = [f"category {number}" for number in range(8)]
    return Problem(source, labels, names, np.arange(260), np.arange(260, 320))


def _photographs(folder: Path, cache: Path | None, images: int) -> Problem:
    dataset, source = photographs(folder, cache)
    return Problem(source, dataset.labels, list(dataset.categories), dataset.train[:images], dataset.test)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of a set with complete labels")
    parser.add_argument("--images", type=int, default=6000, help="most training pictures")
    parser.add_argument("--known", type=float, default=0.1)
    parser.add_argument("--floor", action="store_true", help="the linear floor without a residual")
    parser.add_argument("--pictures", type=int, default=100_000, help="pictures of the drawn project")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="of the training; the service has one")
    parser.add_argument("--cache", type=Path, help="features; default: a folder for temporary files")
    parser.add_argument("--quick", action="store_true", help="drawn maps and a small project, seconds")
    options = parser.parse_args()
    if not options.quick and options.data is None:
        parser.error("--data is needed unless --quick is given.")
    if not 0 < options.known < 1:
        parser.error(f"--known must lie between 0 and 1, both left out, not {options.known:g}.")
    return options


if __name__ == "__main__":
    main()
