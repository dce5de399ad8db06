"""Vectors of the categories' names, written by the worker and read by the web side.

The web side must not load a text model, and a category that was just added should be found soon: so the
worker keeps one small file per project, beside its generations, and makes it anew when names change. It is
a cache: a missing or unreadable file only means that nothing is guessed from names.
"""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

_FILE = "category_names.npz"


def names_file(data_dir: Path, project_id: int) -> Path:
    """Where the vectors of a project lie."""
    return data_dir / "projects" / str(project_id) / _FILE


@dataclass(frozen=True, kw_only=True)
class NameVectors:
    """Vectors by category id; each is of the name the category had then. `source` says who made them."""

    source: str
    names: Mapping[int, str]
    vectors: Mapping[int, npt.NDArray[np.float32]]  # a name without a vector is in `names` only

    def of(self, category_id: int, name: str) -> npt.NDArray[np.float32] | None:
        """Vector (S,) of a category that still has this name; None when there is none."""
        return self.vectors.get(category_id) if self.names.get(category_id) == name else None

    def to_bytes(self) -> bytes:
        """The file."""
        ids = sorted(self.names)
        there = [category_id for category_id in ids if category_id in self.vectors]
        table = np.stack([self.vectors[i] for i in there]) if there else np.empty((0, 0), np.float32)
        target = io.BytesIO()
        np.savez(
            target,
            source=np.array(self.source),
            ids=np.array(ids, np.int64),
            names=np.array([self.names[i] for i in ids], np.str_),
            there=np.array(there, np.int64),
            vectors=table.astype(np.float32),
        )
        return target.getvalue()


def read_names(path: Path) -> NameVectors | None:
    """The vectors in a file; None when there is no file that can be used."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            ids, there = found["ids"].tolist(), found["there"].tolist()
            names, vectors = found["names"].tolist(), found["vectors"]
            if len(ids) != len(names) or vectors.shape[:1] != (len(there),) or vectors.ndim != 2:
                return None
            if not np.isfinite(vectors).all():
                return None
            return NameVectors(
                source=str(found["source"]),
                names=dict(zip(ids, names, strict=True)),
                vectors=dict(zip(there, vectors.astype(np.float32), strict=True)),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


class KeptNames:
    """The vectors of one project, read again when their file has changed. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._found: NameVectors | None = None

    def now(self) -> NameVectors | None:
        """What the worker wrote last; None before it has, or when it cannot be read."""
        try:
            about = self._path.stat()
        except OSError:
            return None
        stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
        with self._lock:
            if stamp != self._stamp:
                self._stamp, self._found = stamp, read_names(self._path)
            return self._found
