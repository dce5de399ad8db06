"""R-09, R-10: on a full disk whatever writes says so, leaves no part behind, and works again later."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotator import exporting, importing
from annotator.artifacts import ArtifactWriter
from annotator.errors import DiskFull, StoreError, is_full
from annotator.health import free_space, health, make_ballast, room
from annotator.records import CellState, NewDecision
from annotator.settings import Settings
from annotator.store import Store, decisions, now_ms, users
from annotator.worker.arrays import new_array
from db.migrate import SchemaError, upgrade
from tests.conftest import picture
from tests.faults.claims import Claims
from tests.faults.saving import Save, World, examine, make_save, make_world, send_again
from tests.faults.servers import Nursery
from tests.faults.test_disk_trouble import ask, reads_go_on, save

MEGABYTES = 24


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, small enough to be filled."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=0700", "tmpfs", str(place)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here ({done.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class Filler:
    """A file that takes all room there is, and gives it back."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "filler"

    def fill(self, spare: int = 0) -> None:
        """Take everything but `spare` bytes."""
        with self._path.open("ab", buffering=0) as file:
            for step in (2**20, 4096):
                while shutil.disk_usage(self._path.parent).free - spare >= step:
                    file.write(bytes(step))

    def free(self) -> None:
        """Give everything back."""
        self._path.unlink()


@pytest.fixture
def filler(disk: Path) -> Filler:
    return Filler(disk)


def test_saves_on_a_full_disk_are_answered_507_and_work_again_without_a_restart(
    disk: Path, filler: Filler, light: Nursery, claim: Claims
) -> None:
    shown = claim(
        "R-09",
        "On a full disk saves are answered 507, reading goes on, nothing saved is lost, and room helps.",
        unit="saves",
    )
    world = make_world(disk / "data")
    acknowledged: list[Save] = []
    waiting: list[Save] = []
    with light(world.data_dir) as server:
        for round in range(3):  # full, free, and full again
            filler.fill()
            for number in range(3_000):
                if len(waiting) == 8:
                    break
                made = make_save(world, f"round-{round}-{number}", random.Random(number))
                status, headers, body = save(server, world, made)
                if status == 200:  # fits into room that the log has already
                    acknowledged.append(made)
                    continue
                assert (status, body["error"]["code"]) == (507, "disk_full"), body
                assert int(headers["retry-after"]) > 0
                waiting.append(made)
            assert waiting, "the disk was never full"
            reads_go_on(server, world)
            told = ask(server, "/api/health")[2]
            assert told["status"] == "disk_full" and "wait in your browser" in told["notices"][0]["text"]
            status, _, body = ask(server, f"/api/projects/{world.project}/export/coco")
            assert (status, body["error"]["code"]) == (507, "disk_full")
            filler.free()
            assert set(send_again(world, server.port, waiting)) == {200}
            acknowledged += waiting
            waiting = []
            assert ask(server, "/healthz")[2] == {"status": "ok"}
        assert list((world.data_dir / "tmp").iterdir()) == [], "parts of exports were left behind"
    assert not examine(world.database, acknowledged)
    shown.done(len(acknowledged))


def files(folder: Path) -> set[str]:
    """Everything but the database's own files, empty folders, and locks, which hold nothing."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in names if not name.startswith("annotator.db") and not name.endswith(".lock")}


def open_world(disk: Path) -> tuple[World, Settings, Store]:
    world = make_world(disk / "data")
    settings = Settings(data_dir=world.data_dir, backbone="tiny", disk_low_bytes=0, disk_low_percent=0)
    return world, settings, Store.open(settings)


Deed = Callable[[World, Settings, Store, Path], Any]


def save_answers(world: World, settings: Settings, store: Store, outside: Path) -> None:
    for number in range(300):
        new = [
            NewDecision(
                op_id=os.urandom(8).hex(),
                image_id=world.images[(number + place) % len(world.images)],
                category_id=world.categories[place % len(world.categories)],
                state=CellState.POSITIVE,
            )
            for place in range(16)
        ]
        store.write(
            lambda c, new=new: decisions.record(
                c, world.project, new, user_id=users.owner(c, now=1), now=now_ms()
            )
        )


def import_pictures(world: World, settings: Settings, store: Store, outside: Path) -> None:
    for seed in range(16):
        picture(outside / "in" / f"{seed}.png", size=(300, 300), seed=seed)
    importing.import_folder(store, world.project, outside / "in", settings=settings)


def export_coco(world: World, settings: Settings, store: Store, outside: Path) -> None:
    exporting.export_coco(store, world.project, world.data_dir / "out.json", now=now_ms())
    (world.data_dir / "out.json").unlink()


def export_csv(world: World, settings: Settings, store: Store, outside: Path) -> None:
    exporting.export_csv(store, world.project, world.data_dir / "out.csv")
    (world.data_dir / "out.csv").unlink()


def publish(world: World, settings: Settings, store: Store, outside: Path) -> None:
    """A generation's folder: checkpoint, index and scores are files in it."""
    place = world.data_dir / "projects" / "1" / "generations" / "1"
    with ArtifactWriter(place) as artifact:
        np.save(artifact.folder / "logits.npy", np.ones((700, 700), dtype=np.float32))
    shutil.rmtree(place)


