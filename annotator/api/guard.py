"""ASGI middleware in front of every route, ours and Gradio's: who may ask, from where, and how much."""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie

from anyio import to_thread
from fastapi.responses import Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from annotator.api import rules
from annotator.api.auth import COOKIE, Gate
from annotator.api.errors import envelope
from annotator.api.headers import protect
from annotator.api.pages import login_page, setup_page
from annotator.settings import Settings

OPEN_PATHS = frozenset({"/healthz", "/login", "/setup"})


class Guard:
    """Refuses foreign hosts, foreign pages, strangers and oversized bodies.

    Decides on `scope["path"]`: a URL rebuilt from the `Host` header can be bent by whoever sends it.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate, settings: Settings) -> None:
        self._app = app
        self._gate = gate
        self._hosts = rules.HostRule(settings.host, settings.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through to the application or answer it here."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        answer = Answer(send, scope)
        refused = self._refuse(scope, request_id)
        if refused is None:
            state["user_id"] = await self._user(scope)
            if state["user_id"] is None and scope["path"] not in OPEN_PATHS:
                refused = await self._ask_to_sign_in(scope, request_id)
        if refused is not None:
            await answer.refuse(refused, receive)
            return
        body = Body(receive, rules.body_limit(scope["path"]), answer)
        await self._app(scope, body if scope["type"] == "http" else receive, answer)

    def _refuse(self, scope: Scope, request_id: str) -> Response | None:
        headers = scope["headers"]
        method = scope.get("method", "GET")
        try:
            if not self._hosts.allows(rules.header(headers, b"host")):
                message = (
                    "This server does not answer to that host name; add it to allowed_hosts if it is yours."
                )
                return envelope(400, "unknown_host", message, request_id=request_id)
            if method not in rules.READING | rules.WRITING:
                return envelope(
                    405, "method_not_allowed", "This method is not used here.", request_id=request_id
                )
            origin_matters = scope["type"] == "websocket" and rules.foreign_origin(headers)
            if origin_matters or rules.cross_site(method, headers):
                message = "This request was sent by another site's page and was not carried out."
                return envelope(403, "cross_site", message, request_id=request_id)
            length = rules.header(headers, b"content-length")
            too_long = length is not None and int(length) > rules.body_limit(scope["path"])
        except ValueError as error:
            return envelope(400, "bad_header", f"A header is not usable: {error}", request_id=request_id)
        return _too_large(scope["path"]) if too_long else None

    async def _user(self, scope: Scope) -> int | None:
        if not self._gate.required:
            return await to_thread.run_sync(self._gate.owner)
        token = session_token(scope)
        return None if token is None else await to_thread.run_sync(self._gate.user_of, token)

    async def _ask_to_sign_in(self, scope: Scope, request_id: str) -> Response:
        accepts = rules.header(scope["headers"], b"accept") or ""
        if scope.get("method") == "GET" and "text/html" in accepts:
            has_password = await to_thread.run_sync(self._gate.has_password)
            return login_page(status=401) if has_password else setup_page(status=401)
        return envelope(401, "not_signed_in", "Sign in first; the page is /login.", request_id=request_id)


class Answer:
    """The way back: adds our headers, drops cross-origin permissions, replaces an answer not yet begun."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send = send
        self._scope = scope
        self.started = False
        self.too_large = False

    async def __call__(self, message: Message) -> None:
        """Pass one message on; after the body turned out too large, say that instead."""
        if message["type"] in {"http.response.start", "websocket.http.response.start"}:
            if self.too_large:
                await self.refuse(_too_large(self._scope["path"]), None)
                return
            self.started = True
            message = {**message, "headers": list(message.get("headers", []))}
            protect(MutableHeaders(scope=message))
        elif self.too_large and message["type"] == "http.response.body":
            return
        await self._send(message)

    async def refuse(self, response: Response, receive: Receive | None) -> None:
        """Answer with `response`; a web socket is closed instead."""
        if self.started:
            return
        self.started = True
        if self._scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": 1008})
            return
        protect(response.headers)
        # The body was not read to its end, so the connection cannot carry another request.
        response.headers["Connection"] = "close"
        await response(self._scope, receive or _nothing, self._send)


class Body:
    """The way in: counts the bytes, whatever `Content-Length` promised."""

    def __init__(self, receive: Receive, limit: int, answer: Answer) -> None:
        self._receive = receive
        self._left = limit
        self._answer = answer

    async def __call__(self) -> Message:
        """The next message of the body; BodyTooLarge once there were too many bytes."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self._answer.too_large = True
                raise BodyTooLarge
        return message


class BodyTooLarge(Exception):
    """More bytes came than the path takes."""


def session_token(scope: Scope) -> str | None:
    """The session cookie of a request."""
    try:
        cookie: SimpleCookie = SimpleCookie(rules.header(scope["headers"], b"cookie") or "")
    except (CookieError, ValueError):
        return None
    morsel = cookie.get(COOKIE)
    return morsel.value if morsel else None


def _too_large(path: str) -> Response:
    limit = rules.body_limit(path) // rules.MIB
    return envelope(413, "too_large", f"The body is larger than the {limit} MB this address takes.")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
