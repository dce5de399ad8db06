"""From a trained model to a generation: scores, instance features, indexes, combiner, one switch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from annotator.failpoints import failpoint
from annotator.records import Job
from annotator.settings import Settings
from annotator.snapshotting import Frozen
from annotator.worker import heldout
from annotator.worker.arrays import new_array
from annotator.worker.asking import held_out_weights
from annotator.worker.facts import category_facts, made_by, metrics
from annotator.worker.lease import Lease
from annotator.worker.tasks_instances import (
    MOST,
    Stopped,
    write_context,
    write_neighbours,
    write_probabilities,
)
from annotator.worker.warm import Start
from dsrb_core.backbones import Backbone
from dsrb_core.calibration import category_prior
from dsrb_core.checkpoint import save_model
from dsrb_core.context import Context, fold_context, held_shifts
from dsrb_core.crossfit import NEIGHBOURS, Mix, fit_mix, hear
from dsrb_core.predictor import Prediction, predict
from dsrb_core.propagation import propagate
from dsrb_core.reliability import JUDGED, fit_and_judge
from dsrb_core.splits import evenly
from dsrb_core.tokens import MapSource
from dsrb_core.trainer import FitResult

log = logging.getLogger(__name__)

INSTANCE_DIM = 64  # design.md section 3: the web side needs d <= 64
CENTRE_SAMPLE = 512  # pictures that the centre of a category's instances is measured on


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything a generation is made of; `start` is where its training began."""

    job: Job
    frozen: Frozen
    start: Start
    source: MapSource
    result: FitResult
    backbone: Backbone
    notes: tuple[str, ...] = ()  # what the message at the end has to tell besides


def write_files(folder: Path, settings: Settings, training: Training, lease: Lease) -> dict[str, Any]:
    """Write everything a generation holds into a folder; returns the facts for its manifest.

    Raises `Stopped` when the lease was lost or the job cancelled on the way.
    """
    frozen, result = training.frozen, training.result
    np.save(folder / "image_ids.npy", frozen.image_ids)
    np.save(folder / "category_ids.npy", frozen.category_ids)
    lease.report("scoring", total=len(frozen.image_ids))
    logits, instances = _score(folder, settings, training, lease)
    asking = held_out_weights(frozen, result.holdout, logits)
    if instances is None:
        mix, measured = _model_alone(training, asking), {}
    else:
        context = _context(training, lease)
        mix = _weigh(training, asking, context, lease)
        measured = _write_witnesses(folder, training, logits, instances, mix, context, lease)
    write_probabilities(folder, frozen, mix.combiner)
    (folder / "combiner.json").write_text(mix.combiner.to_json(), encoding="utf-8")
    mix.judged.save(folder / JUDGED)
    (folder / "checkpoint").mkdir()
    failpoint("model_write")
    save_model(result.model, folder / "checkpoint")
    heldout.write(folder, frozen, result.holdout)
    return {
        "made_by": made_by(settings, frozen.snapshot.digest, str(training.backbone.device)),
        "instance_dim": 0 if instances is None else int(instances.shape[2]),
        "category_vectors": settings.category_vectors,
        "warm": training.start.runs,
        "frame_images": training.start.frame_images,
        "categories": category_facts(frozen, result, mix.judged),
        "metrics": metrics(frozen, result, training.start, mix.judged)
        | {"propagation": mix.propagation, "context": mix.context}
        | measured,
    }


def _context(training: Training, lease: Lease) -> Context | None:
    """What a picture's answers say about its other cells; None when that is nothing sure."""
    folds = training.result.folds
    if folds is None:
        return None
    lease.report("relating the categories")
    return fold_context(folds, training.frozen.labels)


