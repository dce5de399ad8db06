"""What of the page toolkit's own application can be reached: what the page needs, and nothing else.

Gradio brings more than a hundred addresses: files by path, a proxy, events by name, monitoring. The page
needs a dozen. Everything else does not exist here, whatever a newer Gradio adds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from annotator.api.errors import envelope, plain_refusal
from annotator.api.headers import policy
from annotator.ui.inline_scripts import InlineScripts
from annotator.ui.leftovers import Leftovers
from annotator.ui.unheard import Unheard
from annotator.ui.uploads import Uploads

_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}"
_READ = re.compile(
    rf"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/pwa_icon(?:/[0-9]{{1,4}})?"
    rf"|/(?:assets|static)(?:/{_NAME}){{1,5}}"
    rf"|/gradio_api/(?:info|app_id|theme\.css|startup-events|queue/data|upload_progress|heartbeat/[a-z0-9]{{1,40}})"
)
_UPLOAD = "/gradio_api/upload"
_QUEUED = "/gradio_api/queue/join"
_EVENTS = frozenset({_QUEUED, "/gradio_api/run/predict"})
SMALL = 64 * 1024  # bytes of an event; only the list of uploaded files has more
_WRITE = _EVENTS | {_UPLOAD, "/gradio_api/cancel", "/gradio_api/reset"}
_FORGEABLE = (b"x-forwarded-", b"x-gradio-server", b"forwarded")  # what a trusted proxy says is in the scope
UNHEARD = "This page does not hear what came of its earlier events; load it again."


class PageBorder:
    """Before the mounted page: a closed list of addresses, our refusals, the page's policy.

    `may_upload` says of an account whether there is a project into which it may bring a file; `uploads` is
    the folder into which the toolkit writes them, `queue` its events and what they gave.
    """

    def __init__(self, app: ASGIApp, *, may_upload: Callable[[int], bool], uploads: Path, queue: Any) -> None:
        self._app = app
        self._may_upload = may_upload
        self._scripts = InlineScripts.of_gradio()
        self._uploads = Uploads()
        self._leftovers = Leftovers(uploads)
        self._unheard = Unheard(queue)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        scope = _unforged(scope)
        method, path = scope["method"], scope["path"]
        refused = _unknown(method, path)
        if refused is None and path in _EVENTS:
            receive, refused = await self._event(scope, receive)
        if refused is None and path == _UPLOAD:
            refused = await self._upload(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        if path == "/":
            send = Whole(send, lambda body: self._announce(scope, body))
        elif path == _UPLOAD:
            send = Whole(send, lambda body: self._uploads.keep(_person(scope), body))
            async with self._leftovers.taken_away():
                await self._app(scope, receive, Refusals(scope, send))
            return
        await self._app(scope, receive, Refusals(scope, send))

    async def _event(self, scope: Scope, receive: Receive) -> tuple[Receive, Response | None]:
        """The event's body again, and a refusal when it names a file that its sender did not upload.

        Gradio would fetch a web address and copies any upload it is told of.
        """
        message = await receive()
        if message["type"] != "http.request":
            return _again(message, receive), None
        body = message.get("body", b"")
        if len(body) > SMALL and not await to_thread.run_sync(self._may_upload, _person(scope)):
            return receive, envelope(413, "too_large", "The event is larger than any that you may cause.")
        try:
            event = json.loads(body or b"null")
        except ValueError:
            return receive, envelope(400, "not_json", "The body is not JSON.")
        if not all(self._uploads.are_of(_person(scope), path) for path in _files(event)):
            return receive, envelope(422, "foreign_file", "The event names a file that you did not upload.")
        session = event.get("session_hash") if isinstance(event, dict) else None
        if scope["path"] != _QUEUED or not isinstance(session, str):
            return _again(message, receive), None
        if await self._unheard.room(_person(scope), session):
            return _again(message, receive), None
        return receive, envelope(429, "unheard", UNHEARD, headers={"Retry-After": "1"})

    async def _upload(self, scope: Scope) -> Response | None:
        """Before the first byte is taken in: a file that its sender may use nowhere only fills the disk."""
        if await to_thread.run_sync(self._may_upload, _person(scope)):
            return None
        return envelope(403, "not_allowed", "You may not import into any project, so no file is taken.")

    def _announce(self, scope: Scope, body: bytes) -> None:
        scope["state"]["page_policy"] = policy(self._scripts.hashes(body.decode("utf-8")))


class Whole:
    """Holds an answer back until it is complete and shows its body to `look`; for the few short ones."""

    def __init__(self, send: Send, look: Callable[[bytes], None]) -> None:
        self._send = send
        self._look = look
        self._held: list[Message] = []

    async def __call__(self, message: Message) -> None:
        """Keep a message; pass all on after the last one."""
        self._held.append(message)
        if message["type"] != "http.response.body" or message.get("more_body", False):
            return
        start = next(held for held in self._held if held["type"] == "http.response.start")
        plain = "content-encoding" not in Headers(raw=start["headers"])
        if start["status"] == HTTPStatus.OK and plain:
            self._look(b"".join(held.get("body", b"") for held in self._held if held is not start))
        for held in self._held:
            await self._send(held)


class Refusals:
    """Says every refusal of the toolkit in our words: its own may carry anything."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        """Pass one message on, or our envelope in place of a refusal."""
        if self._replaced:
            return
        if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
            self._replaced = True
            await plain_refusal(message["status"])(self._scope, _ended, self._send)
            return
        await self._send(message)


def _unknown(method: str, path: str) -> Response | None:
    reading, writing = _READ.fullmatch(path) is not None, path in _WRITE
    if (reading and method in {"GET", "HEAD"}) or (writing and method == "POST"):
        return None
    if reading or writing:
        return plain_refusal(405, headers={"Allow": "POST" if writing else "GET, HEAD"})
    return plain_refusal(404)


def _unforged(scope: Scope) -> Scope:
    """Without headers that Gradio would build the page's addresses from, whoever sent them.

    It also keeps the first list of events it made, with such an address, and gives it to everybody.
    """
    return {**scope, "headers": [one for one in scope["headers"] if not one[0].startswith(_FORGEABLE)]}


def _person(scope: Scope) -> int:
    return int(scope["state"].get("user_id") or 0)


def _files(found: Any) -> Iterator[str]:
    """Every path in an event's data that Gradio would take for a file."""
    waiting = [found]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("path"), str):
                yield value["path"]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _again(message: Message, receive: Receive) -> Receive:
    """`receive` with one message put back in front."""
    back = [message]

    async def next_message() -> Message:
        return back.pop() if back else await receive()

    return next_message


async def _ended() -> Message:
    return {"type": "http.disconnect"}
