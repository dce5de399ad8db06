"""Requests exactly as written: no client library tidies the address, a header or the body on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI
from fastapi.routing import _IncludedRouter

from tests import running

LOCAL = "127.0.0.1:7860"


@dataclass(frozen=True)
class Wire:
    """One request; `target` is the address as it stands in the request line."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    host: str = LOCAL


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def code(self) -> str:
        """Code of the refusal; an answer that is no envelope fails the test."""
        error = json.loads(self.body)["error"]
        assert set(error) - {"hint"} >= {"code", "message", "request_id"}, error
        assert error["request_id"] and error["message"]
        return str(error["code"])


def ask_all(app: Any, requests: Sequence[Wire], check: Callable[[Wire, Reply], None]) -> None:
    """Send them one after another and check every answer."""

    async def run() -> None:
        for request in requests:
            check(request, await ask(app, request))

    running.run(run())


def answers(app: Any, requests: Sequence[Wire]) -> list[Reply]:
    """The answers, in order."""
    found: list[Reply] = []
    ask_all(app, requests, lambda _request, reply: found.append(reply))
    return found


async def ask(app: Any, request: Wire) -> Reply:
    """Send one request; an exception of the application fails the test."""
    path, _, query = request.target.partition("?")
    raw = [(b"host", request.host.encode())] if request.host else []
    raw += [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers]
    if request.body and "content-length" not in [name.lower() for name, _ in request.headers]:
        raw.append((b"content-length", str(len(request.body)).encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": query.encode("utf-8", "replace"),
        "root_path": "",
        "headers": raw,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 7860),
    }
    return await _exchange(app, scope, request.body)


async def _exchange(app: Any, scope: dict[str, Any], body: bytes) -> Reply:
    pending = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return pending.pop() if pending else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    headers = tuple((key.decode().lower(), value.decode("latin-1")) for key, value in start["headers"])
    return Reply(start["status"], headers, b"".join(message.get("body", b"") for message in sent))


def every_route(app: FastAPI) -> Iterator[tuple[str, frozenset[str]]]:
    """Path template and methods of every route, ours and those of whatever is mounted."""
    yield from _walk(app.routes)


def _walk(routes: Sequence[Any]) -> Iterator[tuple[str, frozenset[str]]]:
    for route in routes:
        if isinstance(route, _IncludedRouter):
            yield from _walk(route.effective_candidates())
        elif hasattr(route, "path") and hasattr(route, "methods"):
            yield route.path, frozenset(route.methods or ())
        else:
            inner = route.app
            while not hasattr(inner, "routes"):
                inner = inner._app
            yield from _walk(inner.routes)
