"""Nearest neighbours with FAISS, the only module that imports it; needs no torch.

An index is a cache over stored vectors: always rebuildable, never imported from people, and its SHA-256 is
checked before FAISS parses it. Similarities are inner products, so give L2-normalised vectors for cosines.

FAISS and torch each bring an OpenMP pool. Where both are used import torch first, or start the process with
OMP_WAIT_POLICY=PASSIVE: FAISS imported first with spinning threads made torch 2.4 times slower.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.floating]
Similarities = npt.NDArray[np.float32]

FLAT_LIMIT = 200_000
"""Whole-image vectors up to this number are searched exactly."""
PROBES = 32
REINSTALL = "pip uninstall -y faiss-cpu faiss-gpu, then pip install -r requirements.txt"


@cache
def _faiss() -> Any:
    """FAISS, imported on first use so that a broken installation can be explained."""
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import faiss

    return faiss


def faiss_installation_problem() -> str | None:
    """One sentence on what is wrong with the FAISS installation and the repair, or None."""
    names = {(found.metadata["Name"] or "").lower().replace("_", "-") for found in distributions()}
    if {"faiss-cpu", "faiss-gpu"} <= names:
        return f"Both faiss-cpu and faiss-gpu are installed and overwrite each other: {REINSTALL}."
    try:
        index = _faiss().IndexFlatIP(2)
        index.add(np.eye(2, dtype=np.float32))
        found = index.search(np.eye(2, dtype=np.float32)[1:], 1)[1]
    except (ImportError, AttributeError, RuntimeError) as error:
        return f"FAISS does not work here ({error}): {REINSTALL}."
    return None if found.tolist() == [[1]] else f"FAISS gives wrong neighbours here: {REINSTALL}."


def gpu_count() -> int:
    """GPUs that FAISS can use. Its GPU calls do not fail without one: make them only when this is above 0."""
    return int(_faiss().get_num_gpus())


class _Index:
    """Vectors (N, D) under int64 ids of 0 or more, each id once."""

    kinds: ClassVar[tuple[str, ...]]

    def __init__(self, index: Any, ids: Ids) -> None:
        self._index = index
        self._ids = set(ids.tolist())
        self._searched: Any = None

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return int(self._index.d)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._ids

    def add(self, ids: Sequence[int] | Ids, vectors: Vectors) -> None:
        """Add vectors (N, D) under their ids; an id that is there already gets the new vector.

        ValueError, with nothing changed, for a wrong dimension, a value that is not finite, or a negative or
        doubled id.
        """
        rows = _checked(vectors, dim=self.dim)
        wanted = np.asarray(ids, dtype=np.int64).reshape(-1)
        if len(wanted) != len(rows):
            raise ValueError(f"There are {len(wanted)} ids for {len(rows)} vectors.")
        if len(wanted) and (wanted.min() < 0 or len(np.unique(wanted)) < len(wanted)):
            raise ValueError("The ids of index vectors must be 0 or more, each given once.")
        self.remove(wanted)
        self._index.add_with_ids(rows, wanted)
        self._ids.update(wanted.tolist())
        self._searched = None

    def remove(self, ids: Sequence[int] | Ids) -> int:
        """Forget the vectors of these ids, passing over unknown ones; returns how many there were."""
        there = np.asarray([i for i in dict.fromkeys(np.asarray(ids).tolist()) if i in self._ids], np.int64)
        if len(there):
            self._index.remove_ids(there)
            self._ids.difference_update(there.tolist())
            self._searched = None
        return len(there)

    def search(
        self, vectors: Vectors, k: int, *, exclude: int | Sequence[int] | Ids | None = None,
        own: Sequence[int] | Ids | None = None,
    ) -> tuple[Ids, Similarities]:  # fmt: skip
        """The k most similar vectors, most similar first, as (ids, inner products).

        For one vector (D,): arrays of at most k entries. For several (Q, D): arrays (Q, k); a row with fewer
        neighbours ends in id -1 and similarity -inf. `exclude` leaves ids out of every row, `own` (Q,) one id
        per row: a decided cell is no neighbour of itself. ValueError for a wrong dimension, a value that is
        not finite, or k below 1.
        """
        rows = _checked(vectors, dim=self.dim)
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        left_out = np.atleast_1d(np.asarray([] if exclude is None else exclude, np.int64))
        fetch = min(k + len(left_out) + (own is not None), len(self))
        if fetch == 0:
            found, similar = (
                np.full((len(rows), k), -1, np.int64),
                np.full((len(rows), k), -np.inf, np.float32),
            )
        else:
            similar, found = self._searcher().search(rows, fetch)
            bad = (found < 0) | np.isin(found, left_out)
            if own is not None:
                bad |= found == np.asarray(own, np.int64).reshape(-1, 1)
            found, similar = _good_first(found, similar, bad=bad, k=k)
        if vectors.ndim == 1:
            good = found[0] >= 0
            return found[0][good], similar[0][good]
        return found, similar

    def save(self, path: Path) -> str:
        """Write the index in one step and return the SHA-256 to keep beside it."""
        data = _faiss().serialize_index(self._index).tobytes()
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        return hashlib.sha256(data).hexdigest()

    @classmethod
    def load(cls, path: Path, sha256: str) -> Self:
        """Read an index written by `save`; ValueError when the digest differs or it is of another kind."""
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError(
                f"The index {path.name} does not match its SHA-256; build it again from its vectors."
            )
        index = _faiss().deserialize_index(np.frombuffer(data, np.uint8))
        if type(index).__name__ not in cls.kinds:
            raise ValueError(
                f"The index {path.name} is a {type(index).__name__}, not one of {', '.join(cls.kinds)}."
            )
        return cls(index, _ids_of(index))

    def _searcher(self) -> Any:
        return self._index


class InstanceIndex(_Index):
    """Decided instances of one category, searched exactly; ids are image ids."""

    kinds = ("IndexIDMap2",)

    def __init__(self, index: Any, ids: Ids | None = None) -> None:
        """Wraps a FAISS index; use `empty` or `load`."""
        super().__init__(index, np.empty(0, np.int64) if ids is None else ids)

    @classmethod
    def empty(cls, dim: int) -> Self:
        """No vectors yet, of length `dim`."""
        faiss = _faiss()
        return cls(faiss.IndexIDMap2(faiss.IndexFlatIP(dim)))


class ImageIndex(_Index):
    """Whole images: exact up to 200,000 vectors, above that inverted lists with 8-bit codes (IVF, SQ8)."""

    kinds = ("IndexIDMap2", "IndexIVFScalarQuantizer")

    @classmethod
    def build(cls, ids: Sequence[int] | Ids, vectors: Vectors, *, flat_limit: int = FLAT_LIMIT) -> Self:
        """Index vectors (N, D) under their ids; inverted lists are trained on them. Errors as in `add`."""
        faiss = _faiss()
        if vectors.ndim != 2 or vectors.shape[1] < 1:
            raise ValueError(f"An index is built from vectors (N, D), not {vectors.shape}.")
        dim = vectors.shape[1]
        if len(vectors) <= flat_limit:
            index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
        else:
            rows, lists = _checked(vectors, dim=dim), max(1, int(4 * len(vectors) ** 0.5))
            index = faiss.index_factory(dim, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
            index.nprobe = min(PROBES, lists)
            index.cp.min_points_per_centroid = 1
            index.train(rows)
        built = cls(index, np.empty(0, np.int64))
        built.add(ids, vectors)
        return built

    def _searcher(self) -> Any:
        """A copy on the GPU where FAISS has one, made again after every change."""
        if self._searched is None:
            self._searched = self._index
            if gpu_count() > 0:
                faiss = _faiss()
                self._resources = faiss.StandardGpuResources()
                self._searched = faiss.index_cpu_to_gpu(self._resources, 0, self._index)
                log.info("image index of %d vectors is searched on the GPU", len(self))
        return self._searched


def _checked(vectors: Vectors, *, dim: int) -> npt.NDArray[np.float32]:
    """Rows (Q, dim) float32 of one or several finite vectors."""
    rows = np.ascontiguousarray(np.atleast_2d(vectors), np.float32)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise ValueError(
            f"The index holds vectors of length {dim}, not {np.shape(vectors)[-1:] or 'a number'}."
        )
    if not np.isfinite(rows).all():
        raise ValueError("An index vector holds a value that is not finite.")
    return rows


def _good_first(
    found: Ids, similar: Similarities, *, bad: npt.NDArray[np.bool_], k: int
) -> tuple[Ids, Similarities]:
    """Move what is bad behind the rest, mark it, and cut or fill every row to k."""
    order = np.argsort(bad, axis=1, kind="stable")
    found = np.take_along_axis(np.where(bad, -1, found), order, axis=1)[:, :k]
    similar = np.take_along_axis(np.where(bad, -np.inf, similar), order, axis=1)[:, :k].astype(np.float32)
    missing = ((0, 0), (0, k - found.shape[1]))
    return np.pad(found, missing, constant_values=-1), np.pad(similar, missing, constant_values=-np.inf)


def _ids_of(index: Any) -> Ids:
    faiss = _faiss()
    if hasattr(index, "id_map"):
        return np.asarray(faiss.vector_to_array(index.id_map), np.int64)
    lists = index.invlists
    sizes = [lists.list_size(n) for n in range(lists.nlist)]
    parts = [faiss.rev_swig_ptr(lists.get_ids(n), size).copy() for n, size in enumerate(sizes) if size]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
