"""Every way in which a right ends while its answer is still being given, by the real application (A-24).

The client takes the first messages and then no more, as one on a slow line does: the server lets go of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection
from starlette.types import Message, Scope

from annotator.api import guard
from annotator.api.lasting import Watch
from annotator.people import Role
from annotator.settings import Settings
from annotator.store import Store, images, members, projects, purging, sessions, tokens, users
from annotator.store.copying import TEMPORARY
from tests import running
from tests.annotator.api.people import NOW, Place, build, place

LIMIT_S = 30.0


@dataclass
class World:
    """The application, one project, and a reviewer who reads: by a session, or as a program."""

    app: FastAPI
    store: Store
    home: Place
    reviewer: int
    session: dict[str, str]
    token: dict[str, str] = field(default_factory=dict)

    def export_files(self) -> list[Path]:
        return list((self.store.data_dir / TEMPORARY).glob("export-*"))


@pytest.fixture
def world(store: Store, public_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(guard, "Watch", partial(Watch, every_s=0.02, young_s=0.0))
    app, ids, headers, places = build(store, public_settings)
    _, secret = store.write(lambda c: tokens.create(c, ids["reviewer"], "script", expires_at=None, now=NOW))
    token = {"Authorization": f"Bearer {secret}"}
    return World(app, store, places["home"], ids["reviewer"], headers["reviewer"], token)


def removed(world: World) -> None:
    world.store.write(lambda c: members.remove(c, world.home.project_id, world.reviewer))


def lowered(world: World) -> None:
    world.store.write(
        lambda c: members.put(c, world.home.project_id, world.reviewer, Role.ANNOTATOR, now=NOW)
    )


def disabled(world: World) -> None:
    world.store.write(lambda c: users.set_disabled(c, world.reviewer, NOW))


def signed_out(world: World) -> None:
    world.store.write(lambda c: sessions.delete_all(c, world.reviewer))


def revoked(world: World) -> None:
    world.store.write(lambda c: tokens.revoke_all(c, world.reviewer, now=NOW))


@dataclass
class Client:
    """Takes the first messages; before the `stops`-th something happens, and nothing is taken any more."""

    meanwhile: Callable[[], object]
    stops: int = 2
    taken: list[Message] = field(default_factory=list)
    stopped: bool = False

    async def take(self, message: Message) -> None:
        if len(self.taken) + 1 < self.stops:
            self.taken.append(message)
            return
        self.stopped = True
        await asyncio.to_thread(self.meanwhile)
        await asyncio.Event().wait()

    @property
    def status(self) -> int:
        return int(self.taken[0]["status"])

    @property
    def complete(self) -> bool:
        return any(m["type"] == "http.response.body" and not m.get("more_body", False) for m in self.taken)


def get(world: World, path: str, headers: dict[str, str], take: Callable[[Message], Any]) -> None:
    """Ask and wait until the server is done with the request."""

    async def ask() -> None:
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"host", b"192.168.1.4:7860"))
        query = b"session_hash=abc"
        scope: Scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET"}
        scope |= {"scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query}
        scope |= {"root_path": "", "headers": raw, "client": ("10.0.0.9", 5), "server": ("10.0.0.1", 7860)}
        async with asyncio.timeout(LIMIT_S):
            await world.app(scope, _stays(), take)

    running.run(ask())


def _stays() -> Callable[[], Any]:
    """A client that has asked and does not leave."""
    asked: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not asked:
            await asyncio.Event().wait()
        return asked.pop()

    return receive


WAYS = [
    (removed, "session", "coco"),
    (removed, "session", "csv"),
    (lowered, "session", "csv"),
    (disabled, "session", "coco"),
    (signed_out, "session", "csv"),
    (removed, "token", "coco"),
    (disabled, "token", "csv"),
    (revoked, "token", "coco"),
]


@pytest.mark.parametrize(
    ("way", "by", "kind"), WAYS, ids=[f"{way.__name__} {by} {kind}" for way, by, kind in WAYS]
)
def test_an_export_on_its_way_is_cut_and_its_files_are_gone(
    world: World, way: Callable[[World], None], by: str, kind: str
) -> None:
    client = Client(lambda: way(world))
    get(world, f"/api/projects/{world.home.project_id}/export/{kind}", getattr(world, by), client.take)
    assert client.status == 200 and client.stopped and not client.complete
    assert world.export_files() == []


@pytest.mark.parametrize("way", [removed, disabled, signed_out], ids=lambda way: way.__name__)
def test_a_picture_on_its_way_is_cut(world: World, way: Callable[[World], None]) -> None:
    client = Client(lambda: way(world))
    get(world, f"/img/{world.home.image_id}", world.session, client.take)
    assert client.status == 200 and client.stopped and not client.complete


def stream(app: FastAPI, path: str) -> None:
    """An event stream at an address of the page, in the place of the page."""
    inner = FastAPI()

    @inner.get(path)
    async def events(_request: Request) -> StreamingResponse:
        async def lines() -> Any:
            yield "data: hello\n\n"
            await asyncio.Event().wait()

        return StreamingResponse(lines(), media_type="text/event-stream")

    app.mount("/", inner)


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("/gradio_api/queue/data", removed),
        ("/gradio_api/queue/data", lowered),
        ("/gradio_api/queue/data", disabled),
        ("/gradio_api/queue/data", signed_out),
        ("/gradio_api/heartbeat/abc", disabled),
        ("/gradio_api/heartbeat/abc", signed_out),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_stream_of_the_page_is_cut(world: World, path: str, way: Callable[[World], None]) -> None:
    stream(world.app, path)
    taken: list[Message] = []

    async def take(message: Message) -> None:
        taken.append(message)
        if b"hello" in message.get("body", b""):
            await asyncio.to_thread(way, world)

    get(world, path, world.session, take)
    assert b"".join(message.get("body", b"") for message in taken) == b"data: hello\n\n"
    assert all(m.get("more_body", True) for m in taken)


@pytest.mark.parametrize("is_admin", [False, True], ids=["member", "server admin"])
def test_a_project_that_goes_for_good_ends_no_stream_about_another_one(world: World, is_admin: bool) -> None:
    """Cut, the page would end its person's import into a project that nobody touched."""
    other = place(world.store, "other").project_id
    world.store.write(lambda c: members.put(c, other, world.reviewer, Role.ADMIN, now=NOW))
    if is_admin:
        world.store.write(lambda c: users.set_admin(c, world.reviewer))

    def purge() -> None:
        world.store.write(lambda c: projects.set_archived(c, other, NOW))
        world.store.write(lambda c: purging.begin(c, other, "other", user_id=None, keep_ms=0, now=NOW + 1))
        world.store.write(lambda c: purging.remove_pictures(c, other, _images(c, other)))
        world.store.write(lambda c: purging.remove_categories(c, other))
        world.store.write(lambda c: purging.end(c, other, now=NOW + 2))

    async def import_on_its_way(_scope: Scope, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await asyncio.to_thread(purge)
        await asyncio.sleep(0.5)  # many looks
        await send({"type": "http.response.body", "body": b" done", "more_body": False})

    world.app.mount("/", import_on_its_way)
    taken: list[Message] = []

    async def take(message: Message) -> None:
        taken.append(message)

    get(world, "/gradio_api/queue/data", world.session, take)
    assert b"".join(message.get("body", b"") for message in taken) == b"half done"


def _images(c: Connection, project_id: int) -> list[int]:
    return [image.id for image in images.page(c, project_id, limit=10)]


@pytest.mark.parametrize(("way", "status"), [(removed, 404), (lowered, 403), (disabled, 401)])
def test_an_export_that_is_still_made_is_refused_and_its_making_ends(
    world: World,
    way: Callable[[World], None],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The pages of a large project: after the first the right ends, and the second is not read."""
    read, told = [], threading.Event()
    real = images.page

    def page(*where: Any, **how: Any) -> Any:
        read.append(len(world.export_files()))
        way(world)
        assert told.wait(LIMIT_S), "the refusal waits for the export"
        return real(*where, **how)

    monkeypatch.setattr(images, "page", page)
    taken: list[Message] = []

    async def take(message: Message) -> None:
        taken.append(message)
        if message["type"] == "http.response.body":
            told.set()

    with caplog.at_level(logging.WARNING):
        get(world, f"/api/projects/{world.home.project_id}/export/csv", world.session, take)
    assert read == [1], "one page, while its file was there"
    assert [message.get("status") for message in taken] == [status, None]
    error = json.loads(taken[1]["body"])["error"]
    assert error["request_id"] and "was cut while it was given" in caplog.text
    assert world.export_files() == []
