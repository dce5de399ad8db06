"""The first day without a browser: import, labels by CSV, features, training, suggestions, export.

    python benchmarks/first_day.py [--data DIR] [--images 1000] [--known 0.1] [--seed 0] [--quick]

DIR holds `images/` and a complete `labels.csv` (`file_name`, then one 0/1 column per category); without it
the demo scenes are drawn. The known share of the cells is imported, the rest stays hidden and is only read to
score the suggestions. Two things are compared in one run: feature extraction with the bare backbone, and the
suggestions with the regularised logistic regression on the same pooled features. `--quick` takes 160 pictures
and ends within 45 s on two cores. The last line is `RESULT {json}`:

    import_per_s, label_cells_per_s              pictures and cells that came in
    extract_per_s, extract_share_of_backbone     pictures that got features, against the bare backbone
    retrain_to_suggestions_s                     from the wish to train to the first suggestions
    map_hidden, map_hidden_linear                mAP (0..1) on the hidden cells: suggestions, linear model
    cells_recovered_from_export                  share of all cells whose state the export gives back
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from annotator.actions import Actions
from annotator.demo import render_demo
from annotator.exporting.reader import cell_states
from annotator.records import CellState, JobStatus
from annotator.settings import Settings
from annotator.store import Store, categories, images, jobs
from annotator.suggesting import Suggester
from annotator.worker.loop import Worker
from db import migrate
from dsrb_core.backbones import Backbone, load_backbone
from dsrb_core.baselines import fit_floor
from dsrb_core.cache import FeatureCache
from dsrb_core.config import TrainConfig
from dsrb_core.features import extract
from dsrb_core.frame import Frame
from dsrb_core.labels import hide_labels
from dsrb_core.metrics import mean_average_precision


@dataclass(frozen=True)
class Truth:
    """Complete labels of the chosen pictures."""

    folder: Path
    names: list[str]
    categories: list[str]
    labels: np.ndarray  # (N, C) in {-1, +1}


def read_truth(folder: Path, count: int) -> Truth:
    """The first `count` pictures in SHA-1 order of their names, as in every table."""
    import hashlib

    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    rows.sort(key=lambda row: hashlib.sha1(row[0].encode(), usedforsecurity=False).hexdigest())
    rows = rows[:count]
    labels = np.array([[1 if cell == "1" else -1 for cell in row[1:]] for row in rows], dtype=np.int8)
    return Truth(folder, [row[0] for row in rows], header[1:], labels)


def write_partial_csv(path: Path, truth: Truth, known: np.ndarray) -> None:
    """The known cells as 1 / 0, the hidden ones empty."""
    words = {1: "1", -1: "0", 0: ""}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", *truth.categories])
        for name, row in zip(truth.names, known.tolist(), strict=True):
            writer.writerow([name, *(words[value] for value in row)])


def bare_rate(backbone: Backbone, seconds: float = 1.0) -> float:
    """Pictures per second of the backbone alone, on pixels that are there already."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 3, backbone.size, backbone.size), dtype=np.uint8)
    backbone.bare(pixels)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        backbone.bare(pixels)
        done += len(pixels)
    return done / (time.perf_counter() - began)


