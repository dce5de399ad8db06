"""One generation folder opened for suggestions: digests checked, large arrays memory-mapped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from annotator.artifacts import FORMAT, MANIFEST, sha256_of
from annotator.errors import ArtifactDamaged
from annotator.records import Generation
from dsrb_core.calibration import Combiner
from dsrb_core.index import InstanceIndex

_ROWS = 4096  # rows taken at once, so that the memory needed does not grow with the project


class LoadedGeneration:
    """Scores, instance features, attention, combiner and indexes of one generation; never changes.

    Images and categories are found by id, never by position. Raises ArtifactDamaged naming the file that is
    not what its manifest says.
    """

    def __init__(self, data_dir: Path, record: Generation) -> None:
        self.id = record.id
        self.backbone = record.backbone
        self._folder = data_dir / record.folder
        manifest = self._manifest(record.manifest_sha256)
        self._files: dict[str, dict[str, Any]] = manifest["files"]
        self.image_ids = self._array("image_ids.npy")
        self.category_ids = self._array("category_ids.npy")
        self._logits = self._array("logits.npy")
        self._instances = self._array("instances.npy") if "instances.npy" in self._files else None
        self._attention = self._array("attention.npy") if "attention.npy" in self._files else None
        self.combiner = self._combiner()
        height, width = manifest["grid"]
        self._grid = (int(height), int(width))
        self._columns = {int(category_id): column for column, category_id in enumerate(self.category_ids)}
        self._positives = {int(one["id"]): int(one["positives"]) for one in manifest["categories"]}
        self._check_shapes()

    def _manifest(self, digest: str) -> dict[str, Any]:
        try:
            content = (self._folder / MANIFEST).read_bytes()
        except OSError as error:
            raise ArtifactDamaged(
                f"Generation {self.id}: manifest.json cannot be read ({error.strerror})."
            ) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise ArtifactDamaged(f"Generation {self.id}: manifest.json does not match its digest.")
        manifest: dict[str, Any] = json.loads(content)
        if manifest["format"] != FORMAT:
            raise ArtifactDamaged(
                f"Generation {self.id}: manifest.json has the unknown format {manifest['format']}."
            )
        return manifest

    def _checked(self, name: str) -> Path:
        """Path of a file whose bytes are what the manifest says."""
        path = self._folder / name
        try:
            found = sha256_of(path)
        except OSError as error:
            raise ArtifactDamaged(
                f"Generation {self.id}: {name} cannot be read ({error.strerror})."
            ) from error
        if found != self.digest(name):
            raise ArtifactDamaged(f"Generation {self.id}: {name} does not match its digest.")
        return path

    def _combiner(self) -> Combiner:
        try:
            return Combiner.from_json(self._checked("combiner.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactDamaged(f"Generation {self.id}: combiner.json cannot be used ({error}).") from error

    def digest(self, name: str) -> str:
        """SHA-256 of a file as the manifest has it."""
        try:
            return str(self._files[name]["sha256"])
        except KeyError as error:
            raise ArtifactDamaged(f"Generation {self.id}: {name} is not in its manifest.") from error

    def _array(self, name: str) -> np.ndarray:
        array: np.ndarray = np.load(self._checked(name), mmap_mode="r", allow_pickle=False)
        return array

    def _check_shapes(self) -> None:
        cells = (len(self.image_ids), len(self.category_ids))
        for name, array in (
            ("logits", self._logits),
            ("instances", self._instances),
            ("attention", self._attention),
        ):
            if array is not None and array.shape[:2] != cells:
                raise ArtifactDamaged(
                    f"Generation {self.id}: {name}.npy has shape {array.shape}, not {cells}."
                )
        if self.combiner.categories != cells[1]:
            raise ArtifactDamaged(f"Generation {self.id}: combiner.json is not for {cells[1]} categories.")

    def row(self, image_id: int) -> int | None:
        """Row of an image; None when it came after this generation."""
        row = int(np.searchsorted(self.image_ids, image_id))
        return row if row < len(self.image_ids) and self.image_ids[row] == image_id else None

    def rows(self, image_ids: np.ndarray) -> np.ndarray:
        """Rows (n,) of images, -1 where an image came after this generation."""
        rows = np.minimum(np.searchsorted(self.image_ids, image_ids), max(0, len(self.image_ids) - 1))
        return np.where(self.image_ids[rows] == image_ids, rows, -1) if len(self.image_ids) else rows * 0 - 1

    def column(self, category_id: int) -> int | None:
        """Column of a category this generation has learned; None for a later one or one without a yes."""
        return self._columns.get(category_id) if self._positives.get(category_id) else None

    def model_logits(self, row: int) -> np.ndarray:
        """Logits (C,) float32 of one image."""
        return np.asarray(self._logits[row], np.float32)

    def vectors(self, row: int) -> np.ndarray | None:
        """Instance features (C, d) float32 of one image; None when the generation has none."""
        return None if self._instances is None else np.asarray(self._instances[row], np.float32)

    def vectors_of(self, rows: np.ndarray, column: int) -> np.ndarray:
        """Instance features (n, d) float32 of one category; only with `has_instances`."""
        assert self._instances is not None
        return np.asarray(self._instances[rows, column], np.float32)

    @property
    def has_instances(self) -> bool:
        """False when the instance features were over the size limit."""
        return self._instances is not None

    def attention(self, row: int, column: int) -> np.ndarray | None:
        """Relevance (h, w) uint8 of the locations for one cell; None when the generation has none."""
        if self._attention is None:
            return None
        return np.asarray(self._attention[row, column]).reshape(self._grid)

    def model_probabilities(self) -> np.ndarray:
        """Calibrated probabilities (N, C) float32 from the model alone, without neighbours."""
        made = np.empty((len(self.image_ids), len(self.category_ids)), np.float32)
        columns = np.arange(len(self.category_ids))
        for start in range(0, len(made), _ROWS):
            part = np.asarray(self._logits[start : start + _ROWS], np.float32)
            made[start : start + _ROWS] = self.combiner.probability(columns, part)
        return made

    def load_index(self, category_id: int) -> InstanceIndex:
        """The category's index of decided instances; ArtifactDamaged when its digest is not right."""
        name = f"index/{category_id}.faiss"
        digest = self.digest(name)
        try:
            return InstanceIndex.load(self._folder / name, digest)
        except (ValueError, RuntimeError, OSError) as error:
            raise ArtifactDamaged(f"Generation {self.id}: {name} cannot be used ({error}).") from error
