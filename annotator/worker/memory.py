"""What running out of memory looks like, and how a training tries again with less."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import torch

from annotator.errors import NothingToLearn
from dsrb_core.config import TrainConfig
from dsrb_core.trainer import FitResult

log = logging.getLogger(__name__)

HALVINGS = 3
_SIGNS = (
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "out of memory",
    "failed to map segment",  # a library that is loaded when it is first needed
)


def out_of_memory(error: BaseException) -> bool:
    """True for what Python, NumPy, torch on CPU or GPU, OpenVINO and FAISS raise when memory is short."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError | ImportError) and any(
        sign in str(error).lower() for sign in _SIGNS
    )


def fit_in_memory(run: Callable[[TrainConfig], FitResult], training: TrainConfig) -> tuple[FitResult, str]:
    """Run a training; when memory is short again with half the batch, at most three times.

    Returns the result and what to tell of it ("" when the first try was enough). NothingToLearn when it is
    never enough. Other errors pass.
    """
    for halved in range(HALVINGS + 1):
        try:
            result = run(training)
        except (MemoryError, RuntimeError, OSError) as error:
            if not out_of_memory(error):
                raise
            log.warning("a training with batches of %s pictures ran out of memory", training.batch_size)
        else:
            return (
                result,
                f"Memory was short: it learned in batches of {training.batch_size}." if halved else "",
            )
        _free()
        training = smaller(training)
    raise NothingToLearn(short_of_memory("this training", halved=True))


def smaller(training: TrainConfig) -> TrainConfig:
    """Half the batch, and half of what may be kept in memory between batches."""
    return replace(
        training,
        batch_size=max(1, training.batch_size // 2),
        batch_cells=max(1, training.batch_cells // 2),
        memory_bytes=training.memory_bytes // 4,
    )


def short_of_memory(what: str, *, halved: bool = False) -> str:
    """One sentence for the person whose job failed for lack of memory."""
    tried = f", also in batches {2**HALVINGS} times smaller" if halved else ""
    return (
        f"The memory of this machine is not enough for {what}{tried}; close other programs, use a smaller "
        "backbone or fewer pictures. The suggestions stay as they were."
    )


def _free() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
