"""How far a picture's answers surprise the model; needs numpy only, so the web side can measure it too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dsrb_core.labels import Labels


def surprise(logits: npt.NDArray[np.floating], labels: Labels) -> npt.NDArray[np.float32]:
    """Answer (1 or 0) less the model's probability where a cell is known, 0 where unknown or unsure.

    `logits` and `labels` of one shape, labels +1 and -1 known; the same shape, in [-1, 1]. The logits must
    not have seen the answers, else nothing surprises.
    """
    believed = 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float32)))
    return np.where(np.abs(labels) == 1, (labels > 0) - believed, 0.0).astype(np.float32)
