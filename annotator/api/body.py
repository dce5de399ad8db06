"""The way in: a body is counted, timed and, where it is JSON, read and checked before any route sees it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from anyio import to_thread
from starlette.types import Message, Receive

from annotator.api import rules, strict_json
from annotator.api.parts import Parts
from annotator.api.rules import BodyRule, Headers, Unwanted

_CHECKED_AT_ONCE = 64 * 1024  # larger JSON is checked in a thread: everybody else waits for the event loop


class Body:
    """Receives for the application; whatever `Content-Length` promised, it counts what comes.

    Raises Unwanted, and tells `refuse` first: an application may turn any error of its body into an answer.
    `again` is asked before the end of a body that took its time is handed on, and may raise Unwanted: whoever
    was let in may have lost the right meanwhile. With `headers` the shape
    of an upload is followed, too (`parts.py`).
    """

    def __init__(
        self,
        receive: Receive,
        rule: BodyRule,
        refuse: Callable[[Unwanted], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        again: Callable[[], Awaitable[None]] | None = None,
        headers: Headers | None = None,
    ) -> None:
        self._receive = receive
        self._rule = rule
        self._refuse = refuse
        self._clock = clock
        self._again = again
        self._count = 0
        self._waited = 0.0
        self._complete = False
        self._headers = headers
        self._parts: Parts | None = None
        self._cut: deque[bytes] = deque()  # pieces of an upload that are still to be handed on

    async def __call__(self) -> Message:
        """The next message: a piece of the body, all of it where it is JSON, then what comes after it."""
        if self._complete and not self._cut:
            return await self._receive()
        try:
            if self._rule.is_json:
                return await self._whole()
            followed = self._rule.is_upload and self._headers is not None
            return await (self._part() if followed else self._piece())
        except Unwanted as refused:
            self._refuse(refused)
            raise

    async def _piece(self) -> Message:
        """One message, counted; waiting must not use up the patience that the bytes so far have earned."""
        patience = rules.SLOW_GRACE_S + self._count / rules.SLOWEST - self._waited
        if patience < 0:
            raise _too_slow()
        began = self._clock()
        try:
            async with asyncio.timeout(patience):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow() from None
        self._waited += self._clock() - began
        if message["type"] != "http.request":
            return message
        self._count += len(message.get("body", b""))
        if self._count > self._rule.limit:
            raise rules.too_large(self._rule)
        self._complete = not message.get("more_body", False)
        if self._complete and self._again is not None and self._waited > rules.JUDGED_FOR_S:
            await self._again()
        return message

    async def _part(self) -> Message:
        """The next few parts of an upload, whose shape is followed; others get their turn in between."""
        if self._cut:
            await asyncio.sleep(0)
        else:
            message = await self._piece()
            if message["type"] != "http.request":
                return message
            if self._parts is None:
                content_type = rules.header(self._headers or (), b"content-type") or ""
                self._parts = Parts(content_type, files_only=self._rule.files_only)
            self._cut.extend(self._parts.feed(message.get("body", b"")))
            if self._complete and self._count:
                self._parts.finish()
        body = self._cut.popleft()
        return {"type": "http.request", "body": body, "more_body": bool(self._cut) or not self._complete}

    async def _whole(self) -> Message:
        """The body in one message, checked; a disconnect is passed on."""
        pieces: list[bytes] = []
        while not self._complete:
            message = await self._piece()
            if message["type"] != "http.request":
                return message
            pieces.append(message.get("body", b""))
        raw = b"".join(pieces)
        if raw:
            await _check(raw)
        return {"type": "http.request", "body": raw, "more_body": False}


def _too_slow() -> Unwanted:
    return Unwanted(HTTPStatus.REQUEST_TIMEOUT, "too_slow", "The body came too slowly; send it again.")


async def _check(raw: bytes) -> None:
    try:
        if len(raw) > _CHECKED_AT_ONCE:
            await to_thread.run_sync(strict_json.check, raw)
        else:
            strict_json.check(raw)
    except strict_json.NotJson as error:
        raise Unwanted(HTTPStatus.BAD_REQUEST, "not_json", str(error)) from None
    except strict_json.BadValue as error:
        raise Unwanted(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_value", str(error)) from None
