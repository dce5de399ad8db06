"""R-01, N-01: the server is killed at random moments while many people save."""

from __future__ import annotations

import random
import threading
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path

import pytest

from db.engine import sqlite_module
from tests.faults.claims import Claims, size
from tests.faults.saving import BATCH, Oracle, World, Writers, examine, make_save, make_world, send_again
from tests.faults.servers import Nursery, Server, Start, whole

SEED = 20


def kill_once(world: World, start: Start, round: int, chance: random.Random) -> Oracle:
    """Start, load, kill; what the clients know then."""
    with start(world.data_dir) as server:
        writers = Writers(world, server.port, chance.randint(8, 50), round=round, seed=SEED)
        writers.acknowledged(chance.randint(1, size(30, 1_000)))
        threading.Event().wait(chance.uniform(0.0, 0.05))
        server.kill()
        oracle = writers.stop()
    assert oracle.refused == [], "a save was refused under load"
    return oracle


def killed(world: World, start: Start, kills: int, chance: random.Random) -> int:
    """Kill again and again and check after each; how many saves were acknowledged."""
    everything = Oracle()
    for round in range(kills):
        oracle = kill_once(world, start, round, chance)
        everything.acknowledged += oracle.acknowledged
        everything.unanswered += oracle.unanswered
        found = examine(world.database, everything.acknowledged)
        assert not found, f"after kill {round}: {found}"
    with start(world.data_dir) as server:
        again = [*everything.unanswered, *everything.acknowledged[-50:]]
        assert set(send_again(world, server.port, again)) == {200}
    found = examine(world.database, [*everything.acknowledged, *everything.unanswered])
    assert not found, f"after the clients sent again: {found}"
    return len(everything.acknowledged)


def test_no_acknowledged_save_is_lost_or_torn_when_the_server_is_killed(
    memory_path: Path, claim: Claims, light: Nursery
) -> None:
    shown = claim(
        "N-01",
        "No acknowledged save is lost, torn or doubled when the server is killed while 8 to 50 people save.",
        unit="kills",
        seed=SEED,
    )
    chance = random.Random(SEED)
    kills = saves = 0
    while kills < size(15, 200) or saves < size(0, 100_000):
        world = make_world(memory_path / str(kills) / "data")
        saves += killed(world, light, size(15, 20), chance)
        kills += size(15, 20)
    shown.done(kills, acknowledged_saves=saves, answers_per_save=BATCH)


def test_the_same_with_page_and_worker(tmp_path: Path, claim: Claims) -> None:
    shown = claim(
        "R-01",
        "No acknowledged save is lost or torn when `annotator run` with page and worker is killed.",
        unit="kills",
        seed=SEED,
    )
    world = make_world(tmp_path / "data")
    saves = killed(world, whole, size(1, 10), random.Random(SEED))
    shown.done(size(1, 10), acknowledged_saves=saves, answers_per_save=BATCH)


def test_a_server_that_answers_before_it_commits_is_seen(memory_path: Path, light: Nursery) -> None:
    """The same kills with a writer that does so."""
    world = make_world(memory_path / "data")
    chance = random.Random(SEED)
    lost = 0
    for round in range(10):
        oracle = kill_once(world, partial(eager, light), round, chance)
        lost = examine(world.database, oracle.acknowledged).lost
        if lost:
            break
    assert lost > 0


def eager(light: Nursery, data_dir: Path) -> AbstractContextManager[Server]:
    return light(data_dir, "--writer", "eager")


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        ("PRAGMA user_version=0", set()),
        ("DELETE FROM decision WHERE op_id LIKE 'answer-a.%'", {"lost", "broken"}),
        ("DELETE FROM decision WHERE op_id = 'answer-a.3'", {"lost", "torn", "broken"}),
        ("UPDATE label SET state = 2 - state", {"broken"}),
        ("UPDATE category_stat SET positive = positive + 1", {"broken"}),
    ],
)
def test_the_check_sees_what_it_looks_for(
    tmp_path: Path, light: Nursery, damage: str, seen: set[str]
) -> None:
    world = make_world(tmp_path / "data", pictures=1)
    save = make_save(world, "answer-a", random.Random(0))
    with light(world.data_dir) as server:
        assert send_again(world, server.port, [save]) == [200]
        server.end()
    with closing(sqlite_module().connect(str(world.database), isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute(damage)
    found = examine(world.database, [save])
    assert {name for name in ("lost", "torn", "doubled", "broken") if getattr(found, name)} == seen
