"""From a trained model to a generation: scores, instance features, indexes, combiner, one switch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from annotator.artifacts import ArtifactWriter
from annotator.records import Job, JobStatus
from annotator.settings import Settings
from annotator.snapshotting import Frozen
from annotator.store import Store, categories, generations, jobs
from annotator.store.clock import now_ms
from annotator.worker.lease import Lease
from dsrb_core.backbones import Backbone
from dsrb_core.calibration import (
    Combiner,
    category_prior,
    fit_combiner,
    fit_with_neighbours,
)
from dsrb_core.checkpoint import save_model
from dsrb_core.index import InstanceIndex
from dsrb_core.predictor import Prediction, predict
from dsrb_core.propagation import smooth
from dsrb_core.tokens import MapSource
from dsrb_core.trainer import FitResult

log = logging.getLogger(__name__)

INSTANCE_DIM = 64  # design.md section 3: the web side needs d <= 64
NAMED = 3  # categories named in a message
NEIGHBOURS = 20  # nearest decided instances that vote on a cell
PROJECTION_SAMPLE = 4096  # vectors the projection is fitted on


class Stopped(Exception):
    """The job was cancelled or taken over, or the process ends: the half-written folder is removed."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything a generation is made of."""

    job: Job
    frozen: Frozen
    source: MapSource
    result: FitResult
    backbone: Backbone


def publish_generation(store: Store, settings: Settings, training: Training, lease: Lease) -> str:
    """Write the generation beside the others and switch to it in one transaction with the end of the job.

    Returns the message the job ended with, or "" when the lease was lost or the job cancelled on the way:
    then nothing is left behind and the old generation stays.
    """
    frozen, project_id = training.frozen, training.job.project_id
    number = store.write(generations.reserve)
    folder = Path("projects") / str(project_id) / "generations" / f"{number:06d}"
    writer = ArtifactWriter(settings.data_dir / folder)
    try:
        with writer:
            facts = _write_files(writer.folder, settings, training, lease)
            lease.report("publishing")
            writer.describe(
                project=project_id,
                generation=number,
                snapshot=frozen.snapshot.id,
                up_to_seq=frozen.snapshot.up_to_seq,
                backbone=training.backbone.key,
                grid=list(training.backbone.grid),
                **facts,
            )
    except Stopped:
        return ""
    with store.read() as c:
        later = {category.id for category in categories.list_active(c, project_id)}
    message = _message(number, facts, added=len(later - set(frozen.category_ids.tolist())))
    store.write(
        lambda c: (
            generations.publish(
                c,
                project_id=project_id,
                snapshot_id=frozen.snapshot.id,
                generation_id=number,
                backbone=training.backbone.key,
                folder=folder.as_posix(),
                manifest_sha256=writer.manifest_sha256,
                metrics=facts["metrics"],
                now=now_ms(),
            ),
            # The job ends in the same transaction: an owner whose lease was taken over raises Conflict
            # here, and with it the switch is undone.
            jobs.finish(
                c,
                training.job.id,
                owner=lease.owner,
                status=JobStatus.DONE,
                message=message,
                reached_seq=frozen.snapshot.up_to_seq,
                now=now_ms(),
            ),
        )
    )
    return message


def _write_files(folder: Path, settings: Settings, training: Training, lease: Lease) -> dict[str, Any]:
    frozen, result = training.frozen, training.result
    np.save(folder / "image_ids.npy", frozen.image_ids)
    np.save(folder / "category_ids.npy", frozen.category_ids)
    lease.report("scoring", total=len(frozen.image_ids))
    logits, instances = _score(folder, settings, training, lease)
    held_logits, weight = result.holdout.model_logits, 0.0
    if instances is not None and len(held_logits):
        held_logits, weight = _propagate(training, logits, instances, lease)
    lease.report("building the indexes", total=len(frozen.category_ids))
    indexes = _write_indexes(folder, frozen, instances, lease) if instances is not None else []
    combiner = _fit_combiner(training, held_logits, indexes, instances)
    (folder / "combiner.json").write_text(combiner.to_json(), encoding="utf-8")
    (folder / "checkpoint").mkdir()
    save_model(result.model, folder / "checkpoint")
    return {
        "instance_dim": 0 if instances is None else int(instances.shape[2]),
        "categories": _category_facts(frozen, result),
        "metrics": _metrics(frozen, result) | {"propagation": weight},
    }


