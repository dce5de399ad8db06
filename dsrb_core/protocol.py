"""The published protocol (method.md 1): seeds x known proportions x methods on one set, restartable.

One cell of the grid is one file, written in one step; a run that was stopped goes on where it was. Methods
are given feature maps and partial labels; complete labels are read by `judge` alone.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsrb_core.backbones import load_backbone
from dsrb_core.cache import FeatureCache
from dsrb_core.category_vectors import LEARNED, Vectors, category_vectors
from dsrb_core.config import TrainConfig
from dsrb_core.datasets import Dataset
from dsrb_core.features import extract
from dsrb_core.judging import Figures, judge
from dsrb_core.labels import Labels, hide_labels
from dsrb_core.method import Method, OnEpoch, Scores
from dsrb_core.methods import method, with_category_vectors
from dsrb_core.tokens import MapSource

log = logging.getLogger(__name__)

FORMAT = 1
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Cell:
    """One run: a method on one mask."""

    method: str
    known: float
    seed: int

    @property
    def file_name(self) -> str:
        """Where its result is kept, inside `cells/`."""
        return f"{self.method}_known-{self.known:g}_seed-{self.seed}.json"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to compare; ValueError when a method is unknown or a value cannot be."""

    methods: tuple[str, ...]
    known: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    seeds: tuple[int, ...] = (0, 1, 2)
    backbone: str = "lite0-320"
    category_vectors: str = LEARNED  # a source, see category_vectors.py
    training: TrainConfig = TrainConfig()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        for name in ("methods", "known", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} needs at least one value and none twice, not {values}.")
        for one in self.methods:
            method(one)
        for share in self.known:
            if not 0.0 < share <= 1.0:
                raise ValueError(f"A known proportion must lie in (0, 1], not {share}.")
        for seed in self.seeds:
            if not 0 <= seed < 2**32:
                raise ValueError(f"A seed must lie between 0 and 4294967295, not {seed}.")

    def cells(self) -> list[Cell]:
        """Every run, the methods of one mask behind each other."""
        return [
            Cell(name, share, seed) for seed in self.seeds for share in self.known for name in self.methods
        ]


@dataclass(frozen=True)
class CellResult:
    """Figures of a run on the test pictures and on the hidden cells of the training pictures, and its
    seconds.
    """

    cell: Cell
    test: Figures
    hidden: Figures
    seconds: float


def partial_labels(dataset: Dataset, known: float, *, seed: int) -> Labels:
    """What a method may see, (N, C): the train rows after the published dropping rule, zeros elsewhere."""
    partial = np.zeros_like(dataset.labels)
    partial[dataset.train] = hide_labels(dataset.labels[dataset.train], known, seed=seed)
    return partial


def scores_of(
    cell: Cell,
    source: MapSource,
    partial: Labels,
    *,
    dataset: Dataset,
    training: TrainConfig,
    on_epoch: OnEpoch | None = None,
    vectors: Vectors | None = None,
) -> Scores:
    """Logits (N, C) of one run; of the data set only the row numbers are used.

    `vectors` (C, S): given category vectors for a method with an attention.
    """
    return with_category_vectors(method(cell.method), vectors).fit_predict(
        source, partial, dataset.train, dataset.test, seed=cell.seed, training=training, on_epoch=on_epoch
    )


