"""R-14, R-15, N-13: many requests, slow clients and idle connections cost nothing that stays."""

from __future__ import annotations

import asyncio
import http.client
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annotator.serving import listening
from annotator.settings import Settings
from tests import running
from tests.faults.claims import Claims, size
from tests.faults.saving import World, examine, make_save, make_world, post, send_again
from tests.faults.servers import Nursery, Server, ticks

SEED = 14
PEOPLE = 12
PER_CONNECTION = 10  # requests before a client hangs up and connects again
CHUNKS = 8
MOST_MB = size(3, 1)  # in 2,000 requests a page of the allocator more or less is half a megabyte


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    rss_mb: float
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """The process's memory, open files and threads now."""
        status = Path(f"/proc/{pid}/status").read_text()
        rss = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        folder = Path(f"/proc/{pid}")
        return cls(
            rss_mb=int(rss.split()[1]) / 1024,
            files=len(list((folder / "fd").iterdir())),
            threads=len(list((folder / "task").iterdir())),
        )


def ask(world: World, port: int, count: int, number: int, failures: list[str]) -> None:
    """One person's `count` requests: mostly looking, sometimes answering.

    Answers repeat, so that the database stays as large as it is and what grows is a leak.
    """
    chance = random.Random(f"{SEED}/{number}/{count}")
    done = 0
    while done < count:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            for _ in range(min(PER_CONNECTION, count - done)):
                done += 1
                if done % 10 == 0:
                    name = f"soak-{number}-{done // 10 % 20}"
                    save = make_save(world, name, random.Random(name))
                    status, answer = post(connection, world, save)
                else:
                    image = chance.choice(world.images)
                    what = chance.choice((f"images/{image}", "status", "categories", "deck?limit=20"))
                    connection.request("GET", f"/api/projects/{world.project}/{what}")
                    response = connection.getresponse()
                    status, answer = response.status, response.read()
                if status != 200:
                    failures.append(f"{status} {answer[:200]!r}")


def everybody(world: World, server: Server, requests: int) -> list[str]:
    """`requests` requests by all people together; what failed."""
    failures: list[str] = []
    people = [
        threading.Thread(target=ask, args=(world, server.port, requests // PEOPLE, number, failures))
        for number in range(PEOPLE)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    return failures


def settled(server: Server, files: int) -> Footprint:
    """The footprint once the hung-up connections are closed; or after a while, whatever it is then."""
    found = Footprint.of(server.pid)
    for _ in ticks(10):
        if found.files <= files:
            break
        found = Footprint.of(server.pid)
    return found


def test_memory_files_and_threads_stay_where_they_are(
    memory_path: Path, light: Nursery, claim: Claims
) -> None:
    shown = claim(
        "N-13",
        f"Memory grows by less than {MOST_MB} MB per 1,000 requests after warm-up; files and threads do not.",
        unit="requests",
        seed=SEED,
    )
    world = make_world(memory_path / "data")
    part = size(240, 25_000)
    with light(world.data_dir) as server:
        assert everybody(world, server, size(2_400, 25_000)) == []
        base = settled(server, 0)
        found = []
        for _ in range(CHUNKS):
            assert everybody(world, server, part) == []
            found.append(settled(server, base.files))
    slope = float(np.polyfit(np.arange(CHUNKS) * part / 1000, [one.rss_mb for one in found], 1)[0])
    assert slope < MOST_MB, f"{slope:.2f} MB per 1,000 requests: {found}"
    assert max(one.files for one in found) <= base.files and found[-1].threads <= base.threads, (base, found)
    shown.done(CHUNKS * part, mb_per_1000=round(slope, 3), files=found[-1].files, threads=found[-1].threads)


@contextmanager
def idlers(port: int, count: int, begun: bytes = b"") -> Iterator[Sequence[socket.socket]]:
    """Connections that send `begun` and then nothing."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            connection.sendall(begun)
            opened.append(connection)
        yield opened


def test_slow_clients_and_idle_connections_do_not_keep_others_from_saving(
    memory_path: Path, light: Nursery, claim: Claims
) -> None:
    shown = claim(
        "R-15",
        "60 clients that never finish their request and 500 that never begin one keep nobody from saving.",
        unit="saves",
    )
    world = make_world(memory_path / "data")
    half = (
        f"POST /api/projects/{world.project}/decisions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        'Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{"dec'
    ).encode()
    chance = random.Random(SEED)
    saves = [make_save(world, f"beside-{number}", chance) for number in range(40)]
    with (
        light(world.data_dir) as server,
        idlers(server.port, 500),
        idlers(server.port, 60, half) as slow,
    ):
        for number, connection in enumerate(slow):
            connection.sendall(b"i" if number % 2 else b"")
        assert send_again(world, server.port, saves) == [200] * len(saves)
    assert not examine(world.database, saves)
    shown.done(len(saves))


def test_an_answer_does_not_wait_for_the_clients_acknowledgement(settings: Settings) -> None:
    """Nagle's algorithm holds the second half of an answer back for 40 ms; it is off on our connections."""

    async def off() -> int:
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def served(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            seen.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listening(settings.model_copy(update={"port": 0})) as listener:
            listener.listen()
            server = await asyncio.start_server(served, sock=listener)
            _, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
            found = await seen
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
        return found

    assert running.run(off()) != 0
