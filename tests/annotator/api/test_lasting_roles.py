"""A stream of the page's events ends when its reader may do less than before in any project (A-24)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from starlette.types import Receive, Scope, Send

from annotator.api.rules import Unwanted
from annotator.people import Role
from tests.annotator.api.test_lasting import START, STREAM, Reader, endless, piece, scenario


@pytest.mark.parametrize("later", [{1: Role.REVIEWER, 2: Role.ADMIN}, {1: Role.REVIEWER, 3: Role.VIEWER}])
def test_a_role_given_while_the_stream_goes_on_and_taken_away_again_ends_it(later: dict[int, Role]) -> None:
    async def act(reader: Reader) -> None:
        given = iter([reader.roles, reader.roles | later])

        def roles(_user_id: int) -> dict[int, Role]:
            return next(given, reader.roles)

        await reader.get(reader.watch(roles=roles), endless, path=STREAM)

    found = scenario(act)
    assert found.text == "first" and not found.complete and found.judged == 2


@pytest.mark.parametrize("now", [{1: Role.ANNOTATOR, 2: Role.VIEWER}, {1: Role.REVIEWER}, {}])
def test_a_role_that_was_taken_away_or_lowered_ends_the_stream_of_events(now: dict[int, Role]) -> None:
    async def act(reader: Reader) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send(START)
            await send(piece("first"))
            await reader.first_judged.wait()
            reader.roles = now
            await asyncio.Event().wait()

        await reader.get(reader.watch(), app, path=STREAM)

    found = scenario(act)
    assert found.text == "first" and not found.complete and found.judged >= 1


def test_a_raised_role_and_a_new_one_end_nothing() -> None:
    async def act(reader: Reader) -> None:
        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send(START)
            reader.roles = {1: Role.ADMIN, 2: Role.VIEWER, 3: Role.VIEWER}
            await reader.first_judged.wait()
            reader.first_judged.clear()
            await reader.first_judged.wait()
            await send(piece("whole", more=False))

        await reader.get(reader.watch(), app, path=STREAM)

    assert scenario(act).complete


def test_roles_that_cannot_be_told_end_nothing_once_the_stream_goes_on() -> None:
    async def act(reader: Reader) -> None:
        asked: Iterator[dict[int, Role] | Unwanted]
        asked = iter([reader.roles, Unwanted(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Busy."), {}])

        def roles(_user_id: int) -> dict[int, Role]:
            found = next(asked)
            if isinstance(found, Unwanted):
                raise found
            return found

        await reader.get(reader.watch(roles=roles), endless, path=STREAM)

    assert scenario(act).judged == 2
