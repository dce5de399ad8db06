"""The interface of the methods the protocol compares.

Letters: N images of a source, C categories. A method sees feature maps and partial labels, never a complete
label.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dsrb_core.config import TrainConfig
from dsrb_core.labels import Labels
from dsrb_core.reports import EpochReport
from dsrb_core.tokens import MapSource

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
OnEpoch = Callable[[EpochReport], None]


class Method(Protocol):
    """A way to score unknown cells."""

    @property
    def name(self) -> str:
        """What it is called on the command line and in tables."""
        ...

    @property
    def about(self) -> str:
        """One clause for the report."""
        ...

    def fit_predict(
        self,
        source: MapSource,
        labels: Labels,
        train_rows: Rows,
        test_rows: Rows,
        *,
        seed: int,
        training: TrainConfig,
        on_epoch: OnEpoch | None = None,
    ) -> Scores:
        """Learn from the known cells of `train_rows` and score both parts: logits (N, C), NaN in other rows.

        `labels` (N, C); what stands outside `train_rows` is never read. `training` gives epochs, device and
        the like; `seed` replaces its seed. ValueError when nothing can be learnt.
        """
        ...


class Subset:
    """Some rows of a map source, as a map source."""

    def __init__(self, source: MapSource, rows: Rows) -> None:
        self._source, self._rows = source, rows
        self.locations, self.dim, self.grid = source.locations, source.dim, source.grid

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: Rows) -> npt.NDArray[np.floating]:
        """Maps (B, locations, dim) of the subset's rows."""
        return self._source.read(self._rows[rows])

    def pooled(self) -> npt.NDArray[np.float32]:
        """Means over the locations (len(self), dim)."""
        return self._source.pooled()[self._rows]


def scattered(count: int, rows: Rows, logits: Scores) -> Scores:
    """Logits (len(rows), C) in their rows of (count, C), NaN elsewhere."""
    scores = np.full((count, logits.shape[1]), np.nan, dtype=np.float32)
    scores[rows] = logits
    return scores
