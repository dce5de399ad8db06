"""The way back: our headers on every answer, and our refusal in place of an answer not yet begun."""

from __future__ import annotations

from http import HTTPStatus

from fastapi.responses import Response
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from annotator.api.errors import envelope, plain_refusal
from annotator.api.headers import protect
from annotator.api.rules import Unwanted


class Answer:
    """Sends for the application; adds our headers and drops permissions for other origins."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send = send
        self._scope = scope
        self._instead: Unwanted | None = None
        self._replaced = False
        self.started = False

    def replace(self, refused: Unwanted) -> None:
        """Whatever the application answers now, say this instead; what has been sent already stays."""
        self._instead = refused

    async def __call__(self, message: Message) -> None:
        """Pass one message on, or the refusal in its place."""
        if message["type"] in {"http.response.start", "websocket.http.response.start"}:
            if self._instead is not None:
                await self.refuse(refusal_of(self._instead), None)
                return
            if _is_bare_refusal(message):
                await self._say_properly(message)
                return
            self.started = True
            message = {**message, "headers": list(message.get("headers", []))}
            protect(MutableHeaders(scope=message), self._scope["state"].get("page_policy"))
        elif self._replaced:
            return
        await self._send(message)

    async def _say_properly(self, message: Message) -> None:
        """The envelope in place of a line of text: so a library refuses a part of a file, for example."""
        self.started = self._replaced = True
        kept = {name: value for name, value in _headers(message) if name == "content-range"}
        response = plain_refusal(message["status"], headers=kept)
        protect(response.headers)
        await response(self._scope, _nothing, self._send)

    async def refuse(self, response: Response, receive: Receive | None) -> None:
        """Answer with `response`; a web socket is closed instead."""
        if self.started:
            return
        self.started = self._replaced = True
        if self._scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": 1008})
            return
        protect(response.headers)
        # The body was not read to its end, so the connection cannot carry another request.
        response.headers["Connection"] = "close"
        await response(self._scope, receive or _nothing, self._send)


def refusal_of(refused: Unwanted) -> Response:
    """The envelope of a body or an address that is not taken."""
    headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
    return envelope(refused.status, refused.code, str(refused), headers=headers)


def _is_bare_refusal(message: Message) -> bool:
    kinds = [value for name, value in _headers(message) if name == "content-type"]
    return message["status"] >= HTTPStatus.BAD_REQUEST and any(one.startswith("text/plain") for one in kinds)


def _headers(message: Message) -> list[tuple[str, str]]:
    found = message.get("headers", [])
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in found]


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
