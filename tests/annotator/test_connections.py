"""A stranger's connections that never ask anything do not hold the server's places (A-30)."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from annotator import connections
from annotator.connections import Impatient, open_files
from tests import running

LONG = 30.0  # a test that hangs ends


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Say how much came, when it has all come."""
    count, more = 0, True
    while more:
        message = await receive()
        count, more = count + len(message.get("body", b"")), message.get("more_body", False)
    await asyncio.sleep(3 * connections.HEAD_S)
    body = str(count).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    config = uvicorn.Config(_answer, lifespan="off", log_config=None, access_log=False)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: Impatient(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.1)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nA: "])
def test_a_head_that_does_not_end_is_not_waited_for(sent: bytes) -> None:
    async def ask() -> bytes:
        async with served() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            try:
                return await asyncio.wait_for(reader.read(), LONG)
            finally:
                writer.close()

    assert running.run(ask()) == b""


def test_a_head_that_comes_byte_by_byte_wins_no_time() -> None:
    async def ask() -> int:
        async with served() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nX: ")
            sent = 0
            closed = asyncio.create_task(reader.read())
            while not closed.done() and sent < 1000:
                writer.write(b"a")
                sent += 1
                await asyncio.sleep(0.02)
            writer.close()
            return sent

    assert running.run(ask()) < 1000


def test_a_second_request_on_the_connection_has_the_same_time_and_slow_answers_and_bodies_their_own() -> None:
    async def ask() -> tuple[bytes, bytes, bytes]:
        async with served() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
            await asyncio.sleep(3 * connections.HEAD_S)
            writer.write(b"b")
            first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LONG)
            body = await asyncio.wait_for(reader.readexactly(1), LONG)
            writer.write(b"GET / HT")
            rest = await asyncio.wait_for(reader.read(), LONG)
            writer.close()
            return first, body, rest

    first, body, rest = running.run(ask())
    assert first.startswith(b"HTTP/1.1 200") and body == b"2" and rest == b""


def test_the_server_takes_the_open_files_that_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    for soft, hard, taken in ((1024, 4096, 4096), (1024, 10**7, connections.PLACES), (10**6, 10**7, 10**6)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, found=(soft, hard): found)
        assert open_files() == taken
    assert asked == [(4096, 4096), (connections.PLACES, 10**7)]
