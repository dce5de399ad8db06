"""One generation folder opened for suggestions: digests checked, large arrays memory-mapped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from annotator.artifacts import MANIFEST, format_problem, sha256_of
from annotator.errors import ArtifactDamaged
from annotator.records import Generation
from dsrb_core.calibration import Combiner
from dsrb_core.decided_index import NEGATIVE, POSITIVE, DecidedIndex, file_name
from dsrb_core.index import InstanceIndex
from dsrb_core.surprise import surprise


def places_of(ids: np.ndarray, wanted: np.ndarray) -> npt.NDArray[np.int64]:
    """Places (n,) of the `wanted` numbers in ascending `ids`, -1 where one is not there."""
    if not len(ids):
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[places] == wanted, places, -1).astype(np.int64)


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
        self._check_owner(manifest, record)
        self._files: dict[str, dict[str, Any]] = manifest["files"]
        self.image_ids = self._array("image_ids.npy")
        self.category_ids = self._array("category_ids.npy")
        self._logits = self._array("logits.npy")
        self._probabilities = self._array("probabilities.npy")
        self._votes = self._array_if("votes.npy")
        self._instances = self._array_if("instances.npy")
        self._attention = self._array_if("attention.npy")
        self._context = self._array_if("context.npy")
        self._believed = self._array_if("believed.npy")
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
        problem = format_problem(manifest.get("format"))
        if problem:
            raise ArtifactDamaged(f"Generation {self.id} {problem}.")
        return manifest

    def _check_owner(self, manifest: dict[str, Any], record: Generation) -> None:
        """A whole folder of another project or generation has digests that are right among themselves."""
        found = (manifest.get("project"), manifest.get("generation"))
        if found != (record.project_id, record.id):
            raise ArtifactDamaged(
                f"Generation {self.id}: its folder holds generation {found[1]} of project {found[0]}."
            )

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

    def _array_if(self, name: str) -> np.ndarray | None:
        return self._array(name) if name in self._files else None

    def _check_shapes(self) -> None:
        cells = (len(self.image_ids), len(self.category_ids))
        for name, array in (
            ("logits", self._logits),
            ("probabilities", self._probabilities),
            ("votes", self._votes),
            ("believed", self._believed),
            ("instances", self._instances),
            ("attention", self._attention),
        ):
            if array is not None and array.shape[:2] != cells:
                raise ArtifactDamaged(
                    f"Generation {self.id}: {name}.npy has shape {array.shape}, not {cells}."
                )
        if (self._context is None) != (self._believed is None):
            raise ArtifactDamaged(f"Generation {self.id}: of context.npy and believed.npy one is missing.")
        if self._context is not None and self._context.shape != (cells[1], cells[1]):
            raise ArtifactDamaged(
                f"Generation {self.id}: context.npy has shape {self._context.shape}, not "
                f"{(cells[1], cells[1])}."
            )
        if self.combiner.categories != cells[1]:
            raise ArtifactDamaged(f"Generation {self.id}: combiner.json is not for {cells[1]} categories.")

    def row(self, image_id: int) -> int | None:
        """Row of an image; None when it came after this generation."""
        row = int(np.searchsorted(self.image_ids, image_id))
        return row if row < len(self.image_ids) and self.image_ids[row] == image_id else None

    def rows(self, image_ids: np.ndarray) -> np.ndarray:
        """Rows (n,) of images, -1 where an image came after this generation."""
        return places_of(self.image_ids, image_ids)

    def column(self, category_id: int) -> int | None:
        """Column of a category this generation has learned; None for a later one or one without a yes."""
        return self._columns.get(category_id) if self._positives.get(category_id) else None

    def model_logits(self, row: int) -> np.ndarray:
        """Logits (C,) float32 of one image."""
        return np.asarray(self._logits[row], np.float32)

    def logits(self) -> np.ndarray:
        """Logits (N, C) float16 of the model and of similar unknown cells, memory-mapped."""
        return self._logits

    def probabilities(self) -> np.ndarray:
        """Calibrated probabilities (N, C) float16 at training time, of all witnesses, memory-mapped."""
        return self._probabilities

    def votes(self) -> np.ndarray | None:
        """Log-odds (N, C) float16 by the nearest decided instances at training time, memory-mapped.

        None when the generation has no instance features.
        """
        return self._votes

    def context_shift(self, row: int, states: np.ndarray) -> np.ndarray:
        """What an image's own answers add to its logits (C,) float32, from its states (C,) of this moment.

        Only yes and no say something, as far as they surprise; zeros when the generation keeps no context.
        """
        if self._context is None or self._believed is None or not (np.abs(states) == 1).any():
            return np.zeros(len(self.category_ids), np.float32)
        return np.asarray(self._context @ surprise(self._believed[row], states), np.float32)

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

    def load_index(self, category_id: int) -> DecidedIndex:
        """The category's decided instances at training time; ArtifactDamaged when a file is not right."""
        return DecidedIndex(
            self._index_file(file_name(category_id, POSITIVE)),
            self._index_file(file_name(category_id, NEGATIVE)),
        )

    def _index_file(self, file: str) -> InstanceIndex:
        name = f"index/{file}"
        digest = self.digest(name)
        try:
            return InstanceIndex.load(self._folder / name, digest)
        except OSError as error:
            raise ArtifactDamaged(
                f"Generation {self.id}: {name} cannot be read ({error.strerror})."
            ) from error
        except (ValueError, RuntimeError) as error:
            raise ArtifactDamaged(f"Generation {self.id}: {name} cannot be used ({error}).") from error
