"""Where a training begins: at the current generation's model, in the snapshot's columns, or from scratch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from annotator import artifacts
from annotator.errors import ArtifactDamaged, BadInput
from annotator.records import Category, Generation
from annotator.settings import Settings
from annotator.snapshotting import Frozen
from annotator.store import Store, decisions, generations
from annotator.worker import heldout
from dsrb_core.backbones import Backbone
from dsrb_core.category_vectors import LEARNED, Vectors, category_vectors
from dsrb_core.checkpoint import load_model
from dsrb_core.config import DSRBConfig
from dsrb_core.model import DSRB
from dsrb_core.reports import Holdout

log = logging.getLogger(__name__)

RECHECK_EVERY = 5


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happened since a generation was trained. Cells: known ones (yes or no) of categories that stayed,
    now those of new categories as well.
    """

    known_before: int
    known_now: int
    changed: int  # of those known before: decided again, cleared or gone with their picture
    images_before: int
    images_now: int
    frame_images: int  # pictures the frame of the model was measured on


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """How a training begins: with `model`, or from scratch where it is None."""

    vectors: Vectors | None  # (C, S) given category vectors; None = learned ones
    frame_images: int  # pictures the frame was or will be measured on
    model: DSRB | None = None
    earlier: Holdout | None = None  # the cells that the gate of `model` was chosen on
    runs: int = 0  # warm starts in a row, this one included; 0 = from scratch
    origin: int | None = None  # the generation of `model`

    @property
    def recheck(self) -> bool:
        """True when the residual is checked even if it did not speak before: its chance as labels grow."""
        return self.runs % RECHECK_EVERY == 0


def small(change: Change) -> bool:
    """True when a change is small enough for a warm start.

    Known cells and pictures grew by less than a fifth, less than a fifth of the known cells changed, and
    there are not twice as many pictures as when the frame was measured: a warm start keeps its frame.
    """
    return (
        _below_a_fifth(change.known_now - change.known_before, change.known_before)
        and _below_a_fifth(change.changed, change.known_before)
        and _below_a_fifth(change.images_now - change.images_before, change.images_before)
        and change.images_now < 2 * change.frame_images
    )


def _below_a_fifth(part: int, whole: int) -> bool:
    return 5 * part < whole


def changed_cells(touched: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_], known_before: int) -> int:
    """How many of `known_before` cells were decided again or are known no more, by counting alone.

    `touched` (N, C): cells with a decision since; `known` (N, C): cells known now. Known and touched are the
    new ones and the ones decided again; the growth is the new ones less the lost ones.
    """
    return max(0, int((touched & known).sum()) - (int(known.sum()) - known_before))


def given_vectors(source: str, categories: Sequence[Category]) -> Vectors | None:
    """Vectors (C, S) of the categories by their names, None for learned ones; BadInput in one sentence."""
    try:
        return category_vectors(source, [category.name for category in categories])
    except (ValueError, RuntimeError, OSError) as error:
        raise BadInput(str(error)) from error


def plan(
    store: Store, settings: Settings, frozen: Frozen, backbone: Backbone, vectors: Vectors | None
) -> Start:
    """Where the training of a snapshot begins; a generation that cannot be continued is told to the log."""
    cold = Start(vectors=vectors, frame_images=len(frozen.image_ids))
    with store.read() as c:
        current = generations.current(c, frozen.snapshot.project_id)
    if current is None:
        return cold
    try:
        return _from(current, store, settings, frozen, backbone, cold)
    except ArtifactDamaged as error:
        reason = str(error)
    except (ValueError, OSError) as error:
        reason = f"it cannot be continued ({error})"
    except (KeyError, TypeError, IndexError) as error:
        reason = f"its manifest is not one of ours ({error!r})"
    log.warning("generation %s: %s; training from scratch", current.id, reason)
    return cold


