"""Which picture to ask about next."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from annotator.records import ImageState
from annotator.store import categories, images
from annotator.suggesting import LoadedGeneration, ProjectStates, Suggester

TOP_CELLS = 3  # most uncertain unknown cells that make an image's score
DIVERSE_LIMIT = 20_000  # images above which spreading over import order has to do
DIVERSE_PICKS = 1000
_PROJECTED = 64


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """Images in asking order and how they were ordered."""

    ids: tuple[int, ...]
    generation_id: int | None
    strategy: str
    note: str = ""


class Ordering:
    """Orders images of a project; keeps what is the same for a whole generation. Thread-safe."""

    def __init__(self, suggester: Suggester) -> None:
        self._suggester = suggester
        self._lock = threading.Lock()
        self._entropies: dict[int, tuple[int, np.ndarray]] = {}
        self._diverse: dict[int, tuple[tuple[int, int], list[int]]] = {}

    def deck(self, conn: Connection, project_id: int, limit: int) -> Ordered:
        """At most `limit` images that still have unknown cells."""
        all_ids = images.ids(conn, project_id)
        active = [category.id for category in categories.list_active(conn, project_id)]
        states = self._suggester.states(conn, project_id)
        generation, note = self._suggester.generation(conn, project_id)
        if generation is None:
            strategy, order = self._before_training(conn, project_id, all_ids)
            order = _undecided_first(order, states)
        else:
            strategy = "uncertain"
            order = self._most_uncertain_first(project_id, generation, states, all_ids, active)
        open_ids = _with_unknown_cells(order, states, active)
        ids = _usable(conn, open_ids, limit)
        return Ordered(
            ids=tuple(ids),
            generation_id=None if generation is None else generation.id,
            strategy=strategy,
            note=note or _empty_note(all_ids, open_ids, ids),
        )

    def _before_training(
        self, conn: Connection, project_id: int, all_ids: list[int]
    ) -> tuple[str, list[int]]:
        features = self._suggester.features(conn, project_id)
        if features is None or not 2 <= len(all_ids) <= DIVERSE_LIMIT:
            return "interleaved", interleaved(all_ids)
        key = (len(all_ids), all_ids[-1])
        with self._lock:
            made = self._diverse.get(project_id)
        if made is None or made[0] != key:
            present, vectors = features.of(conn, all_ids)
            if len(present) < len(all_ids):  # still being extracted
                return "interleaved", interleaved(all_ids)
            made = key, diverse(present, vectors)
            with self._lock:
                self._diverse[project_id] = made
        return "diverse", made[1]

    def _most_uncertain_first(
        self,
        project_id: int,
        generation: LoadedGeneration,
        states: ProjectStates,
        all_ids: list[int],
        active: Sequence[int],
    ) -> list[int]:
        entropies = self._of_generation(project_id, generation)
        columns = [column for c in active if (column := generation.column(c)) is not None]
        rows = generation.rows(np.array(all_ids, np.int64))
        covered = [image_id for image_id, row in zip(all_ids, rows, strict=True) if row >= 0]
        rest = interleaved([image_id for image_id, row in zip(all_ids, rows, strict=True) if row < 0])
        if not columns or not covered:
            return covered + rest
        rows = rows[rows >= 0]
        unknown = states.block(covered, [int(generation.category_ids[c]) for c in columns]) == 0
        scores = uncertainty(entropies[rows[:, None], np.array(columns)].astype(np.float32), unknown)
        return [covered[i] for i in np.argsort(-scores, kind="stable")] + rest

    def _of_generation(self, project_id: int, generation: LoadedGeneration) -> np.ndarray:
        with self._lock:
            made = self._entropies.get(project_id)
            if made is None or made[0] != generation.id:
                made = generation.id, binary_entropy(generation.model_probabilities()).astype(np.float16)
                self._entropies[project_id] = made
            return made[1]


def binary_entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy in bits of yes/no questions: 1 at one half, 0 at certainty."""
    p = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def uncertainty(entropies: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Score (N,) of images: mean entropy of their most uncertain unknown cells; decided cells count nothing.

    `entropies` and `unknown` are (N, C).
    """
    kept = np.where(unknown, entropies, 0.0)
    top = min(TOP_CELLS, kept.shape[1])
    return np.asarray(np.partition(kept, -top, axis=1)[:, -top:].mean(axis=1))


def interleaved(ids: Sequence[int]) -> list[int]:
    """The same ids spread out: every prefix covers the whole import evenly (bit-reversed counting)."""
    bits = max(1, (len(ids) - 1).bit_length())
    spread = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits))
    return [ids[i] for i in spread if i < len(ids)]


def diverse(ids: Sequence[int], vectors: np.ndarray) -> list[int]:
    """Farthest-first order (k-center): each next image is the one least like all before it.

    Only the first picks are made so, on a fixed random projection; the rest follow spread out.
    """
    # The seed is fixed so that the same pictures come in the same order on every start.
    directions = np.random.default_rng(0).standard_normal((vectors.shape[1], _PROJECTED), dtype=np.float32)
    points = vectors @ directions
    first = int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))
    picks = [first]
    distance = ((points - points[first]) ** 2).sum(axis=1)
    while len(picks) < min(len(ids), DIVERSE_PICKS):
        distance[picks[-1]] = -1.0
        chosen = int(np.argmax(distance))
        picks.append(chosen)
        distance = np.minimum(distance, ((points - points[chosen]) ** 2).sum(axis=1))
    taken = set(picks)
    return [ids[i] for i in picks] + interleaved([one for i, one in enumerate(ids) if i not in taken])


def _undecided_first(order: list[int], states: ProjectStates) -> list[int]:
    seen = set(states.images())
    return [i for i in order if i not in seen] + [i for i in order if i in seen]


def _with_unknown_cells(order: list[int], states: ProjectStates, active: list[int]) -> list[int]:
    if not active or not order:
        return order  # without a category everything about a picture is still open
    unknown = (states.block(order, active) == 0).any(axis=1)
    return [image_id for image_id, is_open in zip(order, unknown, strict=True) if is_open]


def _usable(conn: Connection, order: list[int], limit: int) -> list[int]:
    """The first `limit` images whose files can be shown."""
    usable: list[int] = []
    for start in range(0, len(order), limit):
        part = images.many(conn, order[start : start + limit])
        usable += [image.id for image in part if image.state is ImageState.READY]
        if len(usable) >= limit:
            break
    return usable[:limit]


def _empty_note(all_ids: list[int], open_ids: list[int], ids: list[int]) -> str:
    if ids:
        return ""
    if not all_ids:
        return "There are no pictures yet; import some in the Import tab."
    if not open_ids:
        return "Every category is decided for every picture; add a category or more pictures, or export."
    return "The files of all pictures with open questions are missing; put them back into the data folder."
