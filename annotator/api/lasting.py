"""Answers that last: their reader is asked for again while they are sent, and they end with the right to it.

The guard lets a request in once. An event stream, an export or a picture sent to a slow browser goes on for
long after that, and a role, an account or a session may end meanwhile. So one timer for all of them looks
every two seconds at the answers that are not new any more. What its reader may no longer have is cut: the
refusal goes out where nothing was sent yet, otherwise the connection ends before the answer is complete, so
that nobody takes a part of a file for the file.

Only answers to questions are watched. What changes something is judged at its beginning and once more when
its body has come (`body.py`): cut in the middle, its sender would not know whether it happened.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from anyio import CancelScope, CapacityLimiter, move_on_after, to_thread
from starlette.types import ASGIApp, Message, Receive, Scope

from annotator.api.answer import Answer, refusal_of
from annotator.api.rules import READING, Unwanted
from annotator.errors import NotAllowed
from annotator.exporting import go_on
from annotator.logs import REQUEST_ID
from annotator.people import Role

_log = logging.getLogger(__name__)

EVERY_S = 2.0  # between two looks; a right that ended is noticed within this and the time of the look itself
YOUNG_S = 1.0  # answers newer than this were judged a moment ago
REFUSAL_S = 1.0  # for a refusal; who has not read the last answer on a connection cannot be written to
_STREAM = "/gradio_api/queue/data"  # carries what events of the page give, of whatever project
# Only these say that the right has ended; a store that cannot answer now is asked again at the next look.
_ENDED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})

Roles = Mapping[int, Role]
Judge = Callable[[Scope], Unwanted | None]


class Lasting:
    """One answer: passes messages on until it is cut. Belongs to the event loop, but for `check`."""

    def __init__(self, scope: Scope, answer: Answer, *, began: float, roles: Roles | None) -> None:
        self.scope = scope
        self.began = began
        # of its reader at the last look; None where the address itself says what is needed
        self.roles = roles
        self.work = CancelScope()
        self.refused: Unwanted | None = None
        self._answer = answer
        self._complete = False

    async def __call__(self, message: Message) -> None:
        """Pass one message on; nothing once the answer is cut."""
        if self.refused is not None:
            return
        await self._answer(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._complete = True

    async def cut(self, refused: Unwanted) -> None:
        """End it: a refusal where nothing was sent yet, else the connection ends before the answer does."""
        if self._complete or self.refused is not None:
            return
        self.refused = refused
        if not self._answer.started:
            with move_on_after(REFUSAL_S):
                await self._answer.refuse(refusal_of(refused), None)
        self.work.cancel()
        _log.warning("The answer was cut while it was given: %s", refused)

    def check(self) -> None:
        """For a thread that makes a long answer: NotAllowed when nobody may have it any more."""
        if self.refused is not None:
            raise NotAllowed(str(self.refused))


class Watch:
    """Looks at the answers under way, all with one timer, which runs only while there are any.

    `judge` says why the sender of a request may no longer have its answer, None while that is allowed;
    `roles` gives the roles of a user; `gone` says of a project whether it is being removed for good, which
    ends no stream: it has nothing to give any more. All are called in a thread and may raise Unwanted.
    """

    def __init__(
        self,
        judge: Judge,
        roles: Callable[[int], Roles],
        *,
        gone: Callable[[int], bool] = lambda _: False,
        every_s: float = EVERY_S,
        young_s: float = YOUNG_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._judge = judge
        self._roles = roles
        self._gone = gone
        self._every_s = every_s
        self._young_s = young_s
        self._clock = clock
        self._under_way: set[Lasting] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.Task[None] | None = None

    async def give(self, app: ASGIApp, scope: Scope, receive: Receive, answer: Answer) -> None:
        """Let `app` answer a request, looked at while it lasts; as `roles` where those cannot be told."""
        state = scope["state"]
        if state["user_id"] is None or scope["type"] != "http" or scope["method"] not in READING:
            await app(scope, receive, answer)
            return
        roles = None
        if scope["path"] == _STREAM:
            roles = await to_thread.run_sync(self._roles, state["user_id"])
        lasting = Lasting(scope, answer, began=self._clock(), roles=roles)
        state["lasting"] = lasting
        self._under_way.add(lasting)
        self._wait()
        try:
            with lasting.work:
                await app(scope, receive, lasting)
        finally:
            del state["lasting"]
            self._under_way.discard(lasting)

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a server has one; what waited in another one is gone with it
            self._loop, self._timer, self._look = loop, None, None
        if self._timer is None and self._look is None and self._under_way:
            self._timer = loop.call_later(self._every_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        oldest = self._clock() - self._young_s
        due = [one for one in self._under_way if one.began <= oldest]
        if due:
            self._look = asyncio.get_running_loop().create_task(self._look_at(due))
        self._wait()

    async def _look_at(self, due: Sequence[Lasting]) -> None:
        try:
            # a thread of its own: those for requests may all be busy with the very answers to be cut
            found = await to_thread.run_sync(self._judged, due, limiter=CapacityLimiter(1))
            # side by side: none waits for a client of another one
            await asyncio.gather(*(self._cut(one, refused) for one, refused in found))
        finally:
            self._look = None
            self._wait()

    async def _cut(self, one: Lasting, refused: Unwanted) -> None:
        if one in self._under_way:
            REQUEST_ID.set(one.scope["state"]["request_id"])
            await one.cut(refused)

    def _judged(self, due: Sequence[Lasting]) -> list[tuple[Lasting, Unwanted]]:
        found = []
        for one in due:
            REQUEST_ID.set(one.scope["state"]["request_id"])
            refused = self._judge(one.scope) or self._lowered(one)
            if refused is None:
                continue
            if refused.status in _ENDED:
                found.append((one, refused))
            else:
                _log.warning("Whether an answer may go on could not be told: %s", refused)
        return found

    def _lowered(self, one: Lasting) -> Unwanted | None:
        """A stream of the page's events carries those of every project: any role less than before ends it."""
        if one.roles is None:
            return None
        try:
            now = self._roles(one.scope["state"]["user_id"])
            gone = all(map(self._gone, one.roles.keys() - now.keys()))
        except Unwanted as refused:
            return refused
        if gone and all(now[project].reaches(role) for project, role in one.roles.items() if project in now):
            one.roles = now  # what was given meanwhile ends the stream when it is taken away again
            return None
        return Unwanted(HTTPStatus.FORBIDDEN, "not_allowed", "Your role in a project has changed.")


def check_of(scope: Scope) -> Callable[[], None]:
    """For whatever makes a long answer in a thread: raises NotAllowed once nobody may have it any more."""
    lasting = scope["state"].get("lasting")
    return lasting.check if isinstance(lasting, Lasting) else go_on