def _score(
    folder: Path, settings: Settings, training: Training, lease: Lease
) -> tuple[np.memmap, np.ndarray | None]:
    """Write logits, instance features and attention; returns logits (N, C) and features (N, C, d), float16.

    Above `settings.instance_limit_bytes` the instance features and the attention are left out (None).
    """
    n, c = training.frozen.labels.shape
    grid = training.backbone.grid
    dim = min(INSTANCE_DIM, training.result.model.dim)
    size = n * c * max(dim * 2, grid[0] * grid[1])
    keep = size <= settings.instance_limit_bytes
    if not keep:
        log.warning("instance features of %d bytes are over the limit and are left out", size)
    logits = open_memmap(folder / "logits.npy", "w+", np.float16, (n, c))
    instances = open_memmap(folder / "instances.npy", "w+", np.float16, (n, c, dim)) if keep else None
    attention = (
        open_memmap(folder / "attention.npy", "w+", np.uint8, (n, c, grid[0] * grid[1])) if keep else None
    )
    projection = _fit_projection(training, dim) if keep else None
    for part in _predictions(training):
        logits[part.rows] = np.clip(part.logits, -60000, 60000)
        if instances is not None and attention is not None and projection is not None:
            instances[part.rows] = _project(part.instances, *projection)
            attention[part.rows] = np.round(part.relevance * 255)
        lease.report(done=int(part.rows[-1]) + 1, total=n)
        if lease.should_stop():
            raise Stopped
    for array in (logits, instances, attention):
        if array is not None:
            array.flush()
    return logits, instances


def _propagate(
    training: Training, logits: np.memmap, instances: np.ndarray, lease: Lease
) -> tuple[np.ndarray, float]:
    """Let similar cells correct the logits in place, as far as held-out answers say it helps.

    Returns the logits of the held-out cells (M,) and the weight; see dsrb_core.propagation.
    """
    held = training.result.holdout
    lease.report("comparing similar pictures", total=logits.shape[1])
    found = smooth(
        instances,
        logits.astype(np.float32),
        training.frozen.labels,
        held=(held.rows, held.columns),
        held_logits=held.model_logits,
        on_category=lambda done: lease.report(done=done, total=logits.shape[1]),
        should_stop=lease.should_stop,
    )
    if found is None:
        raise Stopped
    logits[:] = np.clip(found.logits, -60000, 60000)
    logits.flush()
    return found.held_logits, found.weight


def _predictions(training: Training, rows: np.ndarray | None = None) -> Iterator[Prediction]:
    return predict(training.result.model, training.source, rows=rows, device=training.backbone.device)