def _write_witnesses(
    folder: Path,
    training: Training,
    logits: np.memmap,
    instances: np.ndarray,
    mix: Mix,
    context: Context | None,
    lease: Lease,
) -> dict[str, Any]:
    """Write what speaks beside the model; returns what was measured on the way."""
    folds = training.result.folds
    if context is not None and folds is not None and mix.context > 0:
        # Before propagation changes the logits: the context was weighed on those of the model.
        write_context(folder, np.float32(mix.context) * context.weights, logits, folds)
    if mix.propagation > 0:
        _propagate(folder, training, logits, instances, mix.propagation, lease)
    return {"index_recall": write_neighbours(folder, training.frozen, instances, mix.combiner, lease)}


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
    logits = new_array(folder / "logits.npy", np.float16, (n, c))
    instances = new_array(folder / "instances.npy", np.float16, (n, c, dim)) if keep else None
    attention = new_array(folder / "attention.npy", np.uint8, (n, c, grid[0] * grid[1])) if keep else None
    centres = _centres(training, dim) if keep else None
    for part in _predictions(training):
        logits[part.rows] = np.clip(part.logits, -MOST, MOST)
        if instances is not None and attention is not None and centres is not None:
            instances[part.rows] = _normalised(part.instances[..., :dim] - centres)
            attention[part.rows] = np.round(part.relevance * 255)
        lease.report(done=int(part.rows[-1]) + 1, total=n)
        if lease.should_stop():
            raise Stopped
    for array in (logits, instances, attention):
        if array is not None:
            array.flush()
    return logits, instances


def _propagate(
    folder: Path,
    training: Training,
    logits: np.memmap,
    instances: np.ndarray,
    weight: float,
    lease: Lease,
) -> None:
    """Let similar cells correct the logits in place (see dsrb_core.propagation); keep what the model said."""
    lease.report("comparing similar pictures", total=logits.shape[1])
    alone = new_array(folder / heldout.ALONE, np.float16, logits.shape)
    alone[:] = logits
    alone.flush()
    model = logits.astype(np.float32)
    shifts = propagate(
        instances,
        model,
        training.frozen.labels,
        on_category=lambda done: lease.report(done=done, total=logits.shape[1]),
        should_stop=lease.should_stop,
    )
    if shifts is None:
        raise Stopped
    logits[:] = np.clip(model + np.float32(weight) * shifts, -MOST, MOST)
    logits.flush()


def _predictions(training: Training, rows: np.ndarray | None = None) -> Iterator[Prediction]:
    return predict(training.result.model, training.source, rows=rows, device=training.backbone.device)


def _centres(training: Training, dim: int) -> np.ndarray:
    """Each category's mean instance (C, dim), over pictures drawn evenly: what all share says nothing."""
    rows = evenly(len(training.frozen.image_ids), CENTRE_SAMPLE)
    total = sum(part.instances[..., :dim].sum(axis=0) for part in _predictions(training, rows))
    return np.asarray(total / len(rows), np.float32)


def _normalised(vectors: np.ndarray) -> np.ndarray:
    """(..., d) at length 1; a zero vector stays zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6))


def _model_alone(training: Training, asking: np.ndarray) -> Mix:
    """Calibrate the model without neighbours on its held-out cells, which count for `asking` (M,) cells."""
    labels, held = training.frozen.labels, training.result.holdout
    prior = category_prior((labels == 1).sum(axis=0), (labels == -1).sum(axis=0))
    combiner, judged = fit_and_judge(
        held.model_logits,
        None,
        held.labels,
        held.columns,
        len(prior),
        rows=held.rows,
        prior=prior,
        weights=asking,
        k=NEIGHBOURS,
    )
    return Mix(0.0, 0.0, combiner, judged)


def _weigh(training: Training, asking: np.ndarray, context: Context | None, lease: Lease) -> Mix:
    """How much neighbours, propagation and context count, by held-out cells that count for `asking` (M,)."""
    result, folds, labels = training.result, training.result.folds, training.frozen.labels
    if folds is None or not len(result.holdout.labels):
        return _model_alone(training, asking)
    lease.report("weighing the neighbours")
    heard = hear(
        result.model,
        training.source,
        labels,
        result.holdout,
        folds,
        dim=min(INSTANCE_DIM, result.model.dim),
        should_stop=lease.should_stop,
    )
    if heard is None:
        raise Stopped
    shifts = None if context is None else held_shifts(context, folds, result.holdout)
    return fit_mix(heard, result.holdout, labels, context=shifts, asking=asking)
