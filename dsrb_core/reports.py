"""What a training run tells while it goes and when it is done. Letters: M held-out cells, C categories."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from dsrb_core.labels import Labels

if TYPE_CHECKING:
    from dsrb_core.baselines import FloorFit, LinearFloor
    from dsrb_core.model import DSRB


class Stopped(StrEnum):
    """How a run ended."""

    FINISHED = "finished"  # also when the check stopped early
    CANCELLED = "cancelled"  # the caller asked; the training checkpoint is kept
    DIVERGED = "diverged"  # three steps were not finite; the floor is kept


@dataclass(frozen=True)
class EpochReport:
    """One step of a run: `epoch` of `epochs` is done in `stage`.

    Stages: `reading` (images), `floor`, `checking` (without the held-out cells), `learning` (all known
    cells). `losses` by name, unweighted; held-out mAP of the model and of its floor while checking, else
    None.
    """

    stage: str
    epoch: int
    epochs: int
    losses: dict[str, float]
    heldout_map: float | None = None
    floor_map: float | None = None


def _none() -> npt.NDArray[np.float32]:
    return np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class Holdout:
    """Known cells with the logits of models that never saw them, for calibration and for figures.

    rows (M,) of the source, columns (M,), labels (M,) +-1, model_logits (M,) and floor_logits (M,).
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    labels: Labels
    model_logits: npt.NDArray[np.float32]
    floor_logits: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Folds:
    """The floors that have not seen a part of the known cells each, for figures that must not be flattered.

    rows (n,) of the source with a known cell; parts (n, C) int8, the floor a cell was left out of, -1 where
    it is unknown; logits (n, C) of that floor, of the whole one where unknown; floors, on the CPU.
    """

    rows: npt.NDArray[np.int64]
    parts: npt.NDArray[np.int8]
    logits: npt.NDArray[np.float32]
    floors: "tuple[LinearFloor, ...]"

    @classmethod
    def of(cls, rows: npt.NDArray[np.int64], floor: "FloorFit") -> Self:
        """The folds of a fit on the labels of `rows`."""
        floors = tuple(replace(one, weight=one.weight.cpu(), bias=one.bias.cpu()) for one in floor.folds)
        return cls(rows, floor.parts.cpu().numpy(), floor.out_of_fold.cpu().numpy(), floors)


@dataclass(frozen=True)
class FitResult:
    """What a run gave.

    `holdout`: with a gate above 0 the cells held out of the check; with gate 0 every known cell, out of fold.
    `category_ap` (C,): average precision of the kept model there, NaN where undefined; `heldout_map` and
    `floor_map` are the means for model and floor. `folds` is None when there was no floor yet. A cancelled or
    diverged run has a usable model whose gate is 0; `stopped` says so.
    """

    model: "DSRB"
    history: list[EpochReport]
    holdout: Holdout
    stopped: Stopped
    category_ap: npt.NDArray[np.float64]
    heldout_map: float
    floor_map: float
    floor_l2: float
    folds: Folds | None = None


@dataclass(frozen=True)
class Check:
    """The best epoch of the check, the gate chosen there, and the held-out logits (M,) of that epoch.

    `earlier`: the cells of an earlier check, where its gate was taken over without a new one.
    """

    l2: float
    score: float = float("-inf")
    epoch: int = 0
    gate: float = 0.0
    floor_logits: npt.NDArray[np.float32] = field(default_factory=_none)
    residual: npt.NDArray[np.float32] = field(default_factory=_none)
    earlier: Holdout | None = None

    def numbers(self) -> dict[str, Any]:
        """The scalars, JSON-ready."""
        score = None if self.score == float("-inf") else self.score
        return {"l2": self.l2, "score": score, "epoch": self.epoch, "gate": self.gate}

    @classmethod
    def restored(
        cls, numbers: dict[str, Any], floor_logits: npt.NDArray[np.float32], residual: npt.NDArray[np.float32]
    ) -> Self:
        """Back from `numbers` and the two arrays."""
        score = float("-inf") if numbers["score"] is None else numbers["score"]
        return cls(
            l2=numbers["l2"],
            score=score,
            epoch=numbers["epoch"],
            gate=numbers["gate"],
            floor_logits=floor_logits,
            residual=residual,
        )
