"""The held-out cells of a check, kept with the generation: for warm starts that take its gate over, and to
compare the next generation with this one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from annotator.snapshotting import Frozen
from dsrb_core.reports import Holdout

NAME = "heldout.npz"
ALONE = "model_logits.npy"  # (N, C) before similar pictures corrected them; only where they did


def write(folder: Path, frozen: Frozen, holdout: Holdout) -> None:
    """Write the cells under the ids of their images and categories."""
    np.savez(
        folder / NAME,
        image_ids=frozen.image_ids[holdout.rows],
        category_ids=frozen.category_ids[holdout.columns],
        labels=holdout.labels,
        model_logits=holdout.model_logits,
        floor_logits=holdout.floor_logits,
    )


def read(folder: Path, frozen: Frozen) -> Holdout | None:
    """The cells in rows and columns of a later snapshot, without those of images and categories that left.

    None when the generation has none. ValueError or KeyError when the file is not one of ours.
    """
    if not (folder / NAME).exists():
        return None
    with np.load(folder / NAME, allow_pickle=False) as kept:
        images, categories = kept["image_ids"], kept["category_ids"]
        here = np.isin(images, frozen.image_ids) & np.isin(categories, frozen.category_ids)
        return Holdout(
            np.searchsorted(frozen.image_ids, images[here]),
            np.searchsorted(frozen.category_ids, categories[here]),
            kept["labels"][here],
            kept["model_logits"][here],
            kept["floor_logits"][here],
        )
