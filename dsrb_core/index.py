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
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from dsrb_core.splits import evenly

log = logging.getLogger(__name__)

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.floating]
Similarities = npt.NDArray[np.float32]

FLAT_LIMIT = 200_000
"""Whole-image vectors up to this number are searched exactly."""
INSTANCE_FLAT_LIMIT = 20_000
"""Decided instances of one state of a category up to this number are searched exactly."""
MIN_RECALL = 0.99
PROBES = 32
_RECALL_AT, _RECALL_SAMPLE = 10, 256
_GPU_LOCK = threading.Lock()  # GPU indexes share their memory and may not be searched at the same time
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


@cache
def _gpu_resources() -> Any:
    return _faiss().StandardGpuResources()


class _Index:
    """Vectors (N, D) under int64 ids of 0 or more, each id once."""

    kinds: ClassVar[tuple[str, ...]]
    gpu_from: ClassVar[int] = 1  # vectors from which a GPU, where there is one, is worth the copy

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

    @property
    def ids(self) -> Ids:
        """Ids (N,) of all vectors, ascending."""
        return np.array(sorted(self._ids), np.int64)

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
            similar, found = self._found(rows, fetch)
            bad = found < 0
            if len(left_out):
                bad |= np.isin(found, left_out)
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

    def _found(self, rows: Vectors, k: int) -> tuple[Similarities, Ids]:
        searcher = self._searcher()
        with nullcontext() if searcher is self._index else _GPU_LOCK:
            similar, found = searcher.search(rows, k)
        return similar, found

    def _searcher(self) -> Any:
        """A copy on the GPU where FAISS has one, made again after every change."""
        if self._searched is None:
            self._searched = self._index
            if len(self) >= self.gpu_from and gpu_count() > 0:
                with _GPU_LOCK:
                    self._searched = _faiss().index_cpu_to_gpu(_gpu_resources(), 0, self._index)
                log.info("index of %d vectors is searched on the GPU", len(self))
        return self._searched


class InstanceIndex(_Index):
    """Decided instances of one state of a category; ids are image ids.

    Exact up to `INSTANCE_FLAT_LIMIT` vectors when built, above that inverted lists (IVF) that find at least
    0.99 of the ten nearest. `recall`: that share as measured when it was built, 1.0 for an exact index, None
    for inverted lists that were loaded.
    """

    kinds = ("IndexIDMap2", "IndexIVFFlat")
    gpu_from = 1000

    def __init__(self, index: Any, ids: Ids | None = None) -> None:
        """Wraps a FAISS index; use `empty`, `build` or `load`."""
        super().__init__(index, np.empty(0, np.int64) if ids is None else ids)
        self.recall: float | None = 1.0 if type(index).__name__ == "IndexIDMap2" else None

    @classmethod
    def empty(cls, dim: int) -> Self:
        """No vectors yet, of length `dim`."""
        faiss = _faiss()
        return cls(faiss.IndexIDMap2(faiss.IndexFlatIP(dim)))

    @classmethod
    def build(
        cls, ids: Sequence[int] | Ids, vectors: Vectors, *, flat_limit: int = INSTANCE_FLAT_LIMIT
    ) -> Self:
        """Index vectors (N, D) under their ids; inverted lists are trained and measured on them.

        As many lists are read as the wanted recall needs, all of them if need be. Errors as in `add`.
        """
        dim = _dim(vectors)
        if len(vectors) <= flat_limit:
            built = cls.empty(dim)
            built.add(ids, vectors)
            return built
        rows, lists = _checked(vectors, dim=dim), max(1, int(4 * len(vectors) ** 0.5))
        built = cls(_inverted_lists(rows, f"IVF{min(lists, len(rows))},Flat"))
        built.add(ids, vectors)
        built._read_enough(rows, np.asarray(ids, np.int64).reshape(-1))
        return built

    def _read_enough(self, rows: Vectors, ids: Ids) -> None:
        """Raise the number of lists read until enough of the nearest are found, and say how much that is."""
        sample = evenly(len(rows), _RECALL_SAMPLE)
        k = min(_RECALL_AT, len(rows) - 1)
        exact = rows[sample] @ rows.T
        exact[np.arange(len(sample)), sample] = -np.inf
        # By similarity, not by id: which of several equal ones is found makes no difference.
        least = np.partition(exact, -k, axis=1)[:, -k] - 1e-5 if k else np.zeros(len(sample))
        probes = 4
        while True:
            self._index.nprobe = min(probes, self._index.nlist)
            found = self.search(rows[sample], max(1, k), own=ids[sample])[1]
            self.recall = float((found >= least[:, None]).mean()) if k else 1.0
            if self.recall >= MIN_RECALL or probes >= self._index.nlist:
                break
            probes *= 2
        log.info(
            "index of %d instances reads %d of %d lists, recall@%d %.4f",
            len(rows), self._index.nprobe, self._index.nlist, k, self.recall,
        )  # fmt: skip


class ImageIndex(_Index):
    """Whole images: exact up to 200,000 vectors, above that inverted lists with 8-bit codes (IVF, SQ8)."""

    kinds = ("IndexIDMap2", "IndexIVFScalarQuantizer")

    @classmethod
    def build(cls, ids: Sequence[int] | Ids, vectors: Vectors, *, flat_limit: int = FLAT_LIMIT) -> Self:
        """Index vectors (N, D) under their ids; inverted lists are trained on them. Errors as in `add`."""
        faiss = _faiss()
        dim = _dim(vectors)
        if len(vectors) <= flat_limit:
            index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
        else:
            rows, lists = _checked(vectors, dim=dim), max(1, int(4 * len(vectors) ** 0.5))
            index = _inverted_lists(rows, f"IVF{lists},SQ8")
            index.nprobe = min(PROBES, lists)
        built = cls(index, np.empty(0, np.int64))
        built.add(ids, vectors)
        return built


def _inverted_lists(rows: Vectors, kind: str) -> Any:
    """An index of inverted lists trained on rows (N, D), still empty."""
    faiss = _faiss()
    index = faiss.index_factory(rows.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(rows)
    return index


def _dim(vectors: Vectors) -> int:
    """Length of the vectors (N, D) that an index is built from."""
    if vectors.ndim != 2 or vectors.shape[1] < 1:
        raise ValueError(f"An index is built from vectors (N, D), not {vectors.shape}.")
    return int(vectors.shape[1])


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
    there = min(k, found.shape[1])
    ids, similarities = np.full((len(found), k), -1, np.int64), np.full((len(found), k), -np.inf, np.float32)
    ids[:, :there], similarities[:, :there] = found[:, :there], similar[:, :there]
    some = np.flatnonzero(bad.any(axis=1))  # most rows have nothing to move
    if len(some):
        worse = bad[some]
        rows, order = np.arange(len(some))[:, None], np.argsort(worse, axis=1, kind="stable")[:, :there]
        ids[some, :there] = np.where(worse, -1, found[some])[rows, order]
        similarities[some, :there] = np.where(worse, -np.inf, similar[some])[rows, order]
    return ids, similarities


def _ids_of(index: Any) -> Ids:
    faiss = _faiss()
    if hasattr(index, "id_map"):
        return np.asarray(faiss.vector_to_array(index.id_map), np.int64)
    lists = index.invlists
    sizes = [lists.list_size(n) for n in range(lists.nlist)]
    parts = [faiss.rev_swig_ptr(lists.get_ids(n), size).copy() for n, size in enumerate(sizes) if size]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
