"""R-34: a backup from another process while many people save; what was confirmed before it is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from annotator.keeping import layout
from annotator.keeping.restore import restore
from db.engine import sqlite_module
from tests.faults.claims import Claims, size
from tests.faults.saving import BATCH, Save, World, Writers, examine, make_world
from tests.faults.servers import Mother, Nursery, ticks

SEED = 34


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    """Makes one backup per child."""
    made = Mother("tests.faults.keeping_deed")
    yield made
    made.close()


def let_answers_come(writers: Writers, wanted: int) -> list[Save]:
    """Wait until so many saves are acknowledged; those of this moment."""
    for _ in ticks(60):
        known = list(writers.oracle.acknowledged)
        if len(known) >= wanted:
            return known
    raise AssertionError("too few saves were acknowledged")


def backed_up(mother: Mother, folder: Path, deed: str) -> str:
    """Run a backup in a process of its own; what it said."""
    gate = folder / "gate"
    gate.touch()
    child = mother.fork(folder / f"{deed}.txt", deed, str(folder), str(gate))
    for _ in ticks(120):
        if child.gone():
            return child.output()
    raise AssertionError("the backup did not end")


@pytest.mark.parametrize(("deed", "target"), [("backup", "made.tar"), ("backup-folder", "made")])
def test_every_save_confirmed_before_a_backup_began_is_in_it(
    memory_path: Path, mother: Mother, light: Nursery, claim: Claims, deed: str, target: str
) -> None:
    shown = claim(
        "N-12",
        "A backup made while people save restores every save confirmed before it began.",
        unit="saves",
        seed=SEED,
    )
    world = make_world(memory_path / "data")
    before: list[Save] = []
    with light(world.data_dir) as server:
        writers = Writers(world, server.port, size(8, 50), round=0, seed=SEED)
        for round in range(size(1, 10)):
            before = let_answers_come(writers, len(before) + 40)
            assert "ended" in backed_up(mother, memory_path, deed)
            assert len(writers.oracle.acknowledged) > len(before), "people saved while it ran"
            check(world, memory_path, target, before, round)
        oracle = writers.stop()
    assert oracle.refused == [] and oracle.unanswered == [], "a backup must not disturb a save"
    assert not examine(world.database, oracle.acknowledged)
    shown.done(len(before), answers_per_save=BATCH)


def check(world: World, folder: Path, target: str, before: list[Save], round: int) -> None:
    """Restore what was backed up: nothing confirmed before is missing, nothing is torn, labels fit."""
    made = folder / target
    done = restore(made, folder / f"again-{round}")
    assert not examine(folder / f"again-{round}" / layout.DATABASE, before)
    assert set(done.manifest.remarks.values()) == {layout.MISSING}, (
        "the pictures of this world are rows only, and that is told"
    )
    with closing(sqlite_module().connect(str(folder / f"again-{round}" / layout.DATABASE))) as connection:
        count = connection.execute("SELECT count(*) FROM decision").fetchone()[0]
    assert count == done.manifest.counts["decision"] and count % BATCH == 0
    made.rename(folder / f"{round}-{target}")
    assert world.database.is_file()


def test_the_check_would_see_a_backup_that_lacks_answers(memory_path: Path, light: Nursery) -> None:
    """The harness tests itself: a plain copy of the file alone, which lacks what is in the log."""
    world = make_world(memory_path / "data")
    with light(world.data_dir) as server:
        writers = Writers(world, server.port, 4, round=0, seed=SEED)
        known = let_answers_come(writers, 10)
        copy = memory_path / "copy.db"
        copy.write_bytes(world.database.read_bytes())
        writers.stop()
    assert examine(copy, known).lost