def _fit_projection(training: Training, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and principal directions (D, dim) of category vectors of decided cells, drawn evenly."""
    rows, columns = np.nonzero(training.frozen.labels)
    take = np.linspace(0, len(rows) - 1, min(len(rows), PROJECTION_SAMPLE)).astype(int)
    wanted = np.unique(rows[take])
    per_row: dict[int, np.ndarray] = {}
    for part in _predictions(training, wanted):
        for row, vectors in zip(part.rows.tolist(), part.instances, strict=True):
            per_row[row] = vectors[columns[take][rows[take] == row]]
    sample = np.concatenate(list(per_row.values())).astype(np.float64)
    mean = sample.mean(axis=0)
    # Directions without whitening: whitening cost 6 to 18 mAP (method.md section 10).
    _, vectors = np.linalg.eigh((sample - mean).T @ (sample - mean))
    return mean.astype(np.float32), vectors[:, ::-1][:, :dim].astype(np.float32)


def _project(vectors: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(B, C, D) -> L2-normalised (B, C, d); a zero vector stays zero."""
    flat = (vectors - mean) @ directions
    norm = np.linalg.norm(flat, axis=-1, keepdims=True)
    return np.asarray(flat / np.maximum(norm, 1e-6))


def _write_indexes(folder: Path, frozen: Frozen, instances: np.ndarray, lease: Lease) -> list[InstanceIndex]:
    (folder / "index").mkdir()
    made = []
    for column, category_id in enumerate(frozen.category_ids.tolist()):
        rows = np.nonzero(frozen.labels[:, column])[0]
        index = InstanceIndex.empty(instances.shape[2])
        if len(rows):
            index.add(frozen.image_ids[rows], instances[rows, column].astype(np.float32))
        index.save(folder / "index" / f"{category_id}.faiss")
        made.append(index)
        lease.report(done=column + 1, total=len(frozen.category_ids))
    return made


def _fit_combiner(
    training: Training, logits: np.ndarray, indexes: list[InstanceIndex], instances: np.ndarray | None
) -> Combiner:
    """Calibrate model and neighbours on held-out cells and their `logits` (M,); without indexes the model
    alone.
    """
    frozen, held = training.frozen, training.result.holdout
    prior = category_prior((frozen.labels == 1).sum(axis=0), (frozen.labels == -1).sum(axis=0))
    if instances is None or not len(held.labels):
        return fit_combiner(logits, None, held.labels, held.columns, len(prior), prior=prior, k=NEIGHBOURS)
    similar, states = _neighbours(training, indexes, instances)
    return fit_with_neighbours(logits, similar, states, held.labels, held.columns, prior=prior)


def _neighbours(
    training: Training, indexes: list[InstanceIndex], instances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities and states (M, k) of each held-out cell's nearest decided instances, itself left out."""
    frozen, held = training.frozen, training.result.holdout
    similar = np.full((len(held.labels), NEIGHBOURS), -np.inf, dtype=np.float32)
    states = np.zeros((len(held.labels), NEIGHBOURS), dtype=np.int8)
    for column in np.unique(held.columns).tolist():
        cells = np.flatnonzero(held.columns == column)
        rows = held.rows[cells]
        found, similar[cells] = indexes[column].search(
            instances[rows, column].astype(np.float32), NEIGHBOURS, own=frozen.image_ids[rows]
        )
        places = np.searchsorted(frozen.image_ids, np.maximum(found, frozen.image_ids[0]))
        states[cells] = np.where(found >= 0, frozen.labels[places, column], 0)
    return similar, states


def _category_facts(frozen: Frozen, result: FitResult) -> list[dict[str, Any]]:
    """One entry per category: known cells, and the held-out AP with the number of cells behind it."""
    tested = np.bincount(result.holdout.columns, minlength=len(frozen.categories))
    return [
        {
            "id": category.id,
            "name": category.name,
            "positives": int((column == 1).sum()),
            "negatives": int((column == -1).sum()),
            "ap": _number(result.category_ap[place]),
            "heldout": int(tested[place]),
        }
        for place, (category, column) in enumerate(zip(frozen.categories, frozen.labels.T, strict=True))
    ]


def _metrics(frozen: Frozen, result: FitResult) -> dict[str, Any]:
    """What the page tells of a generation; None where a figure is not defined."""
    return {
        "map": _number(result.heldout_map),
        "floor_map": _number(result.floor_map),
        "gate": float(result.model.gate),
        "heldout_cells": len(result.holdout.labels),
        "images": len(frozen.image_ids),
        "categories": len(frozen.category_ids),
        "positives": int((frozen.labels == 1).sum()),
        "negatives": int((frozen.labels == -1).sum()),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _message(number: int, facts: dict[str, Any], *, added: int) -> str:
    """What the training tells at its end; `added` categories came while it ran."""
    metrics = facts["metrics"]
    said = (
        f"Generation {number} is ready, learned from {metrics['positives']} yes and {metrics['negatives']} no"
    )
    if metrics["map"] is None:
        said += "; too few answers to measure it."
    else:
        said += f"; mean AP {metrics['map']:.1%} on {metrics['heldout_cells']} held-out answers."
    single = [one["name"] for one in facts["categories"] if one["positives"] == 1]
    if single:
        names = ", ".join(single[:NAMED]) + (" and others" if len(single) > NAMED else "")
        said += f" Expect little of suggestions for {names}: there is a single yes so far."
    if added:
        said += f" {added} categories were added meanwhile; the next training learns them."
    return said
