"""How many cells each held-out cell counts for, by how it came to be asked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from annotator.snapshotting import Frozen
from dsrb_core.reports import Holdout
from dsrb_core.splits import evenly
from dsrb_core.weighting import asking_weights

SAMPLE = 2048  # pictures whose unknown cells stand for all of them


def held_out_weights(
    frozen: Frozen, holdout: Holdout, logits: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Weights (M,) of the held-out cells; see `asking_weights`.

    `logits` (N, C) of the model alone, for the snapshot's cells: what unknown cells are like.
    """
    by_strategy = frozen.by_strategy[holdout.rows, holdout.columns]
    rows = evenly(len(frozen.image_ids), SAMPLE)
    unknown = np.asarray(logits[rows])[frozen.labels[rows] == 0]
    return asking_weights(holdout.model_logits, unknown, by_strategy)