def _from(
    current: Generation, store: Store, settings: Settings, frozen: Frozen, backbone: Backbone, cold: Start
) -> Start:
    """A warm start from `current`, or `cold` after too much change; ValueError when it does not fit."""
    folder = settings.data_dir / current.folder
    manifest = artifacts.verify(folder, current.manifest_sha256)
    _check_fits(manifest, settings, backbone)
    change = _change(folder, manifest, current, store, frozen)
    if not small(change):
        log.info("generation %s: too much has changed (%s); training from scratch", current.id, change)
        return cold
    model = load_model(folder / "checkpoint")
    if (model.config, model.features, tuple(model.grid)) != (DSRBConfig(), backbone.dim, backbone.grid):
        raise ValueError("its model has other options or another backbone")
    if not all(bool(torch.isfinite(value).all()) for value in model.state_dict().values()):
        raise ValueError("its model holds values that are not finite")
    if model.categories != len(np.load(folder / "category_ids.npy")):
        raise ValueError("its model has other categories than its scores")
    columns = _columns(folder, frozen)
    if cold.vectors is not None and None in columns and float(model.gate) > 0:
        # Its vector would look somewhere through a map that never saw it, and a new category would stay far
        # below one learnt from scratch; a fresh row of learned vectors looks everywhere alike instead.
        log.info("generation %s: a new category has a given vector; training from scratch", current.id)
        return cold
    model = _in_columns(model, columns, cold.vectors)
    words = model.attention.words
    return replace(
        cold,
        vectors=None if words is None else words.numpy(),
        frame_images=change.frame_images,
        model=model,
        earlier=heldout.read(folder, frozen) if float(model.gate) > 0 else None,
        runs=int(manifest.get("warm", 0)) + 1,
        origin=current.id,
    )


def _check_fits(manifest: dict[str, Any], settings: Settings, backbone: Backbone) -> None:
    if (manifest["backbone"], tuple(manifest["grid"])) != (backbone.key, tuple(backbone.grid)):
        raise ValueError("it was made with another backbone")
    if manifest.get("category_vectors", LEARNED) != settings.category_vectors:
        raise ValueError("it was made with category vectors from another source")


def _columns(folder: Path, frozen: Frozen) -> list[int | None]:
    """For each column of the snapshot the generation's column of the same category, None for a new one."""
    earlier = np.load(folder / "category_ids.npy").tolist()
    places = {identifier: place for place, identifier in enumerate(earlier)}
    return [places.get(identifier) for identifier in frozen.category_ids.tolist()]


def _change(
    folder: Path, manifest: dict[str, Any], current: Generation, store: Store, frozen: Frozen
) -> Change:
    before = {int(one["id"]): int(one["positives"]) + int(one["negatives"]) for one in manifest["categories"]}
    ids, known = frozen.category_ids.tolist(), frozen.labels != 0
    images = len(np.load(folder / "image_ids.npy"))
    change = Change(
        known_before=sum(before.get(identifier, 0) for identifier in ids),
        known_now=int(known.sum()),
        changed=0,
        images_before=images,
        images_now=len(frozen.image_ids),
        frame_images=int(manifest.get("frame_images", images)),
    )
    if not small(change):
        return change  # there may be millions of new decisions: they are not read
    with store.read() as c:
        cells = decisions.touched_since(c, frozen.snapshot.project_id, current.up_to_seq)
    touched = _touched(np.array(sorted(cells), dtype=np.int64).reshape(-1, 2), frozen)
    kept = np.array([identifier in before for identifier in ids], dtype=np.bool_)
    return replace(change, changed=changed_cells(touched[:, kept], known[:, kept], change.known_before))


def _touched(cells: npt.NDArray[np.int64], frozen: Frozen) -> npt.NDArray[np.bool_]:
    """(N, C) True at `cells` (M, 2) of image and category id; other images and categories are left out."""
    touched = np.zeros(frozen.labels.shape, dtype=np.bool_)
    here = np.isin(cells[:, 0], frozen.image_ids) & np.isin(cells[:, 1], frozen.category_ids)
    images, categories = cells[here].T
    rows = np.searchsorted(frozen.image_ids, images)
    touched[rows, np.searchsorted(frozen.category_ids, categories)] = True
    return touched


def _in_columns(model: DSRB, columns: Sequence[int | None], vectors: Vectors | None) -> DSRB:
    """The model in the snapshot's columns; a renamed category keeps the vector it was trained with."""
    if vectors is None:
        return model.for_columns(columns)
    fresh = vectors[[column is None for column in columns]]
    return model.for_columns(columns, words=torch.from_numpy(fresh))
