"""Where the learner's tokens come from: maps read once from their source, projected, kept in memory when they
fit.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dsrb_core.frame import Frame

Rows = npt.NDArray[np.int64]
_CHUNK = 128  # images read at a time


class MapSource(Protocol):
    """Feature maps of a frozen backbone, by row. `FeatureCache.view()` is one."""

    locations: int
    dim: int
    grid: tuple[int, int]

    def __len__(self) -> int:
        """Number of images."""
        ...

    def read(self, rows: Rows) -> npt.NDArray[np.floating]:
        """Maps (B, locations, dim), float16 or float32, in the order of `rows`."""
        ...

    def pooled(self) -> npt.NDArray[np.float32]:
        """(N, dim): the mean over locations of every image."""
        ...


def check_source(source: MapSource) -> None:
    """ValueError when a source contradicts itself."""
    if source.grid[0] * source.grid[1] != source.locations:
        raise ValueError(f"A grid of {source.grid} does not have {source.locations} locations.")
    if len(source) < 1:
        raise ValueError("There is no image to learn from.")


def read_maps(source: MapSource, rows: Rows) -> Tensor:
    """Maps (B, locations, dim) as a float32 tensor; ValueError when they have another shape or are not
    finite.
    """
    given = np.asarray(source.read(rows))
    if given.shape != (len(rows), source.locations, source.dim):
        raise ValueError(f"The source gave maps of the shape {given.shape} for {len(rows)} rows.")
    # torch widens half precision several times faster than numpy, but takes writable memory only.
    maps = torch.from_numpy(given if given.flags.writeable else given.copy()).float()
    if not bool(torch.isfinite(maps).all()):
        raise ValueError("The source gave a feature map that is not finite.")
    return maps


class TokenStore:
    """Tokens (len(rows), locations, D) of the given rows of a source, projected into `frame`.

    Kept as float16 when they take at most `limit_bytes`; otherwise read and projected again at every use, so
    that memory stays bounded whatever the number of images.
    """

    def __init__(self, source: MapSource, frame: Frame, rows: Rows, *, limit_bytes: int) -> None:
        self._source, self._frame, self._rows = source, frame, rows
        size = len(rows) * source.locations * frame.projection.shape[1] * 2
        self._kept: Tensor | None = None
        self._fits = size <= limit_bytes

    @property
    def in_memory(self) -> bool:
        """True when the tokens are kept, which needs one `load`."""
        return self._kept is not None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def load(self, *, on_chunk: Callable[[int, int], None], should_stop: Callable[[], bool]) -> bool:
        """Read all maps once if the tokens fit in memory; False when stopped before the end."""
        if not self._fits:
            return True
        width = self._frame.projection.shape[1]
        kept = torch.empty(len(self), self._source.locations, width, dtype=torch.float16)
        for positions in _chunks(len(self)):
            if should_stop():
                return False
            kept[positions] = self._project(positions).cpu().half()
            on_chunk(int(positions[-1]) + 1, len(self))
        self._kept = kept
        return True

    def read(self, positions: Rows) -> Tensor:
        """Tokens (B, locations, D), float32, on the frame's device; `positions` index this store's rows."""
        if self._kept is None:
            # Half precision here too, so that the memory limit never changes a result.
            return self._project(positions).half().float()
        return self._kept[torch.from_numpy(positions)].to(self._frame.mean.device).float()

    @torch.no_grad()
    def _project(self, positions: Rows) -> Tensor:
        rows = self._rows[positions]
        order = np.argsort(rows, kind="stable")  # a source on disk likes ascending rows
        maps = read_maps(self._source, rows[order]).to(self._frame.mean.device)
        tokens = self._frame.project(maps)
        return tokens[torch.from_numpy(np.argsort(order, kind="stable")).to(tokens.device)]


def _chunks(count: int) -> Iterator[Rows]:
    for low in range(0, count, _CHUNK):
        yield np.arange(low, min(count, low + _CHUNK), dtype=np.int64)
