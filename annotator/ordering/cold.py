"""Orders of pictures for which nothing has been learnt yet."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]

DIVERSE_LIMIT = 20_000  # pictures that are spread out by their features; of more, an even sample is
DIVERSE_PICKS = 500
TRIALS = 4  # candidates of a pick, of which the best is kept
_PROJECTED = 64  # dimensions in which distances are taken


def interleaved(count: int) -> Positions:
    """Positions 0 ... count - 1 spread out: every prefix covers them all evenly (bit-reversed counting)."""
    bits = max(1, (count - 1).bit_length())
    spread = np.arange(2**bits)
    turned = np.zeros_like(spread)
    for bit in range(bits):
        turned |= ((spread >> bit) & 1) << (bits - 1 - bit)
    return np.asarray(turned[turned < count])


def projected(vectors: np.ndarray, *, seed: int) -> np.ndarray:
    """`vectors` (N, D) in a random projection to few dimensions that nearly keeps distances."""
    directions = np.random.default_rng(seed).standard_normal((vectors.shape[1], _PROJECTED), np.float32)
    return np.asarray(vectors, np.float32) @ directions


def k_means_plus_plus(points: np.ndarray, *, seed: int, picks: int = DIVERSE_PICKS) -> Positions:
    """Positions of at most `picks` rows of `points` (N, D) float32, each drawn far from those before it.

    Greedy k-means++ (Arthur and Vassilvitskii 2007): a row is drawn in proportion to its squared distance
    to the nearest pick, best of a few draws. Farthest-first, the obvious other way, loves outliers: a
    broken or odd picture is always the farthest; here it is drawn as rarely as it occurs.
    """
    if not len(points):
        return np.empty(0, np.int64)
    rng = np.random.default_rng(seed)
    lengths = (points**2).sum(axis=1)
    # Near the middle: what is asked first should be typical of something.
    first = int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))
    chosen = [first]
    distance = _distances(points, lengths, np.array([first]))[0]
    while len(chosen) < min(picks, len(points)):
        distance[chosen] = 0.0
        total = np.cumsum(distance, dtype=np.float64)
        if total[-1] <= 0:
            break  # every row left equals a pick
        drawn = np.minimum(np.searchsorted(total, rng.random(TRIALS) * total[-1], "right"), len(points) - 1)
        after = np.minimum(_distances(points, lengths, drawn), distance)
        best = int(np.argmin(after.sum(axis=1)))
        chosen.append(int(drawn[best]))
        distance = after[best]
    return np.array(chosen, np.int64)


def then_rest(first: Positions, count: int) -> Positions:
    """`first`, then every other position below `count`, spread out."""
    left = np.ones(count, np.bool_)
    left[first] = False
    rest = np.nonzero(left)[0]
    return np.concatenate([first, rest[interleaved(len(rest))]]) if len(rest) else first


def _distances(points: np.ndarray, lengths: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Squared distances (n, N) of every point to the points `rows`; never below 0."""
    apart = lengths[rows][:, None] + lengths - 2 * (points[rows] @ points.T)
    return np.asarray(np.maximum(apart, 0.0))
