"""R-34: backups while people save and a model trains and is switched; each restores as one point in time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from annotator.actions import Actions
from annotator.keeping import layout
from annotator.keeping.restore import restore
from annotator.records import GenerationStatus
from annotator.settings import Settings
from annotator.store import Store, categories, images, projects
from tests.faults import test_generation_kills as kills
from tests.faults.claims import Claims, size
from tests.faults.saving import BATCH, Save, World, Writers, examine
from tests.faults.servers import Mother, Nursery, Server, ticks

SEED = 35
MOST = 40  # backups in one training
mother = kills.mother
trained = kills.trained


def world_of(data_dir: Path) -> World:
    """The trained project with as many categories as a save has answers; the last picture is never saved."""
    store = Store.open(Settings(data_dir=data_dir, backbone="tiny"))
    actions = Actions(store, Settings(data_dir=data_dir, backbone="tiny"))
    with store.read() as c:
        project = projects.list_all(c)[0].id
        known = len(categories.list_active(c, project))
    for number in range(known, BATCH):
        actions.add_category(project, f"more {number}")
    with store.read() as c:
        found = World(
            data_dir,
            project,
            images.ids(c, project)[:-1],
            [one.id for one in categories.list_active(c, project)],
        )
    store.close()
    return found


@dataclass
class Copy:
    """A backup and what was acknowledged when it began."""

    path: Path
    known: list[Save]
    training: bool
    """Whether the training still went on when it ended."""


def copy(keeper: Mother, folder: Path, writers: Writers, worker: Server | None, number: int) -> Copy:
    """Make one backup in a process of its own."""
    known = list(writers.oracle.acknowledged)
    gate = folder / "gate"
    gate.touch()
    child = keeper.fork(folder / "backup.txt", "backup", str(folder), str(gate))
    for _ in ticks(120):
        if child.gone():
            break
    assert "ended" in child.output(), child.output()
    made = (folder / "made.tar").rename(folder / f"{number}.tar")
    return Copy(made, known, training=worker is not None and not worker.gone())


def check(one: Copy, folder: Path) -> int:
    """Restore it: nothing acknowledged before is missing, files and generation fit; the generation's id."""
    done = restore(one.path, folder)
    assert done.manifest.remarks == {}, "every picture and the generation are in it"
    found = examine(folder / layout.DATABASE, one.known)
    assert (found.lost, found.doubled, found.broken) == (0, [], [])
    assert [name for name in found.torn if name.startswith("r0-")] == []
    return next(one.id for one in kills.check_sound(folder) if one.status is GenerationStatus.CURRENT)


def test_every_backup_during_a_training_is_one_point_in_time(
    tmp_path: Path, mother: Mother, trained: Path, light: Nursery, claim: Claims
) -> None:
    shown = claim(
        "R-34",
        "Every backup made while people save and a model trains restores whole: pictures, one generation "
        "that fits its row, and every save acknowledged before the backup began.",
        unit="backups",
        seed=SEED,
    )
    world = world_of(kills.copied(trained, tmp_path))
    keeper = Mother("tests.faults.keeping_deed")
    copies: list[Copy] = []
    with light(world.data_dir) as server:
        writers = Writers(world, server.port, size(4, 50), round=0, seed=SEED)
        writers.acknowledged(8)
        worker = mother.fork(tmp_path / "worker.txt", "train", str(world.data_dir))
        while not worker.gone() and len(copies) < MOST:
            copies.append(copy(keeper, tmp_path, writers, worker, len(copies)))
        for _ in ticks(kills.TRAINING_S):
            if worker.gone():
                break
        assert "ended" in worker.output(), worker.output()
        copies.append(copy(keeper, tmp_path, writers, None, len(copies)))
        oracle = writers.stop()
    keeper.close()
    assert oracle.refused == [] and oracle.unanswered == [], "neither backup nor training disturbs a save"
    assert examine(world.database, oracle.acknowledged).lost == 0
    serving = []
    for one in copies if size(0, 1) else [copies[0], *copies[-2:]]:
        serving.append(check(one, tmp_path / "again"))
        shutil.rmtree(tmp_path / "again")
    assert copies[0].training and serving == sorted(serving), "a later backup never has an older generation"
    assert serving[0] < serving[-1], "the first is from before the switch, the last from after it"
    shown.done(
        len(serving), saves=len(oracle.acknowledged), while_training=sum(one.training for one in copies)
    )
