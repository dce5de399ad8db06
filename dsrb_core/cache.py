"""Feature maps on disk, one row per picture, kept for ever because the backbone is frozen. Needs numpy only.

A cache folder holds `meta.json` (grid and dim), `maps.f16` (rows of locations x dim, half precision),
`pooled.f32` (their means over the locations) and `keys.txt` (one SHA-256 of a picture's bytes per line). A
row counts once its key line is complete, and the key is written after the data has reached the disk: a crash
loses the rows of the last append at most and never shows half a row. One process writes, any number read.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from dsrb_core.cache_files import (
    KEY,
    KEY_BYTES,
    complete_rows,
    cut_torn_tail,
    read_keys,
    read_meta,
    require_shape,
    row_bytes,
    take_lock,
    write_at,
    write_meta,
)

Rows = npt.NDArray[np.int64]
Half = npt.NDArray[np.float16]
Float = npt.NDArray[np.float32]


class CacheView:
    """Some rows of a cache in a chosen order: the map source that training and prediction read."""

    def __init__(self, cache: FeatureCache, rows: Rows) -> None:
        """`rows` are row numbers of `cache`; the view keeps seeing exactly these."""
        self._maps, self._means = cache.arrays()
        self._rows = rows
        self.grid, self.dim, self.locations = cache.grid, cache.dim, cache.locations

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: npt.NDArray[np.integer]) -> Half:
        """Maps (B, locations, dim) in float16 of the view's rows numbered `rows`; else IndexError."""
        return np.asarray(self._maps[self._rows[rows]])

    def pooled(self) -> Float:
        """Means over the locations, (N, dim) float32, for the whole view."""
        return np.asarray(self._means[self._rows])


class FeatureCache:
    """See the module; use `open` or `read_only`."""

    def __init__(self, folder: Path, *, grid: tuple[int, int], dim: int, lock: BinaryIO | None) -> None:
        self.folder = folder
        self.grid = grid
        self.dim = dim
        self.locations = grid[0] * grid[1]
        self._lock = lock
        self._rows: dict[str, int] = {}
        self._maps: Half = np.empty((0, self.locations, dim), np.float16)
        self._means: Float = np.empty((0, dim), np.float32)
        self.refresh()

    @classmethod
    def open(cls, folder: Path, *, grid: tuple[int, int], dim: int, writable: bool) -> FeatureCache:
        """Open a cache for maps of (grid rows x grid columns, dim); a writable one is made when missing.

        Raises ValueError when the folder holds other shapes, RuntimeError when another process is writing.
        """
        if not writable:
            require_shape(folder, grid=grid, dim=dim)
            return cls(folder, grid=grid, dim=dim, lock=None)
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as until_open:
            lock = until_open.enter_context(take_lock(folder))
            if not (folder / "meta.json").exists():
                write_meta(folder, grid=grid, dim=dim)
            require_shape(folder, grid=grid, dim=dim)
            cut_torn_tail(folder, bytes_per_row=row_bytes(grid[0] * grid[1], dim))
            cache = cls(folder, grid=grid, dim=dim, lock=lock)
            until_open.pop_all()
        return cache

    @classmethod
    def read_only(cls, folder: Path) -> FeatureCache:
        """Open what is there for reading; ValueError when there is no readable cache."""
        grid, dim = read_meta(folder)
        return cls(folder, grid=grid, dim=dim, lock=None)

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def close(self) -> None:
        """Give the writer's lock back; reading goes on."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def refresh(self) -> int:
        """See the rows a writer has added since; returns their number."""
        before = len(self._rows)
        complete = complete_rows(self.folder, bytes_per_row=row_bytes(self.locations, self.dim))
        keys = read_keys(self.folder, start=before, stop=complete)
        if keys:
            self._rows.update(zip(keys, range(before, before + len(keys)), strict=True))
            self._map_files(before + len(keys))
        return len(keys)

    def rows(self, keys: Sequence[str]) -> Rows:
        """Row numbers (N,) of `keys`; ValueError names a key that is not cached."""
        try:
            return np.fromiter((self._rows[key] for key in keys), np.int64, len(keys))
        except KeyError as error:
            raise ValueError(
                f"The picture {error.args[0]!r} has no features in the cache {self.folder.name}."
            ) from None

    def view(self, keys: Sequence[str]) -> CacheView:
        """The rows of `keys`, in their order; ValueError names a key that is not cached."""
        return CacheView(self, self.rows(keys))

    def pooled(self, keys: Sequence[str]) -> Float:
        """Means over the locations, (N, dim) float32; ValueError names a key that is not cached."""
        return np.asarray(self._means[self.rows(keys)])

    def arrays(self) -> tuple[Half, Float]:
        """All maps (N, locations, dim) and all means (N, dim), memory-mapped and read-only."""
        return self._maps, self._means

    def append(self, keys: Sequence[str], maps: npt.NDArray[np.floating]) -> None:
        """Add maps (B, locations, dim), one per key; on the disk when this returns.

        Raises ValueError, with nothing written, for a wrong shape, a value half precision cannot hold, a key
        that is no SHA-256, and a key given twice or cached already; RuntimeError on a read-only cache.
        """
        if self._lock is None:
            raise RuntimeError(f"The feature cache {self.folder.name} is open for reading only.")
        self._check_keys(keys)
        if maps.shape != (len(keys), self.locations, self.dim):
            raise ValueError(f"The feature cache {self.folder.name} takes {len(keys)} maps of "
                             f"{self.locations} x {self.dim}, not {maps.shape}.")  # fmt: skip
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(maps, dtype=np.float16)
        # The bits say it ten times faster than isfinite does in half precision: all ones in the exponent.
        if half.size and int((half.view(np.uint16) & 0x7C00).max()) == 0x7C00:
            raise ValueError("A feature map holds a value that is not finite in half precision.")
        start = len(self._rows)
        means = maps.mean(axis=1, dtype=np.float32)
        try:
            write_at(self.folder / "maps.f16", start * self.locations * self.dim * 2, half.data)
            write_at(self.folder / "pooled.f32", start * self.dim * 4, means.data)
            lines = "".join(f"{key}\n" for key in keys)
            write_at(self.folder / "keys.txt", start * KEY_BYTES, lines.encode())
        finally:
            # When the disk fills up amid the keys, those that made it count: readers may have seen them.
            self.refresh()

    def _check_keys(self, keys: Sequence[str]) -> None:
        wrong = next((key for key in keys if not KEY.fullmatch(key)), None)
        if wrong is not None:
            raise ValueError(f"A feature cache's key is a SHA-256 in lower-case hex, not {wrong!r}.")
        known = next((key for key in keys if key in self._rows), None)
        if known is not None or len(set(keys)) < len(keys):
            raise ValueError(f"The picture {known or 'of one key'} would be cached twice.")

    def _map_files(self, count: int) -> None:
        shape = (count, self.locations, self.dim)
        self._maps = np.memmap(self.folder / "maps.f16", np.float16, "r", shape=shape)
        self._means = np.memmap(self.folder / "pooled.f32", np.float32, "r", shape=(count, self.dim))
