"""Builds a small real generation folder and publishes it, with arrays chosen by the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annotator.artifacts import ArtifactWriter
from annotator.records import CellState, Generation, NewDecision, Project
from annotator.snapshotting import Frozen, freeze
from annotator.store import Store, decisions, generations, now_ms, users
from dsrb_core.cache import FeatureCache
from dsrb_core.calibration import Combiner, category_prior, neighbour_logits
from dsrb_core.decided_index import DecidedIndex
from dsrb_core.surprise import surprise

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
    votes: np.ndarray
    probabilities: np.ndarray


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
    context: np.ndarray | None = None,
    believed: np.ndarray | None = None,
    files: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Built:
    """Freeze the project and publish a generation over all its images and categories.

    `context` (C, C) with `believed` (N, C), the logits by default; None = no context is kept.
    `files` are written over those of the same name.
    """
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
    votes = _votes(instances.astype(np.float32), labels, combiner).astype(np.float16)
    believed = (logits if believed is None else believed).astype(np.float16)
    mixed = logits.astype(np.float32)
    if context is not None:
        mixed = mixed + surprise(believed, labels) @ context.T
    probabilities = np.broadcast_to(
        combiner.probability(np.arange(c)[None], mixed, votes if with_instances else None), (n, c)
    ).astype(np.float16)
    number = store.write(generations.reserve)
    relative = Path("projects") / str(project.id) / "generations" / f"{number:06d}"
    writer = ArtifactWriter(store.data_dir / relative)
    with writer:
        np.save(writer.folder / "image_ids.npy", frozen.image_ids)
        np.save(writer.folder / "category_ids.npy", frozen.category_ids)
        np.save(writer.folder / "logits.npy", logits)
        np.save(writer.folder / "probabilities.npy", probabilities)
        if with_instances:
            np.save(writer.folder / "instances.npy", instances)
            np.save(writer.folder / "attention.npy", attention)
            np.save(writer.folder / "votes.npy", votes)
            _write_indexes(writer.folder / "index", frozen, instances)
        if context is not None:
            np.save(writer.folder / "context.npy", context.astype(np.float32))
            np.save(writer.folder / "believed.npy", believed)
        for name, array in (files or {}).items():
            np.save(writer.folder / name, array)
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
    return Built(
        record=record,
        frozen=frozen,
        logits=logits,
        instances=instances,
        attention=attention,
        combiner=combiner,
        folder=store.data_dir / relative,
        votes=votes,
        probabilities=probabilities,
    )


def _votes(instances: np.ndarray, labels: np.ndarray, combiner: Combiner) -> np.ndarray:
    """Log-odds (n, c) by the nearest decided instances, by comparing all with all."""
    votes = np.empty(labels.shape)
    for column in range(labels.shape[1]):
        similar = instances[:, column] @ instances[:, column].T
        np.fill_diagonal(similar, -np.inf)
        similar[:, labels[:, column] == 0] = -np.inf
        near = np.argsort(-similar, axis=1)[:, : combiner.k]
        votes[:, column] = neighbour_logits(
            np.take_along_axis(similar, near, axis=1),
            labels[near, column],
            prior=combiner.prior[column],
            temperature=combiner.temperature,
            strength=combiner.strength,
        )
    return votes


def _write_indexes(folder: Path, frozen: Frozen, instances: np.ndarray) -> None:
    folder.mkdir()
    for column, category_id in enumerate(frozen.category_ids.tolist()):
        rows = np.nonzero(frozen.labels[:, column])[0]
        vectors = instances[rows, column].astype(np.float32)
        DecidedIndex.build(frozen.image_ids[rows], vectors, frozen.labels[rows, column]).save(
            folder, category_id
        )


def write_features(
    data_dir: Path, keys: Sequence[str], pooled: np.ndarray, *, backbone: str = "tiny"
) -> None:
    """Put pooled features (n, dim) into the project's feature cache as maps of one location."""
    folder = data_dir / "features" / backbone
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FeatureCache.open(folder, grid=(1, 1), dim=pooled.shape[1], writable=True) as cache:
        cache.append(list(keys), pooled[:, None, :])
