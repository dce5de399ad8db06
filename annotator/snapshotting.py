"""Freeze what the worker trains on: one moment of the labels, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from annotator.records import Category, ImageState, Snapshot
from annotator.store import Store, categories, images, now_ms, snapshots


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """Labels of a snapshot. Rows are the usable images, ascending by id; columns the active categories."""

    snapshot: Snapshot
    image_ids: npt.NDArray[np.int64]  # (N,)
    category_ids: npt.NDArray[np.int64]  # (C,)
    labels: npt.NDArray[np.int8]  # (N, C): +1, -1, 0 for unknown and unsure
    by_strategy: npt.NDArray[np.bool_]  # (N, C): a person was asked this known cell, and not at random
    keys: list[str]  # (N,) SHA-256 of the original bytes, the key of the feature cache
    paths: list[Path]  # (N,) canonical pictures
    categories: tuple[Category, ...]  # (C,)


def freeze(store: Store, project_id: int) -> Frozen:
    """Everything one training needs, read in one transaction, so that labels and snapshot agree."""
    with store.read() as c:
        described = snapshots.describe(c, project_id)
        active = categories.list_active(c, project_id)
        keys: list[str] = []
        paths: list[Path] = []
        ids: list[int] = []
        after = 0
        while page := images.page(c, project_id, after=after, limit=5_000):
            usable = [image for image in page if image.state is ImageState.READY]
            ids += [image.id for image in usable]
            keys += [image.sha256 for image in usable]
            paths += [store.data_dir / image.canonical for image in usable]
            after = page[-1].id
        columns = sorted(category.id for category in active)
        labels = snapshots.label_matrix(c, project_id, ids, columns)
        by_strategy = snapshots.asked_by_strategy(c, project_id, ids, columns)
    # kept after reading: with a rollback journal a reader would block the write
    snapshot = store.write(lambda c: snapshots.keep(c, described, now=now_ms()))
    return Frozen(
        snapshot=snapshot,
        image_ids=np.array(ids, dtype=np.int64),
        category_ids=np.array(columns, dtype=np.int64),
        labels=labels,
        by_strategy=by_strategy,
        keys=keys,
        paths=paths,
        categories=tuple(sorted(active, key=lambda category: category.id)),
    )
