"""R-02, N-02: the power fails while people save. What was flushed to the device is all that is left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from pathlib import Path

import pytest

from tests.faults.claims import Claims, size
from tests.faults.disks import make_disk, mounted, needs_disks
from tests.faults.saving import Found, World, Writers, examine, make_world
from tests.faults.servers import Nursery

SEED = 22


@pytest.fixture
def room(memory_path: Path) -> Path:
    """A folder for disk images and mount points."""
    needs_disks()
    return memory_path


@pytest.fixture
def prepared(room: Path) -> tuple[Path, World]:
    """A disk with an empty project, unmounted in order."""
    image = make_disk(room / "prepared.img")
    with mounted(image, room / "live") as folder:
        world = make_world(folder / "data", pictures=16)
    return image, world


def cut_once(
    light: Nursery, room: Path, prepared: tuple[Path, World], round: int, chance: random.Random, *options: str
) -> tuple[Found, int]:
    """Load, cut the power, look at what is left; also how many saves were acknowledged before the cut."""
    image, world = prepared
    shutil.copyfile(image, room / "disk.img")
    with (
        mounted(room / "disk.img", room / "live"),
        light(world.data_dir, *options) as server,
    ):
        writers = Writers(world, server.port, chance.randint(8, 24), round=round, seed=SEED)
        writers.acknowledged(chance.randint(1, size(30, 200)))
        threading.Event().wait(chance.uniform(0.0, 0.05))
        acknowledged = list(writers.oracle.acknowledged)
        os.kill(server.pid, signal.SIGSTOP)  # no new flush while the image is copied
        shutil.copyfile(room / "disk.img", room / "cut.img")
        server.kill()
        writers.stop()
    with mounted(room / "cut.img", room / "after") as folder:
        return examine(folder / "data" / "annotator.db", acknowledged), len(acknowledged)


def test_no_acknowledged_save_is_lost_when_the_power_fails(
    light: Nursery, room: Path, prepared: tuple[Path, World], claim: Claims
) -> None:
    shown = claim(
        "N-02",
        "No acknowledged save is lost or torn when the power fails while 8 to 24 people save (SQLite).",
        unit="power cuts",
        seed=SEED,
    )
    chance = random.Random(SEED)
    saves = 0
    for round in range(size(5, 100)):
        found, acknowledged = cut_once(light, room, prepared, round, chance)
        assert not found, f"after cut {round}: {found}"
        saves += acknowledged
    shown.done(size(5, 100), acknowledged_saves=saves)


def test_the_same_cut_shows_what_a_weaker_setting_would_lose(
    light: Nursery, room: Path, prepared: tuple[Path, World], claim: Claims
) -> None:
    """Without this the test above could be green because its cut cuts nothing."""
    shown = claim(
        "N-02",
        "The same power cuts do lose acknowledged saves with synchronous=NORMAL: the test can fail.",
        unit="power cuts",
        seed=SEED,
    )
    chance = random.Random(SEED)
    cuts = size(3, 20)
    results = [
        cut_once(light, room, prepared, round, chance, "--synchronous", "NORMAL") for round in range(cuts)
    ]
    lost = sum(found.lost for found, _ in results)
    assert lost > 0, "nothing was lost, so this is no power cut"
    shown.done(cuts, lost_answers=lost, acknowledged_saves=sum(count for _, count in results))
