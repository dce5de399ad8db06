"""Whole-picture features for pictures the generation does not know, read from the worker's feature cache."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from annotator.errors import ArtifactDamaged
from annotator.store import images
from dsrb_core.cache import FeatureCache


@contextmanager
def _named() -> Iterator[None]:
    """A cache that cannot be read is a damaged artifact."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ArtifactDamaged(f"The picture features cannot be read ({error}).") from error


def cache_folder(data_dir: Path, backbone: str) -> Path | None:
    """Folder of the feature cache of a backbone name; None when there is none yet."""
    features = data_dir / "features"
    kind, _, rest = backbone.partition(":")
    if not rest:
        found = [features / kind]
    else:
        model, _, size = rest.partition("@")
        found = sorted(features.glob(f"{kind}-{model}-{size or '*'}"))
    return next((folder for folder in found if (folder / "meta.json").is_file()), None)


class PooledFeatures:
    """L2-normalised pooled features by image id. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        with _named():
            self._cache = FeatureCache.read_only(folder)
        self._keys: dict[int, str] = {}

    @property
    def dim(self) -> int:
        """Length of a feature."""
        return self._cache.dim

    def of(self, conn: Connection, image_ids: Sequence[int]) -> tuple[list[int], np.ndarray]:
        """The images of `image_ids` that have features, in that order, and these (n, dim) float32.

        ArtifactDamaged when the cache cannot be read any more.
        """
        unseen = [image_id for image_id in image_ids if image_id not in self._keys]
        found = images.digests(conn, unseen) if unseen else {}
        with self._lock:
            self._keys.update(found)
            keys = [(image_id, self._keys.get(image_id, "")) for image_id in image_ids]
            if any(key not in self._cache for _, key in keys):
                with _named():
                    self._cache.refresh()
            present = [image_id for image_id, key in keys if key in self._cache]
            vectors = self._cache.pooled([self._keys[image_id] for image_id in present])
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return present, (vectors / np.maximum(norms, 1e-12)).astype(np.float32)


def open_features(data_dir: Path, backbone: str) -> PooledFeatures | None:
    """Features of a backbone; None while there are none. ArtifactDamaged when they cannot be read."""
    folder = cache_folder(data_dir, backbone)
    return None if folder is None else PooledFeatures(folder)
