"""One number per cell that depends on nothing but the seed: it breaks ties and draws the random stream."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

LAST = np.uint64(2**64 - 1)


def cell_hash(seed: int, image_ids: np.ndarray, category_ids: np.ndarray | int) -> Hashes:
    """Evenly spread 64-bit numbers of cells; image and category ids broadcast against each other.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014), once for each of seed, image and category.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        mixed = _mix(np.asarray([seed & (2**64 - 1)], np.uint64))
        mixed = _mix(mixed ^ _mix(np.asarray(image_ids, np.uint64)))
        return _mix(mixed ^ _mix(np.asarray(category_ids, np.uint64) + np.uint64(0x632BE59BD9B4E019)))


def _mix(value: Hashes) -> Hashes:
    z = value + np.uint64(0x9E3779B97F4A7C15)
    z ^= z >> np.uint64(30)  # in place: a billion cells are a matter of memory traffic
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.asarray(z)