def features_of(
    dataset: Dataset,
    backbone: str,
    cache: Path,
    *,
    device: str = "auto",
    threads: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[MapSource, str]:
    """Maps of all pictures, in their order, and a digest of the set; what is cached is not computed again.

    RuntimeError when a picture cannot be read: leaving one out would change the test set.
    """
    keys = [hashlib.sha256(path.read_bytes()).hexdigest() for path in dataset.paths]
    runner = load_backbone(backbone, device=device, threads=threads, cache_dir=cache / "compiled")
    with FeatureCache.open(cache / runner.key, grid=runner.grid, dim=runner.dim, writable=True) as store:
        pairs = list(zip(keys, dataset.paths, strict=True))
        report = extract(pairs, runner, store, on_progress=on_progress)
        if report.refused:
            key, reason = report.refused[0]
            name = dataset.names[keys.index(key)]
            raise RuntimeError(
                f"{len(report.refused)} pictures of {dataset.name} have no features; the first is {name}: "
                f"{reason}."
            )
        return store.view(keys), _digest(dataset, keys, runner.key)


def _digest(dataset: Dataset, keys: Sequence[str], backbone: str) -> str:
    about = [dataset.names, keys, dataset.categories, dataset.train.tolist(), dataset.test.tolist(), backbone]
    digest = hashlib.sha256(json.dumps(about).encode())
    digest.update(np.ascontiguousarray(dataset.labels).tobytes())
    return digest.hexdigest()


def run_plan(
    plan: Plan,
    dataset: Dataset,
    source: MapSource,
    out: Path,
    *,
    digest: str,
    on_cell: Callable[[int, int, Cell], None] | None = None,
    on_epoch: OnEpoch | None = None,
    vectors: Vectors | None = None,
) -> list[CellResult]:
    """Every cell of the plan, read from `out`/cells where an earlier run with the same options left it.

    `on_cell(done, total, cell)` is told before each cell is looked at. `vectors` (C, S): the plan's category
    vectors where the caller has made them already.
    """
    if vectors is None:
        vectors = category_vectors(plan.category_vectors, dataset.categories)
    cells, results = plan.cells(), list[CellResult]()
    (out / "cells").mkdir(parents=True, exist_ok=True)
    for done, cell in enumerate(cells):
        if on_cell is not None:
            on_cell(done, len(cells), cell)
        path = out / "cells" / cell.file_name
        identity = _identity(cell, plan.training, digest, vectors)
        result = _read_cell(path, cell, identity)
        if result is None:
            result = _run_cell(cell, dataset, source, plan.training, on_epoch, vectors)
            about = {"format": FORMAT, "identity": identity, **asdict(result)}
            write_atomic(path, (json.dumps(about, indent=1) + "\n").encode())
        results.append(result)
    return results


def _run_cell(
    cell: Cell,
    dataset: Dataset,
    source: MapSource,
    training: TrainConfig,
    on_epoch: OnEpoch | None,
    vectors: Vectors | None,
) -> CellResult:
    partial = partial_labels(dataset, cell.known, seed=cell.seed)
    began = time.perf_counter()
    scores = scores_of(
        cell, source, partial, dataset=dataset, training=training, on_epoch=on_epoch, vectors=vectors
    )
    seconds = time.perf_counter() - began
    test, hidden = judge(dataset, partial, scores)
    return CellResult(cell, test, hidden, seconds)


def _identity(cell: Cell, training: TrainConfig, digest: str, vectors: Vectors | None) -> str:
    """SHA-256 of everything the result depends on but the code."""
    chosen: Method = with_category_vectors(method(cell.method), vectors)
    given = getattr(chosen, "category_vectors", None)
    options = getattr(chosen, "config", None)
    about = {
        "format": FORMAT,
        "data": digest,
        "cell": asdict(cell),
        "method": [chosen.about, None if options is None else options.to_dict()],
        "training": training.to_dict(),
    }
    if given is not None:  # learned ones change nothing, so runs from before there were others stay valid
        about["category_vectors"] = [list(given.shape), hashlib.sha256(given.tobytes()).hexdigest()]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _read_cell(path: Path, cell: Cell, identity: str) -> CellResult | None:
    """The kept result of this very run, or None."""
    if not path.exists():
        return None
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if about["identity"] != identity:
            log.info("%s belongs to other data or options and is computed again.", path.name)
            return None
        return CellResult(cell, about["test"], about["hidden"], about["seconds"])
    except (ValueError, KeyError, TypeError):
        log.warning("%s is damaged and is computed again.", path.name)
        return None


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file in one step: a reader, or a run after a crash, sees the old or the new one, whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
