"""R-06, R-07, R-13: a stuck database, a failing disk and a stopping server lose nothing acknowledged."""

from __future__ import annotations

import http.client
import json
import os
import random
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from db.engine import sqlite_module
from tests.faults.claims import Claims, size
from tests.faults.saving import Save, World, Writers, examine, make_save, make_world, send_again
from tests.faults.servers import Nursery, Server, ticks, whole

SEED = 7


def ask(
    server: Server, path: str, method: str = "GET", body: bytes | None = None, *, timeout: float = 30
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one answer on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)) as connection:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), json.loads(answer.read())


def save(server: Server, world: World, made: Save) -> tuple[int, dict[str, str], Any]:
    return ask(server, f"/api/projects/{world.project}/decisions", "POST", made.body)


def saves(world: World, name: str, count: int) -> list[Save]:
    chance = random.Random(SEED)
    return [make_save(world, f"{name}-{number}", chance) for number in range(count)]


def reads_go_on(server: Server, world: World) -> None:
    for path in ("categories", "deck", f"images/{world.images[0]}", "status"):
        assert ask(server, f"/api/projects/{world.project}/{path}")[0] == 200, path


def test_a_stuck_transaction_elsewhere_is_answered_with_503_and_loses_nothing(
    memory_path: Path, light: Nursery, claim: Claims
) -> None:
    shown = claim(
        "R-13",
        "While another program holds the database saves are answered 503 with Retry-After, and saved later.",
        unit="saves",
    )
    world = make_world(memory_path / "data")
    waiting = saves(world, "stuck", size(24, 200))
    with light(world.data_dir) as server:
        before = saves(world, "before", 4)
        assert [save(server, world, made)[0] for made in before] == [200] * 4
        with closing(sqlite_module().connect(str(world.database), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with ThreadPoolExecutor(12) as pool:
                answers = list(pool.map(lambda made: save(server, world, made), waiting))
            for status, headers, body in answers:
                assert status == 503 and body["error"]["code"] == "busy", body
                assert int(headers["retry-after"]) > 0
            reads_go_on(server, world)
            other.execute("ROLLBACK")
        assert set(send_again(world, server.port, waiting)) == {200}
    assert not examine(world.database, [*before, *waiting])
    shown.done(len(waiting))


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@contextmanager
def failing(server: Server, injected: str, folder: Path) -> Iterator[None]:
    """Let system calls of a running server fail; skip where processes may not be traced."""
    said = folder / "strace.txt"
    with said.open("w") as output:
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", "-e", f"inject={injected}", "-p", str(server.pid)],
            stderr=output,
        )
    try:
        for _ in ticks(20):
            words = said.read_text()
            if "attached" in words:
                break
            if tracer.poll() is not None:
                pytest.skip(f"strace cannot attach here: {words.strip()}")
        yield
    finally:
        tracer.terminate()
        tracer.wait(20)


@needs_strace
@pytest.mark.parametrize("when", ["1", "2", "1+"])
def test_a_failing_sync_is_not_acknowledged_and_ends_the_writing_until_a_restart(
    tmp_path: Path, light: Nursery, claim: Claims, when: str
) -> None:
    shown = claim(
        "R-07",
        "After the disk has failed once nothing is acknowledged until a restart; what was before is there.",
        unit="saves",
    )
    world = make_world(tmp_path / "data")
    tried = saves(world, "tried", 12)
    acknowledged: list[Save] = []
    refused: list[Save] = []
    with light(world.data_dir) as server:
        assert save(server, world, tried[0])[0] == 200
        acknowledged.append(tried[0])
        with failing(server, f"fsync,fdatasync:error=EIO:when={when}", tmp_path):
            for made in tried[1:8]:
                status, headers, body = save(server, world, made)
                if status == 200:
                    assert not refused, "acknowledged after the disk had failed"
                    acknowledged.append(made)
                else:
                    assert (status, body["error"]["code"]) == (503, "read_only"), body
                    assert int(headers["retry-after"]) > 0
                    refused.append(made)
        assert refused, "the fault was never met"
        # the disk seems well again: all the same nothing is acknowledged
        for made in tried[8:]:
            assert save(server, world, made)[0] == 503
            refused.append(made)
        reads_go_on(server, world)
        status, _, body = ask(server, "/api/health")
        assert status == 200 and body["status"] == "read_only"
        assert "nothing is saved any more" in body["notices"][0]["text"]
        assert ask(server, "/healthz")[2] == {"status": "read_only"}
    with light(world.data_dir) as server:
        assert ask(server, "/api/health")[2]["status"] != "read_only"
        assert set(send_again(world, server.port, tried)) == {200}
    assert not examine(world.database, tried)
    shown.done(len(tried))


def test_a_write_that_fails_for_another_reason_than_room_is_not_acknowledged_either(
    tmp_path: Path, light: Nursery, claim: Claims
) -> None:
    """RLIMIT_FSIZE: the system answers EFBIG, SQLite says "disk I/O error", and there is room."""
    shown = claim("R-09", "A write that fails with EFBIG makes the server read-only in words.", unit="saves")
    world = make_world(tmp_path / "data")
    tried = saves(world, "limit", 60)
    done = 0
    with light(world.data_dir) as server:
        assert save(server, world, tried[0])[0] == 200
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (200_000, hard))
        for made in tried[1:]:
            done += 1
            status, _, body = save(server, world, made)
            if status != 200:
                assert (status, body["error"]["code"]) == (503, "read_only"), body
                break
        else:
            pytest.fail("the limit was never met")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert save(server, world, tried[done])[0] == 503
        reads_go_on(server, world)
    assert not examine(world.database, tried[:done])
    with light(world.data_dir) as server:
        assert set(send_again(world, server.port, tried)) == {200}
    assert not examine(world.database, tried)
    shown.done(done)


def test_a_server_that_stops_under_load_finishes_what_it_acknowledged(tmp_path: Path, claim: Claims) -> None:
    shown = claim(
        "R-06",
        "SIGTERM under load: saves end with 200 or 503 and Retry-After, and no acknowledged one is lost.",
        unit="saves",
    )
    world = make_world(tmp_path / "data")
    with whole(world.data_dir) as server:
        writers = Writers(world, server.port, 12, round=0, seed=SEED)
        writers.acknowledged(40)
        os.kill(server.pid, signal.SIGTERM)
        for _ in ticks(10):
            if server.gone():
                break
        else:
            pytest.fail("the server did not end within ten seconds")
        oracle = writers.stop()
        assert "everything answered is stored" in server.output() and "Traceback" not in server.output()
        workers = subprocess.run(
            ["pgrep", "-f", str(world.data_dir)], capture_output=True, text=True, check=False
        ).stdout
        assert workers == "", "the worker has ended too"
    assert oracle.acknowledged and oracle.refused, "some were saved, and some were told to come back"
    for status, body in oracle.refused:
        assert status == 503 and json.loads(body)["error"]["code"] == "stopping", body
    assert not examine(world.database, oracle.acknowledged)
    assert (world.data_dir / "server.lock").read_text() == "", "an end in order leaves nothing to check"
    shown.done(len(oracle.acknowledged), refused=len(oracle.refused))
