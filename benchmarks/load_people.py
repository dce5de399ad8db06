"""People at work as HTTP clients: annotators, a reviewer, somebody who exports, somebody who trains."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 60.0
STATES = ("positive", "negative", "negative", "unsure")


@dataclass(frozen=True)
class Task:
    """What is being labelled, and where."""

    port: int
    project: int
    images: Sequence[int]
    categories: Sequence[int]

    @property
    def base(self) -> str:
        """Path of the project's routes."""
        return f"/api/projects/{self.project}"


@dataclass
class Book:
    """What was measured: milliseconds per kind of request, operations acknowledged, what went wrong."""

    ms: dict[str, list[float]] = field(default_factory=lambda: {"save": [], "next": [], "image": []})
    acknowledged: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    polls: int = 0
    training: int = 0
    """Of `polls` looks at the status, how many found a training running."""
    exports: int = 0


class Line:
    """One keep-alive connection, opened anew when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body of one request; OSError or TimeoutError when there is no answer."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._exchange(head.encode() + b"\r\n" + content)
        except asyncio.IncompleteReadError as error:
            self.close()
            raise ConnectionError("the server hung up") from error
        except (OSError, TimeoutError):
            self.close()
            raise

    async def _exchange(self, message: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(message)
        await writer.drain()
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)
        }
        answer = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return int(first.split()[1]), answer

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    async def leave(self) -> None:
        """Hang up and wait until that is done."""
        if self._streams is not None:
            writer = self._streams[1]
            self.close()
            with suppress(OSError):
                await writer.wait_closed()


class Person:
    """Somebody with a connection, who notes each request in a book."""

    def __init__(self, task: Task, book: Book, chance: random.Random) -> None:
        self.task = task
        self.book = book
        self.chance = chance
        self.line = Line(task.port)

    async def ask(self, method: str, path: str, body: Any = None, *, kind: str = "") -> bytes | None:
        """One request, timed under `kind`; the answer, or None after an error, which is noted."""
        began = time.perf_counter()
        try:
            status, answer = await self.line.ask(method, path, body)
        except (OSError, TimeoutError) as error:
            self.book.errors.append(f"{method} {path}: {error!r}")
            return None
        if kind:
            self.book.ms[kind].append(1000 * (time.perf_counter() - began))
        if status >= 300:
            self.book.errors.append(f"{method} {path}: {status} {answer[:200]!r}")
            return None
        return answer


async def annotate(person: Person, name: str, *, think_s: float, look: bool) -> None:
    """Look at a picture, answer some of its cells, think; until cancelled. Without `look`: answer only."""
    task, chance = person.task, person.chance
    await asyncio.sleep(chance.uniform(0, think_s))
    for serial in range(10**9):
        image = chance.choice(task.images)
        if look:
            await person.ask("GET", f"{task.base}/images/{image}", kind="next")
            await person.ask("GET", f"/img/{image}?size=thumb", kind="image")
        cells = chance.sample(task.categories, chance.randint(1, min(8, len(task.categories))))
        decisions = [
            {
                "op_id": f"{name}-{serial}.{place}",
                "image_id": image,
                "category_id": category,
                "state": chance.choice(STATES),
            }
            for place, category in enumerate(cells)
        ]
        if await person.ask("POST", f"{task.base}/decisions", {"decisions": decisions}, kind="save"):
            person.book.acknowledged += [str(decision["op_id"]) for decision in decisions]
        await asyncio.sleep(chance.uniform(0.5 * think_s, 1.5 * think_s))


async def review(person: Person) -> None:
    """List questions and counts, one after the other."""
    task = person.task
    for serial in range(10**9):
        category = task.categories[serial % len(task.categories)]
        for path in ("/deck?limit=500", f"/grid?category={category}&limit=100", "/categories"):
            await person.ask("GET", task.base + path)
        await asyncio.sleep(0.2)


async def export(person: Person) -> None:
    """Download every decided cell, again and again."""
    for serial in range(10**9):
        kind = ("coco", "csv")[serial % 2]
        if await person.ask("GET", f"{person.task.base}/export/{kind}"):
            person.book.exports += 1
        await asyncio.sleep(0.2)


async def train(person: Person) -> None:
    """Ask for a training whenever none runs."""
    while True:
        answer = await person.ask("GET", f"{person.task.base}/status")
        if answer is not None:
            job = json.loads(answer)["job"]
            state = "" if job is None else job["status"]
            person.book.polls += 1
            person.book.training += state == "running"
            if state not in ("queued", "running"):
                await person.ask("POST", f"{person.task.base}/retrain")
        await asyncio.sleep(0.25)


async def until_training(task: Task) -> None:
    """Ask for a training and return once one runs; TimeoutError when none begins."""
    book = Book()
    trainer = Person(task, book, random.Random(0))
    asking = asyncio.create_task(train(trainer))
    try:
        async with asyncio.timeout(2 * TIMEOUT_S):
            while not book.training:
                await asyncio.sleep(0.02)
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await trainer.line.leave()


async def work(
    task: Task,
    name: str,
    *,
    annotators: int,
    think_s: float,
    seconds: float,
    seed: int,
    busy: bool,
    look: bool,
) -> Book:
    """Let people work for `seconds`; if `busy`, with reviewer, exporter and trainer beside the annotators."""
    book = Book()

    people: list[Person] = []

    def person(number: int) -> Person:
        people.append(Person(task, book, random.Random(f"{seed}/{name}/{number}")))
        return people[-1]

    jobs = [
        annotate(person(number), f"{name}-{number}", think_s=think_s, look=look)
        for number in range(annotators)
    ]
    if busy:
        jobs += [review(person(-1)), export(person(-2)), train(person(-3))]
    tasks = [asyncio.create_task(job) for job in jobs]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for running in tasks:
        running.cancel()
    for running in tasks:
        with suppress(asyncio.CancelledError):
            await running
    await asyncio.gather(*(one.line.leave() for one in people))
    return book
