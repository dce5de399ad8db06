"""Answers that last, in front of applications that behave well, badly, slowly or not at all (A-24)."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from http import HTTPStatus
from typing import Any

import pytest
from anyio import to_thread
from starlette.types import Message, Receive, Scope, Send

from annotator.api.answer import Answer
from annotator.api.lasting import Watch
from annotator.api.rules import Unwanted
from annotator.errors import NotAllowed
from annotator.logs import REQUEST_ID
from annotator.people import Role
from tests import running

OUT = Unwanted(HTTPStatus.UNAUTHORIZED, "not_signed_in", "Sign in first.")
STREAM = "/gradio_api/queue/data"
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
LIMIT_S = 20.0  # a test that hangs fails


def piece(text: str, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": more}


class Reader:
    """Somebody who gets answers: what came, why it ended if it did, and the roles held."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.refused: Unwanted | None = None
        self.roles: dict[int, Role] = {1: Role.REVIEWER, 2: Role.VIEWER}
        self.judged = 0
        self.closed_hands = False
        self.first_judged = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def judge(self, _scope: Scope) -> Unwanted | None:
        self.judged += 1
        self._loop.call_soon_threadsafe(self.first_judged.set)
        return self.refused

    async def take(self, message: Message) -> None:
        """The way to the client; a client that takes nothing any more holds it up for ever."""
        if self.closed_hands:
            await asyncio.Event().wait()
        self.sent.append(message)

    def watch(self, *, young_s: float = 0.0, roles: Callable[[int], dict[int, Role]] | None = None) -> Watch:
        return Watch(self.judge, roles or (lambda _: self.roles), every_s=0.01, young_s=young_s)

    async def get(
        self, watch: Watch, app: Any, *, path: str = "/file", method: str = "GET", user_id: int | None = 7
    ) -> None:
        state = {"user_id": user_id, "request_id": "r1"}
        scope = {"type": "http", "method": method, "path": path, "headers": [], "state": state}
        async with asyncio.timeout(LIMIT_S):
            await watch.give(app, scope, _no_body, Answer(self.take, scope))
        assert "lasting" not in state

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    @property
    def complete(self) -> bool:
        return any(m["type"] == "http.response.body" and not m.get("more_body", False) for m in self.sent)


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def scenario(act: Callable[[Reader], Awaitable[None]]) -> Reader:
    """Run a test's story with a reader of its own."""

    async def run() -> Reader:
        reader = Reader()
        await act(reader)
        return reader

    story: Coroutine[Any, Any, Reader] = run()
    return running.run(story)


async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
    """A stream that says something and then waits for ever."""
    await send(START)
    await send(piece("first"))
    await asyncio.Event().wait()


def test_a_stream_ends_before_it_is_complete_when_the_right_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(reader: Reader) -> None:
        reader.refused = OUT
        await reader.get(reader.watch(), endless)

    with caplog.at_level(logging.WARNING):
        found = scenario(act)
    assert found.text == "first" and not found.complete
    assert "cut while it was given: Sign in first." in caplog.text


def test_a_stream_goes_on_while_its_reader_may_have_it() -> None:
    async def act(reader: Reader) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send(START)
            await reader.first_judged.wait()
            await send(piece("whole", more=False))

        await reader.get(reader.watch(), app)

    found = scenario(act)
    assert found.judged >= 1 and found.text == "whole" and found.complete


def test_an_application_that_ends_its_stream_properly_when_it_is_cut_is_not_heard() -> None:
    """The page toolkit does that: the part would look like the whole."""

    async def act(reader: Reader) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await endless(scope, receive, send)
            except asyncio.CancelledError:
                await send(piece("the end", more=False))

        reader.refused = OUT
        await reader.get(reader.watch(), app)

    found = scenario(act)
    assert found.text == "first" and not found.complete


def test_an_answer_to_a_client_that_takes_nothing_is_cut_too() -> None:
    async def act(reader: Reader) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send(START)
            reader.closed_hands, reader.refused = True, OUT
            await send(piece("never taken", more=False))

        await reader.get(reader.watch(), app)

    assert not scenario(act).complete


def test_a_thread_that_makes_an_answer_is_told_and_the_refusal_does_not_wait_for_it() -> None:
    ended: list[BaseException] = []

    async def act(reader: Reader) -> None:
        refused = threading.Event()
        real = reader.take

        async def take(message: Message) -> None:
            await real(message)
            if message["type"] == "http.response.body":
                refused.set()

        async def app(scope: Scope, _receive: Receive, send: Send) -> None:
            def work() -> None:
                scope["state"]["lasting"].check()
                assert refused.wait(LIMIT_S), "the refusal waits for the thread"
                try:
                    scope["state"]["lasting"].check()
                except NotAllowed as error:
                    ended.append(error)

            await to_thread.run_sync(work)
            await send(START)
            await send(piece("made in vain", more=False))

        reader.take = take  # type: ignore[method-assign]
        reader.refused = OUT
        await reader.get(reader.watch(), app)

    found = scenario(act)
    assert len(ended) == 1
    assert [message.get("status") for message in found.sent] == [401, None]
    assert json.loads(found.text)["error"]["code"] == "not_signed_in"