def scores(world: World, settings: Settings, store: Store, outside: Path) -> None:
    """An array that is filled through memory: a disk that is full then would kill the process."""
    place = world.data_dir / "projects" / "1" / "generations" / "1"
    with ArtifactWriter(place) as artifact:
        array = new_array(artifact.folder / "logits.npy", np.float32, (700, 700))
        array[:] = 1
        array.flush()
    shutil.rmtree(place)


DEEDS: dict[str, Deed] = {
    "save": save_answers,
    "import": import_pictures,
    "coco": export_coco,
    "csv": export_csv,
    "generation": publish,
    "scores": scores,
}


@pytest.mark.parametrize("name", DEEDS)
def test_what_writes_on_a_full_disk_leaves_no_part_and_works_again(
    disk: Path, filler: Filler, tmp_path: Path, claim: Claims, name: str
) -> None:
    shown = claim(
        "R-09",
        "Saves, imports, exports and generations on a full disk leave nothing half-written and work later.",
        unit="full disks",
    )
    world, settings, store = open_world(disk)
    spares = (0, 4096, 40_000, 200_000)
    try:
        before = files(world.data_dir)
        for spare in spares:
            filler.fill(spare)
            with pytest.raises((DiskFull, OSError)) as caught:
                DEEDS[name](world, settings, store, tmp_path)
            assert (
                is_full(caught.value) if name in ("generation", "scores") else type(caught.value) is DiskFull
            )
            assert files(world.data_dir) == before
            assert health(store, settings).status in ("disk_full", "warning")
            filler.free()
            assert store.trouble == ""
        DEEDS[name](world, settings, store, tmp_path)
        assert store.damage() == ""
    finally:
        store.close()
    assert examine(world.database, []).broken == []
    shown.done(len(spares))


def test_a_migration_on_a_full_disk_leaves_the_old_database(
    disk: Path, filler: Filler, settings: Settings
) -> None:
    place = Settings(data_dir=disk / "data", backbone="tiny")
    filler.fill(30_000)
    for _ in range(2):
        with pytest.raises((StoreError, SchemaError)) as caught:
            upgrade(place.database)
        assert "full" in str(caught.value) and "\n" not in str(caught.value)
    filler.free()
    upgrade(place.database)
    with closing(Store.open(place)) as store:
        assert store.damage() == ""


def test_a_nearly_full_disk_stops_uploads_first_and_answers_last(
    disk: Path, filler: Filler, light: Nursery, claim: Claims
) -> None:
    shown = claim(
        "R-10",
        "On a nearly full disk uploads are refused with 507 while answers are still saved.",
        unit="answers",
    )
    world = make_world(disk / "data")  # the whole disk is smaller than the room that must stay free
    with light(world.data_dir) as server:
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        body = head + b"file_name,a\r\n--b--"
        status, _, answer = upload(server.port, f"/api/projects/{world.project}/labels", body)
        assert (status, answer["error"]["code"]) == (507, "disk_full"), answer
        assert "nearly full" in answer["error"]["message"]
        made = [make_save(world, f"nearly-{number}", random.Random(number)) for number in range(20)]
        assert [save(server, world, one)[0] for one in made] == [200] * 20
        told = ask(server, "/api/health")[2]
        assert told["status"] == "warning" and "uploads and trainings wait" in told["notices"][0]["text"]
        assert ask(server, "/healthz")[2] == {"status": "ok"}
    shown.done(20)


def upload(port: int, path: str, body: bytes) -> tuple[int, dict[str, str], Any]:
    import http.client
    import json

    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", path, body, {"Content-Type": "multipart/form-data; boundary=b"})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), json.loads(answer.read())


def test_the_ballast_is_room_that_an_administrator_gets_back(
    disk: Path, filler: Filler, tmp_path: Path
) -> None:
    world, _, store = open_world(disk)
    settings = Settings(
        data_dir=world.data_dir, backbone="tiny", disk_low_bytes=0, disk_low_percent=0, ballast_bytes=2**20
    )
    try:
        assert make_ballast(settings)
        assert (settings.data_dir / "ballast").stat().st_blocks * 512 >= 2**20, "it takes real room"
        filler.fill()
        with pytest.raises(DiskFull):
            save_answers(world, settings, store, tmp_path)
        said = free_space(settings)
        assert "ballast of 1 MB was given up" in said and room(settings).free >= 2**20
        store.write(lambda c: users.owner(c, now=1))
        assert "no ballast" in free_space(settings)
        filler.free()
        assert make_ballast(settings), "the next start puts a new one aside"
    finally:
        store.close()