def extraction(
    store: Store, settings: Settings, project: int, backbone: Backbone, *, parts: int
) -> dict[str, float]:
    """The worker's extraction into the project's cache, in turn with the bare backbone.

    The speed of a machine that others use drifts, so the share is the median over the turns.
    """
    with store.read() as c:
        pictures = images.page(c, project, limit=10**9)
    folder = settings.data_dir / "features" / backbone.key
    shares, seconds, bare = [], 0.0, [bare_rate(backbone)]
    with FeatureCache.open(folder, grid=backbone.grid, dim=backbone.dim, writable=True) as cache:
        for part in range(parts):
            chosen = pictures[part * len(pictures) // parts : (part + 1) * len(pictures) // parts]
            paths = [(picture.sha256, settings.data_dir / picture.canonical) for picture in chosen]
            done = extract(paths, backbone, cache)
            bare.append(bare_rate(backbone))
            seconds += done.seconds
            shares.append(len(chosen) / done.seconds / ((bare[-1] + bare[-2]) / 2))
    rate, share = len(pictures) / seconds, float(np.median(shares))
    print(f"features: {rate:.1f}/s, the bare backbone {np.median(bare):.1f}/s, share {share:.2f}")
    return {"extract_per_s": rate, "extract_share_of_backbone": share}


def run_jobs(worker: Worker) -> float:
    """Let the worker do everything that is due; seconds it took."""
    began = time.perf_counter()
    while worker.step():
        pass
    return time.perf_counter() - began


def suggested(store: Store, settings: Settings, project: int, truth: Truth) -> np.ndarray:
    """(N, C) probabilities as served to the page; NaN where a cell is decided."""
    suggester = Suggester(store, settings)
    with store.read() as c:
        columns = {
            category.id: truth.categories.index(category.name)
            for category in categories.list_active(c, project)
        }
        ids = images.name_map(c, project)
    scores = np.full(truth.labels.shape, np.nan)
    for row, name in enumerate(truth.names):
        with store.read() as c:
            listed = suggester.for_image(c, project, ids[name], len(columns))
        for one in listed.suggestions:
            scores[row, columns[one.category_id]] = one.probability
    return scores


def linear_scores(
    data_dir: Path, backbone: Backbone, store: Store, project: int, truth: Truth, known: np.ndarray
) -> np.ndarray:
    """(N, C) logits of the regularised logistic regression on the same pooled features and labels."""
    with store.read() as c:
        keys = {image.name: image.sha256 for image in images.page(c, project, limit=10**9)}
    cache = FeatureCache.read_only(data_dir / "features" / backbone.key)
    pooled = cache.view([keys[name] for name in truth.names]).pooled()
    frame, options = Frame(pooled.shape[1], 1), TrainConfig()
    frame.measure(torch.from_numpy(pooled))
    features = frame.standardise(torch.from_numpy(pooled))
    found = fit_floor(features, known, l2=options.floor_l2, folds=options.floor_folds, seed=options.seed)
    return np.asarray(found.floor(features))


def hidden_map(scores: np.ndarray, truth: Truth, known: np.ndarray) -> float:
    """Mean over categories of the non-interpolated AP on hidden cells; without a positive there is none."""
    hidden = np.where(known == 0, truth.labels, 0)
    return float(mean_average_precision(np.nan_to_num(scores, nan=-1e9), hidden))


def recovered(path: Path, store: Store, project: int, truth: Truth, known: np.ndarray) -> float:
    """Share of all cells whose state read back from the export equals what was stored."""
    states = cell_states(json.loads(path.read_text(encoding="utf-8")))
    with store.read() as c:
        ids = images.name_map(c, project)
        columns = {category.name: category.id for category in categories.list_active(c, project)}
    right = 0
    for name, row in zip(truth.names, known.tolist(), strict=True):
        for category, value in zip(truth.categories, row, strict=True):
            right += states.get((ids[name], columns[category]), CellState.UNKNOWN) == CellState(value)
    return right / known.size


def story(truth: Truth, options: argparse.Namespace, work: Path) -> dict[str, float]:
    """Play the day in `work`; the figures by name."""
    settings = Settings(
        data_dir=work / "data",
        backbone=options.backbone,
        retrain_every=10**9,
        retrain_minutes=10**6,
        threads=options.threads,
    )
    migrate.upgrade(settings.database)
    store = Store.open(settings)
    actions = Actions(store, settings)
    project = actions.create_project("first day").id
    pictures = work / "pictures"
    pictures.mkdir()
    for name in truth.names:
        shutil.copy(truth.folder / "images" / name, pictures / name)
    figures: dict[str, float] = {}

    began = time.perf_counter()
    report = actions.import_folder(project, pictures, lambda *_: None)
    figures["import_per_s"] = report.added / (time.perf_counter() - began)
    print(f"imported {report.added} pictures, {len(report.refused)} refused: {figures['import_per_s']:.0f}/s")

    known = hide_labels(truth.labels, options.known, seed=options.seed)
    write_partial_csv(work / "labels.csv", truth, known)
    began = time.perf_counter()
    labels = actions.import_labels(project, work / "labels.csv", lambda *_: None)
    figures["label_cells_per_s"] = labels.cells / (time.perf_counter() - began)
    print(f"imported {labels.cells} cells: {figures['label_cells_per_s']:.0f}/s")

    backbone = load_backbone(
        settings.backbone,
        device=settings.device,
        threads=settings.threads,
        cache_dir=settings.data_dir / "compiled",
    )
    worker = Worker(store, settings)
    worker._tasks._backbone = backbone  # loaded above: compiling is not what is timed
    figures |= extraction(store, settings, project, backbone, parts=2 if options.quick else 5)
    run_jobs(worker)

    began = time.perf_counter()
    actions.request_retrain(project)
    run_jobs(worker)
    with store.read() as c:
        first = images.ids(c, project)[0]
        Suggester(store, settings).for_image(c, project, first, settings.candidates)
    figures["retrain_to_suggestions_s"] = time.perf_counter() - began
    print(f"retrain to suggestions: {figures['retrain_to_suggestions_s']:.1f} s")
    with store.read() as c:
        job = jobs.latest(c, project, "retrain")
    assert job is not None and job.status is JobStatus.DONE, job
    print(job.message)

    scores = suggested(store, settings, project, truth)
    figures["map_hidden"] = hidden_map(scores, truth, known)
    figures["map_hidden_linear"] = hidden_map(
        linear_scores(settings.data_dir, backbone, store, project, truth, known), truth, known
    )
    target = work / "export.json"
    actions.export_coco(project, target)
    figures["cells_recovered_from_export"] = recovered(target, store, project, truth, known)
    store.close()
    return figures


def main() -> None:
    """Parse the options, play the story, print the result line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="folder with images/ and labels.csv; without it demo scenes are drawn"
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--known", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", default="lite0-320")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="160 pictures; ends within 45 s on two cores")
    options = parser.parse_args()
    count = 160 if options.quick else options.images
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = options.data or render_demo(work / "demo", count=count)
        figures = story(read_truth(data, count), options, work)
    print("RESULT " + json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
