"""Arrays that are written through memory, on disks that may become full."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap


def new_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file to be filled through memory; OSError when the disk has no room for all of it.

    Its room is taken before anything is written: where the disk became full in the middle, the system would
    kill the process (SIGBUS) instead of telling it.
    """
    array = open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
