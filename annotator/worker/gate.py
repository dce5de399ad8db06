"""Whether a candidate may take the place of the current generation: finite, and not clearly worse.

Compared are answers that neither generation has learned from. The candidate's score of such an answer is that
of its held-out cells. The current generation's is that of its own held-out cells, or, for a cell that nobody
had decided when it was trained, the logit of its model alone, as the candidate's is: what similar pictures
add to the stored scores is some points of mAP, and for them every candidate would be rejected. Figures of two
different sets of answers are never compared: questions become harder as the easy ones are answered, and a
better model would look worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from annotator import artifacts
from annotator.errors import ArtifactDamaged, NothingToLearn
from annotator.records import Generation
from annotator.snapshotting import Frozen
from annotator.store import Store, generations
from annotator.suggesting.generation import places_of
from annotator.worker import heldout
from dsrb_core.metrics import average_precision, nan_mean
from dsrb_core.model import DSRB
from dsrb_core.reports import Holdout

LEAST_CELLS = 30  # fewer comparable answers say nothing
GROUPS = 10  # of pictures, each left out once to see how far the difference can be believed
_ROWS = 4096

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Mean AP of candidate and current generation on the same `cells`; `error` of their difference."""

    current_id: int
    candidate: float
    current: float
    error: float
    cells: int

    def worse(self, tolerance: float) -> bool:
        """True when the candidate is worse by more than `tolerance` (0..1) beyond two standard errors."""
        return self.current - self.candidate - 2 * self.error > tolerance

    def facts(self, rejected: bool) -> dict[str, Any]:
        """For the manifest and the page."""
        return {
            "generation": self.current_id,
            "map": round(self.candidate, 6),
            "current_map": round(self.current, 6),
            "error": round(self.error, 6),
            "cells": self.cells,
            "rejected": rejected,
        }

    def sentence(self, number: int) -> str:
        """Why generation `number` is not used."""
        return (
            f"Generation {number} was made but is not used: on {self.cells} answers that neither has learned "
            f"from its mean AP is {self.candidate:.1%}, that of generation {self.current_id} is "
            f"{self.current:.1%}. Generation {self.current_id} goes on suggesting; the list of generations "
            f"lets you use {number} anyway."
        )


