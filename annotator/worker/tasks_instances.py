"""What a generation keeps of decided neighbours and of context, and the probabilities of all its cells.

Letters: N images, C categories, d numbers of an instance, k neighbours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from annotator.failpoints import failpoint
from annotator.snapshotting import Frozen
from annotator.worker.arrays import new_array
from annotator.worker.lease import Lease
from dsrb_core.calibration import Combiner, neighbour_logits
from dsrb_core.decided_index import DecidedIndex
from dsrb_core.reports import Folds
from dsrb_core.surprise import surprise

MOST = 60000.0  # what a float16 holds
_ROWS = 4096  # rows taken at once, so that the memory needed does not grow with the project
_ASKING = 16384  # instances whose neighbours are searched at once

Float32 = npt.NDArray[np.float32]


class Stopped(Exception):
    """The job was cancelled or taken over, or the process ends: the half-written folder is removed."""


def write_context(folder: Path, weights: Float32, logits: np.ndarray, folds: Folds) -> None:
    """Write context.npy, the weights (C, C), and from the model's logits (N, C) believed.npy.

    Row c of the weights is what category c hears of each other one, already at the fitted weight.
    Surprise is measured on logits that have not seen the cell's own answer: in rows with a known cell those
    of the folds.
    """
    np.save(folder / "context.npy", np.asarray(weights, np.float32))
    believed = new_array(folder / "believed.npy", np.float16, logits.shape)
    believed[:] = logits
    for part in _parts(len(folds.rows)):
        believed[folds.rows[part]] = np.clip(folds.logits[part], -MOST, MOST)
    believed.flush()


def write_neighbours(
    folder: Path, frozen: Frozen, instances: np.ndarray, combiner: Combiner, lease: Lease
) -> float:
    """Write the indexes of decided instances and votes.npy from instances (N, C, d).

    Returns the least recall@10 of any index. Raises `Stopped`.
    """
    lease.report("building the indexes", total=len(frozen.category_ids))
    (folder / "index").mkdir()
    votes = new_array(folder / "votes.npy", np.float16, frozen.labels.shape)
    recall = 1.0
    for column, category_id in enumerate(frozen.category_ids.tolist()):
        vectors = instances[:, column].astype(np.float32)
        rows = np.flatnonzero(frozen.labels[:, column])
        index = DecidedIndex.build(frozen.image_ids[rows], vectors[rows], frozen.labels[rows, column])
        index.save(folder / "index", category_id)
        failpoint("index_write")
        recall = min(recall, index.recall)
        votes[:, column] = _votes(index, frozen.image_ids, vectors, combiner, column)
        lease.report(done=column + 1, total=len(frozen.category_ids))
        if lease.should_stop():
            raise Stopped
    votes.flush()
    return recall


def _votes(
    index: DecidedIndex, image_ids: np.ndarray, vectors: Float32, combiner: Combiner, column: int
) -> Float32:
    """Log-odds (N,) by the k nearest decided instances of a category; no cell votes on itself."""
    votes = np.empty(len(vectors), np.float32)
    for part in _parts(len(vectors), _ASKING):
        near = index.near(vectors[part], combiner.k, own=image_ids[part]).nearest(combiner.k)
        votes[part] = neighbour_logits(
            near.similarities,
            near.states,
            prior=combiner.prior[column],
            temperature=combiner.temperature,
            strength=combiner.strength,
        )
    return votes


def write_probabilities(folder: Path, frozen: Frozen, combiner: Combiner) -> None:
    """Write probabilities.npy (N, C) from the other files of the folder, as the page combines them."""
    columns = np.arange(len(frozen.category_ids))[None]
    logits, votes, believed, context = (
        np.load(folder / name, mmap_mode="r") if (folder / name).exists() else None
        for name in ("logits.npy", "votes.npy", "believed.npy", "context.npy")
    )
    assert logits is not None  # written before anything else
    made = new_array(folder / "probabilities.npy", np.float16, logits.shape)
    for part in _parts(len(logits)):
        mixed = logits[part].astype(np.float32)
        if context is not None and believed is not None:
            mixed += surprise(believed[part], frozen.labels[part]) @ context.T
        vote = None if votes is None else votes[part].astype(np.float32)
        made[part] = combiner.probability(columns, mixed, vote)
    made.flush()


def _parts(count: int, size: int = _ROWS) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
