"""A drawn project of any size for the trust benchmark: store, answers and a generation of random arrays.

Pictures come in groups of 50 that look alike, as the frames of a video do: the instance vectors of a group
lie about one centre per category, so an answer has pictures near it that it should move. Nothing here loads
torch.
Letters: N pictures, C categories, d numbers of an instance.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap
from sqlalchemy import Connection, insert

from annotator.artifacts import ArtifactWriter
from annotator.records import CellState, NewDecision
from annotator.settings import Settings
from annotator.snapshotting import Frozen, freeze
from annotator.store import Store, categories, decisions, generations, images, now_ms, projects, users
from db import migrate, schema
from dsrb_core.calibration import Combiner, category_prior
from dsrb_core.decided_index import DecidedIndex
from dsrb_core.surprise import surprise

GROUP = 50
DIM = 64
NEIGHBOURS = 20
DECIDED = 0.08
_NOISE = 0.5  # length of what sets a picture apart from its group's centre: cosines of 0.8 within a group
_AT_ONCE = 20_000  # answers per transaction
_RATES = (0.02, 0.2)  # least and largest share of pictures that show a category

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Drawn:
    """An open project whose generation is published: `image_ids` (N,), `category_ids` (C,) and `labels`
    (N, C) int8 of the training; pictures i and j are of one group when i = j modulo `groups`.
    """

    store: Store
    settings: Settings
    project_id: int
    image_ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int8]
    groups: int


def draw(folder: Path, *, pictures: int, categories_: int, seed: int) -> Drawn:
    """Make the project in an empty folder; says how long each part took."""
    settings = Settings(data_dir=folder, backbone="drawn", threads=1, seed=seed)
    migrate.upgrade(settings.database)
    store = Store.open(settings)
    rng = np.random.default_rng(seed)
    rates = rng.uniform(*_RATES, categories_)
    logits = (np.log(rates / (1 - rates)) + 2 * rng.standard_normal((pictures, categories_))).astype("f2")
    with told(f"{pictures} pictures and {categories_} categories stored"):
        project_id = store.write(lambda c: projects.create(c, "drawn", now=now_ms()).id)
        store.write(lambda c: _add(c, project_id, pictures, categories_))
    with told(f"{DECIDED:.0%} of the cells decided"):
        _decide(store, project_id, logits, rng)
    with told("labels frozen"):
        frozen = freeze(store, project_id)
    groups = max(1, pictures // GROUP)
    with told("generation written"):
        _publish(store, project_id, frozen, logits, groups, rng)
    return Drawn(store, settings, project_id, frozen.image_ids, frozen.category_ids, frozen.labels, groups)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Print `what` and the seconds its block took, when it is done."""
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.1f} s", flush=True)


def _add(c: Connection, project_id: int, pictures: int, categories_: int) -> None:
    rows = [
        {
            "project_id": project_id,
            "sha256": f"{number:064x}",
            "name": f"{number:06d}.jpg",
            "media_type": "image/jpeg",
            "width": 640,
            "height": 480,
            "state": "ready",
            "original": f"originals/{number}",
            "canonical": f"originals/{number}",
            "created_at": now_ms(),
        }
        for number in range(pictures)
    ]
    c.execute(insert(schema.Image), rows)
    for number in range(categories_):
        categories.add(c, project_id, f"category {number}", now=now_ms())


def _decide(store: Store, project_id: int, logits: np.ndarray, rng: np.random.Generator) -> None:
    """A share of the cells gets an answer drawn from its logit."""
    with store.read() as c:
        ids = images.ids(c, project_id)
        keys = [one.id for one in categories.list_active(c, project_id)]
    user = store.write(lambda c: users.owner(c, now=now_ms()))
    rows, columns = np.nonzero(rng.random(logits.shape, np.float32) < DECIDED)
    said = rng.random(len(rows)) < 1 / (1 + np.exp(-logits[rows, columns].astype(np.float32)))
    cells = list(zip(rows.tolist(), columns.tolist(), said.tolist(), strict=True))
    for start in range(0, len(cells), _AT_ONCE):
        new = [
            NewDecision(
                op_id=f"drawn-{start + place:09d}",
                image_id=ids[row],
                category_id=keys[column],
                state=CellState.POSITIVE if yes else CellState.NEGATIVE,
                shown_ms=1500,
            )
            for place, (row, column, yes) in enumerate(cells[start : start + _AT_ONCE])
        ]
        store.write(_recording(project_id, new, user))
        if len(cells) > _AT_ONCE:
            done = start + len(new)
            end = "\n" if done == len(cells) else ""
            print(f"\ranswers {done}/{len(cells)}", end=end, file=sys.stderr, flush=True)


