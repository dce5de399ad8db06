"""People who save answers by HTTP and remember which ones were acknowledged, and the check afterwards."""

from __future__ import annotations

import http.client
import json
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from annotator.records import CellState
from annotator.settings import Settings
from annotator.store import Store, categories, images, now_ms, projects
from db.engine import sqlite_module
from db.migrate import upgrade
from tests.conftest import new_image

BATCH = 8  # answers of one save: one picture, eight categories
TIMEOUT_S = 30.0
PATIENCE_S = 120.0


@dataclass(frozen=True)
class World:
    """A project with pictures that are rows only: nobody opens them here."""

    data_dir: Path
    project: int
    images: list[int]
    categories: list[int]

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "annotator.db"


def make_world(data_dir: Path, *, pictures: int = 64) -> World:
    """A migrated data folder with one project, `pictures` pictures and eight categories."""
    settings = Settings(data_dir=data_dir, backbone="tiny")
    upgrade(settings.database)
    store = Store.open(settings)

    def work(c: Any) -> World:
        project = projects.create(c, "load", now=now_ms())
        names = [f"category {number}" for number in range(BATCH)]
        made, _ = categories.ensure(c, project.id, names, now=now_ms())
        added = [images.add(c, project.id, new_image(f"p{n}.jpg"), now=now_ms())[0] for n in range(pictures)]
        return World(data_dir, project.id, [i.id for i in added], [category.id for category in made])

    try:
        return store.write(work)
    finally:
        store.close()


@dataclass
class Save:
    """One batch of answers as it is sent, and sent again."""

    image: int
    ops: list[str]
    body: bytes


@dataclass
class Oracle:
    """What the clients know: which saves were answered with 200, and which nobody answered."""

    acknowledged: list[Save] = field(default_factory=list)
    unanswered: list[Save] = field(default_factory=list)
    refused: list[tuple[int, bytes]] = field(default_factory=list)


class Writers:
    """`count` threads, each saving batch after batch on a connection of its own until the server is gone."""

    def __init__(self, world: World, port: int, count: int, *, round: int, seed: int) -> None:
        self.oracle = Oracle()
        self._world = world
        self._port = port
        self._round = round
        self._seed = seed
        self._lock = threading.Lock()
        self._gone = threading.Event()
        self._enough = threading.Event()
        self._wanted = 0
        self._threads = [
            threading.Thread(target=self._save, args=(number,), daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def acknowledged(self, count: int) -> None:
        """Wait until so many saves have been acknowledged."""
        with self._lock:
            self._wanted = count
            if len(self.oracle.acknowledged) >= count:
                self._enough.set()
        assert self._enough.wait(PATIENCE_S), "the server acknowledges nothing"

    def stop(self) -> Oracle:
        """Let each finish its save, then return what they know."""
        self._gone.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive(), "a save was never answered"
        return self.oracle

    def _save(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{self._round}/{number}")
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)) as connection:
            serial = 0
            while not self._gone.is_set():
                save = make_save(self._world, f"r{self._round}-w{number}-{serial}", chance)
                serial += 1
                try:
                    status, answer = post(connection, self._world, save)
                except (OSError, http.client.HTTPException):
                    with self._lock:
                        self.oracle.unanswered.append(save)
                    return
                with self._lock:
                    if status == 200:
                        self.oracle.acknowledged.append(save)
                        if 0 < self._wanted <= len(self.oracle.acknowledged):
                            self._enough.set()
                    else:
                        self.oracle.refused.append((status, answer))


def make_save(world: World, name: str, chance: random.Random) -> Save:
    """Eight answers for one picture chosen by `chance`; operation ids begin with `name`."""
    image = chance.choice(world.images)
    decisions = [
        {
            "op_id": f"{name}.{place}",
            "image_id": image,
            "category_id": category,
            "state": chance.choice(("positive", "negative", "unsure")),
        }
        for place, category in enumerate(world.categories)
    ]
    ops = [str(decision["op_id"]) for decision in decisions]
    return Save(image, ops, json.dumps({"decisions": decisions}).encode())


def post(connection: http.client.HTTPConnection, world: World, save: Save) -> tuple[int, bytes]:
    """Send one save; status and body of the answer."""
    path = f"/api/projects/{world.project}/decisions"
    connection.request("POST", path, save.body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def send_again(world: World, port: int, saves: Sequence[Save]) -> list[int]:
    """Send saves once more after a restart, as the page's outbox does; the status of each."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)) as connection:
        return [post(connection, world, save)[0] for save in saves]


@dataclass
class Found:
    """What a database holds against what the clients know. All four must be empty or zero."""

    lost: int
    torn: list[str]
    doubled: list[str]
    broken: list[str]

    def __bool__(self) -> bool:
        return bool(self.lost or self.torn or self.doubled or self.broken)


def examine(database: Path, acknowledged: Sequence[Save]) -> Found:
    """Compare the file with the oracle.

    `lost` counts acknowledged answers that are missing; `torn` names saves of which only a part is there;
    `doubled` names operations stored more than once; `broken` is what the integrity check and our own rules
    (a label is the last decision of its cell, counts are the counts) say.
    """
    driver: ModuleType = sqlite_module()
    with closing(driver.connect(str(database))) as connection:
        times = Counter(name for (name,) in connection.execute("SELECT op_id FROM decision"))
        broken = [line for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
        broken += [f"foreign key {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        broken += disagreements(connection)
    whole = Counter(name.rsplit(".", 1)[0] for name in times)
    return Found(
        lost=sum(op not in times for save in acknowledged for op in save.ops),
        torn=sorted(name for name, parts in whole.items() if parts != BATCH),
        doubled=sorted(name for name, count in times.items() if count != 1),
        broken=broken,
    )


LAST = """
SELECT image_id, category_id, state, seq FROM decision AS d
WHERE seq = (SELECT max(seq) FROM decision WHERE image_id = d.image_id AND category_id = d.category_id)
AND state != 0 ORDER BY image_id, category_id
"""
STATES = {CellState.POSITIVE: "positive", CellState.NEGATIVE: "negative", CellState.UNSURE: "unsure"}


def disagreements(connection: sqlite3.Connection) -> list[str]:
    """Where `label` is not the last decision of its cell, or `category_stat` not the counts of `label`."""
    last = list(connection.execute(LAST))
    labels = connection.execute(
        "SELECT image_id, category_id, state, seq FROM label ORDER BY image_id, category_id"
    )
    found = [] if list(labels) == last else ["labels are not the last decisions"]
    counts = Counter((category, STATES[CellState(state)]) for _, category, state, _ in last)
    for category, *values in connection.execute(
        "SELECT category_id, positive, negative, unsure FROM category_stat"
    ):
        for word, value in zip(("positive", "negative", "unsure"), values, strict=True):
            if counts[category, word] != value:
                found.append(f"category {category} counts {value} {word}, not {counts[category, word]}")
    return found
