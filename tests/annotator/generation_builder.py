"""Builds a small real generation folder and publishes it, with arrays chosen by the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annotator.artifacts import ArtifactWriter
from annotator.records import CellState, Generation, NewDecision, Project
from annotator.snapshotting import Frozen, freeze
from annotator.store import Store, decisions, generations, now_ms, users
from dsrb_core.cache import FeatureCache
from dsrb_core.calibration import Combiner, category_prior
from dsrb_core.index import InstanceIndex

GRID = (2, 3)
DIM = 8


@dataclass(frozen=True)
class Built:
    """A published generation and what went into it."""

    record: Generation
    frozen: Frozen
    logits: np.ndarray
    instances: np.ndarray
    attention: np.ndarray
    combiner: Combiner
    folder: Path


def decide(
    store: Store, project: Project, cells: Sequence[tuple[int, int, int]], *, prefix: str = "op"
) -> int:
    """Store (image, category, state) answers; returns the newest seq."""
    new = [
        NewDecision(
            op_id=f"{prefix}-{now_ms()}-{i:06d}", image_id=image, category_id=category, state=CellState(state)
        )
        for i, (image, category, state) in enumerate(cells)
    ]

    def work(c: object) -> int:
        decisions.record(c, project.id, new, user_id=users.owner(c, now=now_ms()), now=now_ms())
        return decisions.head_seq(c, project.id)

    return store.write(work)


def unit(vectors: np.ndarray) -> np.ndarray:
    """L2-normalised along the last axis."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def build(
    store: Store,
    project: Project,
    *,
    logits: np.ndarray | None = None,
    instances: np.ndarray | None = None,
    with_instances: bool = True,
    neighbour_weight: float = 1.0,
    seed: int = 0,
) -> Built:
    """Freeze the project and publish a generation over all its images and categories."""
    frozen = freeze(store, project.id)
    labels = frozen.labels
    n, c = labels.shape
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(n, c)) if logits is None else logits).astype(np.float16)
    instances = unit(rng.normal(size=(n, c, DIM)) if instances is None else instances).astype(np.float16)
    attention = rng.integers(0, 256, (n, c, GRID[0] * GRID[1]), dtype=np.uint8)
    positives, negatives = (labels == 1).sum(axis=0), (labels == -1).sum(axis=0)
    combiner = Combiner(
        scale=np.ones(c),
        offset=np.zeros(c),
        neighbour_weight=np.full(c, neighbour_weight),
        prior=category_prior(positives, negatives),
        temperature=0.1,
        strength=1.0,
        k=10,
    )
    number = store.write(generations.reserve)
    relative = Path("projects") / str(project.id) / "generations" / f"{number:06d}"
    writer = ArtifactWriter(store.data_dir / relative)
    with writer:
        np.save(writer.folder / "image_ids.npy", frozen.image_ids)
        np.save(writer.folder / "category_ids.npy", frozen.category_ids)
        np.save(writer.folder / "logits.npy", logits)
        if with_instances:
            np.save(writer.folder / "instances.npy", instances)
            np.save(writer.folder / "attention.npy", attention)
            _write_indexes(writer.folder / "index", frozen, instances)
        (writer.folder / "combiner.json").write_text(combiner.to_json(), encoding="utf-8")
        writer.describe(
            project=project.id,
            generation=number,
            snapshot=frozen.snapshot.id,
            up_to_seq=frozen.snapshot.up_to_seq,
            backbone="tiny",
            grid=list(GRID),
            instance_dim=DIM if with_instances else 0,
            categories=[
                {
                    "id": one.id,
                    "name": one.name,
                    "positives": int(p),
                    "negatives": int(q),
                    "ap": None,
                    "heldout": 0,
                }
                for one, p, q in zip(frozen.categories, positives, negatives, strict=True)
            ],
            metrics={"map": 0.5},
        )
    record = store.write(
        lambda conn: generations.publish(
            conn,
            project_id=project.id,
            snapshot_id=frozen.snapshot.id,
            generation_id=number,
            backbone="tiny",
            folder=relative.as_posix(),
            manifest_sha256=writer.manifest_sha256,
            metrics={"map": 0.5},
            now=now_ms(),
        )
    )
    return Built(record, frozen, logits, instances, attention, combiner, store.data_dir / relative)


def _write_indexes(folder: Path, frozen: Frozen, instances: np.ndarray) -> None:
    folder.mkdir()
    for column, category_id in enumerate(frozen.category_ids.tolist()):
        rows = np.nonzero(frozen.labels[:, column])[0]
        index = InstanceIndex.empty(instances.shape[2])
        if len(rows):
            index.add(frozen.image_ids[rows], instances[rows, column].astype(np.float32))
        index.save(folder / f"{category_id}.faiss")


def write_features(
    data_dir: Path, keys: Sequence[str], pooled: np.ndarray, *, backbone: str = "tiny"
) -> None:
    """Put pooled features (n, dim) into the project's feature cache as maps of one location."""
    folder = data_dir / "features" / backbone
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FeatureCache.open(folder, grid=(1, 1), dim=pooled.shape[1], writable=True) as cache:
        cache.append(list(keys), pooled[:, None, :])