def test_a_store_that_cannot_tell_cuts_nothing_and_is_asked_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []
    monkeypatch.setattr(caplog.handler, "filter", lambda _record: ids.append(REQUEST_ID.get()) or True)

    async def act(reader: Reader) -> None:
        answers = iter([Unwanted(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Busy."), None, OUT])

        def judge(scope: Scope) -> Unwanted | None:
            reader.judged += 1
            return next(answers)

        await reader.get(Watch(judge, lambda _: {}, every_s=0.01, young_s=0.0), endless)

    found = scenario(act)
    assert found.judged == 3 and "could not be told: Busy." in caplog.text
    assert ids == ["r1", "r1"], "each line says of which request it speaks"


def test_one_look_that_fails_is_not_the_last() -> None:
    problems: list[str] = []

    async def act(reader: Reader) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: problems.append(str(what)))
        answers: Iterator[Exception] = iter([RuntimeError("broken"), OUT])

        def judge(_scope: Scope) -> Unwanted | None:
            found = next(answers)
            if not isinstance(found, Unwanted):
                raise found
            return found

        await reader.get(Watch(judge, lambda _: {}, every_s=0.01, young_s=0.0), endless)

    found = scenario(act)
    assert found.text == "first" and any("broken" in problem for problem in problems)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_changes_something_is_never_cut(method: str) -> None:
    async def act(reader: Reader) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await asyncio.sleep(0.05)
            await send(START)
            await send(piece("done", more=False))

        reader.refused = OUT
        await reader.get(reader.watch(), app, method=method)

    found = scenario(act)
    assert found.judged == 0 and found.complete


def test_a_page_that_is_open_to_everybody_is_not_asked_about() -> None:
    async def act(reader: Reader) -> None:
        reader.refused = OUT
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.get(reader.watch(), endless, user_id=None)

    assert scenario(act).judged == 0


def test_a_complete_answer_stays_whole_whatever_is_done_after_it() -> None:
    async def act(reader: Reader) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send(START)
            await send(piece("whole", more=False))
            reader.refused = OUT
            reader.first_judged.clear()
            await reader.first_judged.wait()
            await asyncio.sleep(0.05)
            reader.roles = {}

        await reader.get(reader.watch(), app)
        assert reader.roles == {}, "its work afterwards was cut"

    assert scenario(act).complete


def test_short_answers_are_not_looked_at_and_leave_nothing_behind() -> None:
    async def act(reader: Reader) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            assert len(asyncio.all_tasks()) == 1, "a task for each request"
            await send(START)
            await asyncio.sleep(0.05)
            await send(piece("short", more=False))

        watch = reader.watch(young_s=60.0)
        for _ in range(5):
            await reader.get(watch, app)
        assert watch._look is None and not watch._under_way
        async with asyncio.timeout(LIMIT_S):
            while watch._timer is not None:
                await asyncio.sleep(0.01)

    assert scenario(act).judged == 0


def test_a_second_event_loop_looks_as_the_first_did() -> None:
    watches: list[Watch] = []

    async def act(reader: Reader) -> None:
        watches.append(
            watches[0] if watches else Watch(lambda _: OUT, lambda _: {}, every_s=0.01, young_s=0.0)
        )
        await reader.get(watches[-1], endless)

    assert scenario(act).text == "first" and scenario(act).text == "first"


def test_many_answers_share_one_look_and_only_those_that_ended_are_cut() -> None:
    asked: list[tuple[int, int]] = []

    async def act(reader: Reader) -> None:
        over = asyncio.Event()

        def judge(scope: Scope) -> Unwanted | None:
            asked.append((scope["state"]["user_id"], threading.get_ident()))
            return OUT if scope["state"]["user_id"] % 2 else None

        async def app(scope: Scope, _receive: Receive, send: Send) -> None:
            await send(START)
            await over.wait()
            await send(piece(f"{scope['state']['user_id']} ", more=False))

        watch = Watch(judge, lambda _: {}, every_s=0.1, young_s=0.0)
        gets = [asyncio.ensure_future(reader.get(watch, app, user_id=n)) for n in range(20)]
        await asyncio.wait(gets[1::2])
        over.set()
        await asyncio.gather(*gets)

    found = scenario(act)
    assert {int(number) for number in found.text.split()} == set(range(0, 20, 2))
    assert {user for user, _ in asked[:20]} == set(range(20)), "each once in the first look"
    assert len({thread for _, thread in asked[:20]}) == 1, "and all in one visit to a thread"


def test_the_look_does_not_wait_for_the_threads_that_requests_use() -> None:
    async def act(reader: Reader) -> None:
        limiter = to_thread.current_default_thread_limiter()
        for place in range(int(limiter.total_tokens)):
            limiter.acquire_on_behalf_of_nowait(place)
        reader.refused = OUT
        await reader.get(reader.watch(), endless)

    assert scenario(act).text == "first"


def test_a_client_that_does_not_even_take_the_refusal_keeps_nobody_elses_answer() -> None:
    """It asked on a connection whose last answer it has not read: nothing can be written there."""

    async def act(reader: Reader) -> None:
        deaf = Reader()
        deaf.closed_hands = True
        waits = asyncio.Event()

        async def silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
            await waits.wait()

        reader.refused = OUT
        watch = reader.watch()
        gets = [asyncio.ensure_future(deaf.get(watch, silent)) for _ in range(20)]
        async with asyncio.timeout(LIMIT_S / 2):
            await asyncio.sleep(0.05)
            await reader.get(watch, endless)
            await asyncio.gather(*gets)

    found = scenario(act)
    assert found.text == "first" and not found.complete