def _recording(project_id: int, new: list[NewDecision], user: int) -> Callable[[Connection], None]:
    def work(c: Connection) -> None:
        decisions.record(c, project_id, new, user_id=user, now=now_ms())

    return work


def _publish(
    store: Store, project_id: int, frozen: Frozen, logits: np.ndarray, groups: int, rng: np.random.Generator
) -> None:
    """The files that suggestions and orders read; no attention, which they do not."""
    number = store.write(generations.reserve)
    relative = Path("projects") / str(project_id) / "generations" / f"{number:06d}"
    count = frozen.labels.shape[1]
    writer = ArtifactWriter(store.data_dir / relative)
    with writer:
        _write(writer.folder, frozen, logits, groups, rng)
        writer.describe(
            project=project_id,
            generation=number,
            snapshot=frozen.snapshot.id,
            up_to_seq=frozen.snapshot.up_to_seq,
            backbone="drawn",
            grid=[1, 1],
            instance_dim=DIM,
            categories=[
                {"id": one.id, "name": one.name, "positives": int(column.sum()), "ap": None, "heldout": 0}
                for one, column in zip(frozen.categories, (frozen.labels == 1).T, strict=True)
            ],
            metrics={"map": None, "categories": count},
        )
    store.write(
        lambda c: generations.publish(
            c,
            project_id=project_id,
            snapshot_id=frozen.snapshot.id,
            generation_id=number,
            backbone="drawn",
            folder=relative.as_posix(),
            manifest_sha256=writer.manifest_sha256,
            metrics={"map": None},
            now=now_ms(),
        )
    )


def _write(folder: Path, frozen: Frozen, logits: np.ndarray, groups: int, rng: np.random.Generator) -> None:
    labels, (_, count) = frozen.labels, frozen.labels.shape
    instances = _instances(folder / "instances.npy", labels.shape, groups, rng)
    (folder / "index").mkdir()
    for column, category_id in enumerate(frozen.category_ids.tolist()):
        rows = np.flatnonzero(labels[:, column])
        vectors = instances[rows, column].astype(np.float32)
        DecidedIndex.build(frozen.image_ids[rows], vectors, labels[rows, column]).save(
            folder / "index", category_id
        )
    combiner = Combiner(
        scale=np.ones(count),
        offset=np.zeros(count),
        neighbour_weight=np.ones(count),
        prior=category_prior((labels == 1).sum(axis=0), (labels == -1).sum(axis=0)),
        temperature=0.1,
        strength=1.0,
        k=NEIGHBOURS,
    )
    context = (0.1 * rng.standard_normal((count, count))).astype(np.float32)
    np.fill_diagonal(context, 0.0)
    votes = (logits.astype(np.float32) + rng.standard_normal(labels.shape, np.float32)).astype(np.float16)
    mixed = logits.astype(np.float32) + surprise(logits, labels) @ context.T
    probabilities = combiner.probability(np.arange(count)[None], mixed, votes.astype(np.float32))
    np.save(folder / "image_ids.npy", frozen.image_ids)
    np.save(folder / "category_ids.npy", frozen.category_ids)
    np.save(folder / "logits.npy", logits)
    np.save(folder / "believed.npy", logits)
    np.save(folder / "context.npy", context)
    np.save(folder / "votes.npy", votes)
    np.save(folder / "probabilities.npy", probabilities.astype(np.float16))
    (folder / "combiner.json").write_text(combiner.to_json(), encoding="utf-8")


def _instances(path: Path, shape: tuple[int, ...], groups: int, rng: np.random.Generator) -> np.memmap:
    """Write unit vectors (N, C, d) float16: picture i is in group i modulo `groups`."""
    made: np.memmap = open_memmap(path, "w+", np.float16, (*shape, DIM))
    centres = rng.standard_normal((groups, shape[1], DIM), np.float32)
    centres /= np.linalg.norm(centres, axis=-1, keepdims=True)
    for start in range(0, shape[0], groups):
        part = made[start : start + groups]
        noise = rng.standard_normal(part.shape, np.float32) * np.float32(_NOISE / DIM**0.5)
        vectors = centres[: len(part)] + noise
        part[:] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    made.flush()
    return made
