"""What is told of a generation: in its manifest, on the page, and in the message its job ends with."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from annotator import __version__
from annotator.settings import Settings
from annotator.snapshotting import Frozen
from annotator.worker.warm import Start
from dsrb_core.reliability import Bin, Judged
from dsrb_core.thresholds import thresholds
from dsrb_core.trainer import FitResult

NAMED = 3  # categories named in a message


def category_facts(frozen: Frozen, result: FitResult, judged: Judged) -> list[dict[str, Any]]:
    """One entry per category, in the order of the columns.

    Known cells; held-out AP, calibration error of the probability, and its thresholds for the usual precision
    and recall, each with the number of cells behind it.
    """
    tested = np.bincount(result.holdout.columns, minlength=len(frozen.categories))
    cells = list(judged.by_column(len(frozen.categories)))
    return [
        {
            "id": category.id,
            "name": category.name,
            "positives": int((column == 1).sum()),
            "negatives": int((column == -1).sum()),
            "ap": _number(result.category_ap[place]),
            "heldout": int(tested[place]),
            **_calibrated(cells[place]),
            "thresholds": asdict(thresholds(*cells[place].scored())),
        }
        for place, (category, column) in enumerate(zip(frozen.categories, frozen.labels.T, strict=True))
    ]


def metrics(frozen: Frozen, result: FitResult, start: Start, judged: Judged) -> dict[str, Any]:
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
        "warm_start": start.model is not None,
        **_calibrated(judged),
        "reliability": [_bin(one) for one in judged.bins()],
        "suggested": _suggested(judged),
    }


def _calibrated(judged: Judged) -> dict[str, Any]:
    return {"ece": _number(judged.calibration_error()), "ece_cells": len(judged)}


def _bin(one: Bin) -> dict[str, float | int | None]:
    """A bin as JSON; what an empty one does not have is None."""
    return {name: value if name == "cells" else _number(value) for name, value in asdict(one).items()}


def _suggested(judged: Judged) -> dict[str, Any]:
    """The cells that were more likely than not to be a yes, in one bin: how many of such were right."""
    (_, likely) = judged.bins(bins=2)
    return _bin(likely)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def made_by(settings: Settings, labels_sha256: str, device: str) -> dict[str, Any]:
    """What has to be the same for a training to give the same again: programs, seed, device and answers."""
    return {
        "annotator": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": device,
        "seed": settings.seed,
        "epochs": settings.epochs,
        "labels_sha256": labels_sha256,
    }


def end_message(number: int, facts: dict[str, Any], *, added: int) -> str:
    """What the training tells at its end; `added` categories came while it ran."""
    measured = facts["metrics"]
    how = "warm start" if measured["warm_start"] else "from scratch"
    said = (
        f"Generation {number} is ready ({how}), learned from {measured['positives']} yes and "
        f"{measured['negatives']} no"
    )
    if measured["map"] is None:
        said += "; too few answers to measure it."
    else:
        said += f"; mean AP {measured['map']:.1%} on {measured['heldout_cells']} held-out answers."
    single = [one["name"] for one in facts["categories"] if one["positives"] == 1]
    if single:
        names = ", ".join(single[:NAMED]) + (" and others" if len(single) > NAMED else "")
        said += f" Expect little of suggestions for {names}: there is a single yes so far."
    if added:
        said += f" {added} categories were added meanwhile; the next training learns them."
    return said
