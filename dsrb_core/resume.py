"""The checkpoint of a run in progress: with it, a resumed run equals an uninterrupted one."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dsrb_core.checkpoint import load_training, save_training
from dsrb_core.reports import Check, EpochReport
from dsrb_core.training import Learner

log = logging.getLogger(__name__)


def fingerprint(*, arrays: list[npt.NDArray[Any]], options: dict[str, Any]) -> str:
    """SHA-256 over everything a run depends on; a checkpoint of another run is never taken up."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Saved:
    """A point between two epochs."""

    stage: str
    epoch: int
    check: Check
    history: list[EpochReport]
    tensors: dict[str, Tensor]


class Progress:
    """Reads and writes the checkpoint of one run at `path`; None = no checkpoint is kept."""

    def __init__(self, path: Path | None, identity: str) -> None:
        self._path, self._identity = path, identity

    def load(self) -> Saved | None:
        """The last saved point of this very run, or None."""
        found = None if self._path is None else load_training(self._path)
        if found is None:
            return None
        tensors, about = found
        if about["identity"] != self._identity:
            log.info("The training checkpoint belongs to other data or options; starting afresh.")
            return None
        parts = [tensors.pop(f"check.{name}").numpy() for name in ("floor_logits", "residual")]
        history = [EpochReport(**report) for report in about["history"]]
        return Saved(about["stage"], about["epoch"], Check.restored(about["check"], *parts), history, tensors)

    def save(
        self, learner: Learner, stage: str, epoch: int, *, check: Check, history: list[EpochReport]
    ) -> None:
        """Write the point after `epoch` epochs of `stage`, in one step."""
        if self._path is None:
            return
        about = {
            "identity": self._identity,
            "stage": stage,
            "epoch": epoch,
            "check": check.numbers(),
            "history": [asdict(report) for report in history],
        }
        held = {
            "check.floor_logits": torch.from_numpy(check.floor_logits),
            "check.residual": torch.from_numpy(check.residual),
        }
        save_training(self._path, learner.state() | held, about)

    def forget(self) -> None:
        """Remove the checkpoint: the run is over."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