def check_finite(folder: Path, model: DSRB) -> None:
    """NothingToLearn, naming the array, when a candidate's folder or model holds NaN or infinity."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise _diverged(f"the weights {name}")
    for path in sorted(folder.glob("*.npy")):
        for part in _parts(np.load(path, mmap_mode="r", allow_pickle=False)):
            if part.dtype.kind == "f" and not np.isfinite(part).all():
                raise _diverged(path.name)
    for number in (folder / "combiner.json").read_text(encoding="utf-8").replace(",", " ").split():
        if number.strip("[]{}:") in ("NaN", "Infinity", "-Infinity"):
            raise _diverged("combiner.json")


def _parts(array: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(array), _ROWS):
        yield array[start : start + _ROWS]


def _diverged(what: str) -> NothingToLearn:
    return NothingToLearn(
        f"The training diverged: {what} of the candidate holds values that are not finite; the suggestions "
        "stay as they were."
    )


def compare(
    store: Store, data_dir: Path, frozen: Frozen, holdout: Holdout, *, backbone: str = ""
) -> Verdict | None:
    """The candidate with held-out cells `holdout` of `frozen` against the current generation.

    None where nothing can be said: no current generation, a damaged one, or too few comparable answers; and
    where the current one was made with another `backbone`: whoever changes it on purpose wants the new one,
    and a weaker one would else be rejected for ever and learn nothing any more.
    """
    with store.read() as c:
        current = generations.current(c, frozen.snapshot.project_id)
    if current is None or not len(holdout.labels) or backbone not in ("", current.backbone):
        return None
    try:
        honest = honest_scores(store, data_dir / current.folder, current, frozen, holdout)
    except (ArtifactDamaged, OSError, ValueError, KeyError, IndexError):
        return None  # a generation that cannot be read cannot be better
    return judge(current.id, holdout, honest)


def honest_scores(
    store: Store, folder: Path, current: Generation, frozen: Frozen, holdout: Holdout
) -> Floats:
    """Logits (M,) of the current generation for the held-out cells; NaN where it has learned the answer.

    ArtifactDamaged, ValueError, KeyError or OSError when its files are not right.
    """
    artifacts.verify(folder, current.manifest_sha256)
    images, categories = np.load(folder / "image_ids.npy"), np.load(folder / "category_ids.npy")
    corrected = bool(current.metrics.get("propagation"))
    alone = folder / (heldout.ALONE if corrected else "logits.npy")
    logits = np.load(alone, mmap_mode="r", allow_pickle=False) if alone.exists() else None
    asked = np.stack([frozen.image_ids[holdout.rows], frozen.category_ids[holdout.columns]], axis=1)
    rows, columns = places_of(images, asked[:, 0]), places_of(categories, asked[:, 1])
    new = (rows >= 0) & (columns >= 0) & _undecided_then(store, current, asked)
    scores = np.full(len(asked), np.nan, np.float32)
    if logits is not None:
        scores[new] = logits[rows[new], columns[new]]
    kept = heldout.read(folder, frozen)
    if kept is not None:
        dense = np.full(frozen.labels.shape, np.nan, np.float32)
        dense[kept.rows, kept.columns] = kept.model_logits
        again = dense[holdout.rows, holdout.columns]
        scores = np.where(np.isfinite(again), again, scores)
    return np.asarray(scores, np.float32)


def _undecided_then(store: Store, current: Generation, asked: np.ndarray) -> npt.NDArray[np.bool_]:
    """(M,) True for cells that had never been decided when the current generation was trained."""
    with store.read() as c:
        cells = generations.first_decided_since(c, current.project_id, current.up_to_seq)
    new = np.array(cells, np.int64).reshape(-1, 2)
    return np.isin(_keys(asked), _keys(new))


def _keys(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """One number for each (image, category); ids stay far below 2**31."""
    return np.asarray((cells[:, 0] << 31) | cells[:, 1], np.int64)


def judge(current_id: int, holdout: Holdout, honest: Floats) -> Verdict | None:
    """The verdict on cells where `honest` (M,) is a number; None when they are too few to rank anything."""
    usable = np.isfinite(honest) & np.isfinite(holdout.model_logits)
    if int(usable.sum()) < LEAST_CELLS:
        return None
    pictures, rows = np.unique(holdout.rows[usable], return_inverse=True)
    shape = (len(pictures), int(holdout.columns.max()) + 1)
    cells = (rows, holdout.columns[usable])
    labels = np.zeros(shape, np.int8)
    labels[cells] = holdout.labels[usable]
    new, old = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    new[cells], old[cells] = holdout.model_logits[usable], honest[usable]
    candidate, current = _mean_ap(new, labels), _mean_ap(old, labels)
    if np.isnan(candidate) or np.isnan(current):
        return None
    return Verdict(
        current_id=current_id,
        candidate=candidate,
        current=current,
        error=_error(new, old, labels),
        cells=int(usable.sum()),
    )


def _mean_ap(scores: Floats, labels: npt.NDArray[np.int8]) -> float:
    return nan_mean(average_precision(scores, labels))


def _error(new: Floats, old: Floats, labels: npt.NDArray[np.int8]) -> float:
    """Standard error of the difference of the mean APs: jackknife over groups of pictures."""
    groups = np.arange(len(labels)) % GROUPS
    found = np.array(
        [_mean_ap(new[rest], labels[rest]) - _mean_ap(old[rest], labels[rest]) for rest in _rests(groups)]
    )
    found = found[np.isfinite(found)]
    if len(found) < 2:
        return float("inf")  # nothing is known about how far the difference can be believed
    return float(np.sqrt((len(found) - 1) * np.mean((found - found.mean()) ** 2)))


def _rests(groups: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.bool_]]:
    for group in np.unique(groups):
        yield groups != group
