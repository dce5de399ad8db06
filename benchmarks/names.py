"""How many pictures until the first yes of a new category: guessed from its name against other orders.

    python benchmarks/names.py --data DIR --vectors text|glove:PATH [--known 0.1] [--cache DIR]
    python benchmarks/names.py --quick

DIR is any set that `python -m dsrb_core bench` reads; its training pictures are used. Each category in turn
is the new one: nothing of it is known, of the others the linear model has learnt from `--known` of the
cells. Pictures are then looked at in the order of `dsrb_core.names`, in the diverse order that the product
has without a text model, or at random (expected), until the first that has the category.

The last line is `RESULT {json}`, means over the seeds:

    first_yes_named, first_yes_diverse, first_yes_random      median over the categories, in pictures
    share_better                                              categories found sooner than in diverse order
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script's own folder is on the path, the repository is not

from annotator.ordering.cold import k_means_plus_plus, projected, then_rest  # noqa: E402
from benchmarks.photographs import photographs  # noqa: E402
from dsrb_core.category_vectors import category_vectors  # noqa: E402
from dsrb_core.config import TrainConfig  # noqa: E402
from dsrb_core.labels import Labels  # noqa: E402
from dsrb_core.methods import METHODS  # noqa: E402
from dsrb_core.names import TEMPERATURE, mixed_scores, name_weights  # noqa: E402
from dsrb_core.protocol import partial_labels  # noqa: E402

ORDERS = ("named", "diverse", "random")
Ranks = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Scores (N, C), complete labels (N, C), picture features (N, D), vectors of the names (C, S)."""

    scores: npt.NDArray[np.float32]
    labels: Labels
    pooled: npt.NDArray[np.float32]
    vectors: npt.NDArray[np.float32]


def main() -> None:
    """Measure with every seed and print the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    found: dict[str, list[Ranks]] = {name: [] for name in ORDERS}
    for seed in (int(one) for one in options.seeds.split(",")):
        problem = _drawn(seed) if options.quick else _photographs(options, seed)
        for name, ranks in first_yes(problem, seed=seed, temperature=options.temperature).items():
            found[name].append(ranks)
    print(_table(found))
    print("RESULT " + json.dumps(_result(found)))


def first_yes(problem: Problem, *, seed: int, temperature: float = TEMPERATURE) -> dict[str, Ranks]:
    """Pictures looked at until the first yes (C,), by order; the random one is the expected value."""
    count, categories = problem.labels.shape
    picks = k_means_plus_plus(projected(problem.pooled, seed=seed), seed=seed)
    diverse = then_rest(picks, count)
    named, spread = [], []
    for category in range(categories):
        others = np.delete(np.arange(categories), category)
        weights = name_weights(problem.vectors[others], problem.vectors[category], temperature=temperature)
        scores = mixed_scores(problem.scores, others, weights)
        named.append(_rank(np.argsort(-scores, kind="stable"), problem.labels[:, category]))
        spread.append(_rank(diverse, problem.labels[:, category]))
    positives = (problem.labels == 1).sum(axis=0)
    chance = (count + 1) / (positives + 1)
    return dict(zip(ORDERS, (np.array(named), np.array(spread), chance), strict=True))


def _rank(order: npt.NDArray[np.int64], states: npt.NDArray[np.int8]) -> float:
    there = np.nonzero(states[order] == 1)[0]
    return float(there[0] + 1) if len(there) else float(len(order) + 1)


def _photographs(options: argparse.Namespace, seed: int) -> Problem:
    dataset, source = photographs(options.data, options.cache)
    vectors = category_vectors(options.vectors, dataset.categories)
    if vectors is None:
        raise SystemExit("--vectors must be text or glove:PATH.")
    partial = partial_labels(dataset, options.known, seed=seed)
    training = TrainConfig(device="cpu")
    scores = METHODS["linear"].fit_predict(
        source, partial, dataset.train, dataset.test, seed=seed, training=training
    )
    rows = dataset.train
    return Problem(np.asarray(scores)[rows], dataset.labels[rows], source.pooled()[rows], vectors)


def _drawn(seed: int) -> Problem:
    """Categories in groups of three that look alike and are called alike."""
    rng = np.random.default_rng(seed)
    count, groups, dim = 2000, 8, 16
    looks = np.repeat(rng.normal(size=(groups, dim)), 3, axis=0) + 0.5 * rng.normal(size=(3 * groups, dim))
    called = np.repeat(rng.normal(size=(groups, dim)), 3, axis=0) + 0.5 * rng.normal(size=(3 * groups, dim))
    labels = np.where(rng.random((count, 3 * groups)) < 0.02, 1, -1).astype(np.int8)
    pooled = (labels == 1) @ looks + 0.5 * rng.normal(size=(count, dim))
    scores = pooled @ looks.T / dim
    return Problem(scores.astype(np.float32), labels, pooled.astype(np.float32), called.astype(np.float32))


def _table(found: dict[str, list[Ranks]]) -> str:
    lines = ["| order | median, each seed | geometric mean | slowest tenth |", "| --- | --- | ---: | ---: |"]
    for name, ranks in found.items():
        medians = " ".join(f"{np.median(one):.1f}" for one in ranks)
        mean = np.mean([np.exp(np.log(one).mean()) for one in ranks])
        slow = np.mean([np.quantile(one, 0.9) for one in ranks])
        lines.append(f"| {name} | {medians} | {mean:.1f} | {slow:.0f} |")
    return "\n".join(lines)


def _result(found: dict[str, list[Ranks]]) -> dict[str, float]:
    medians = {
        f"first_yes_{name}": float(np.mean([np.median(one) for one in r])) for name, r in found.items()
    }
    pairs = zip(found["named"], found["diverse"], strict=True)
    return medians | {"share_better": float(np.mean([(ours < theirs).mean() for ours, theirs in pairs]))}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, help="set with complete labels")
    parser.add_argument("--vectors", default="text", help="text or glove:PATH")
    parser.add_argument("--known", type=float, default=0.1, help="share of the other categories' cells known")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--temperature", type=float, default=TEMPERATURE)
    parser.add_argument("--cache", type=Path, help="features; default: a folder for temporary files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="drawn data, seconds")
    options = parser.parse_args()
    if not options.quick and options.data is None:
        parser.error("give --data DIR, or --quick")
    return options


if __name__ == "__main__":
    main()
