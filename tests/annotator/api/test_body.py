"""The way in without a server: counted, timed, and JSON whole (A-30)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.types import Message

from annotator.api import rules
from annotator.api.body import Body
from annotator.api.rules import BodyRule, Unwanted
from tests import running

JSON = BodyRule("application/json", 1000)
FILE = BodyRule("multipart/form-data", 10**9)


class Client:
    """Sends pieces; every one takes so long on the fake clock, and after the last one it is silent."""

    def __init__(self, pieces: Iterable[bytes], *, seconds: float = 0.0, ends: bool = True) -> None:
        self.pieces = list(pieces)
        self.seconds = seconds
        self.ends = ends
        self.now = 0.0
        self.asked = 0

    async def receive(self) -> Message:
        self.asked += 1
        if not self.pieces:
            await asyncio.Event().wait()
        self.now += self.seconds
        piece = self.pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces) or not self.ends}

    def clock(self) -> float:
        return self.now


def read(client: Client, rule: BodyRule) -> tuple[list[bytes], list[Unwanted]]:
    """What the application received, and what was to be said instead of its answer."""
    refused: list[Unwanted] = []
    got: list[bytes] = []

    async def application() -> None:
        body = Body(client.receive, rule, refused.append, clock=client.clock)
        more = True
        while more:
            message: Any = await body()
            got.append(message["body"])
            more = message["more_body"]

    try:
        running.run(application())
    except Unwanted:
        assert refused
    return got, refused


def test_json_arrives_whole_and_a_file_in_pieces() -> None:
    pieces = [b'{"a"', b": 1", b"}"]
    assert read(Client(pieces), JSON) == ([b'{"a": 1}'], [])
    assert read(Client(pieces), FILE) == (pieces, [])


def test_json_is_checked_before_anybody_has_it() -> None:
    got, refused = read(Client([b'{"a": 1, "a": 2}']), JSON)
    assert got == []
    assert [(one.status, one.code) for one in refused] == [(422, "bad_value")]
    got, refused = read(Client([b'{"a": Na', b"N}"]), JSON)
    assert got == []
    assert [(one.status, one.code) for one in refused] == [(400, "not_json")]


def test_large_json_is_checked_as_well() -> None:
    big = BodyRule("application/json", 10**6)
    raw = b'{"a": [' + b"1," * 100_000 + b"1]}"
    assert read(Client([raw]), big) == ([raw], [])
    assert [one.code for one in read(Client([raw[:-1]]), big)[1]] == ["not_json"]


def test_no_body_is_no_json_and_no_error() -> None:
    assert read(Client([b""]), JSON) == ([b""], [])


def test_too_many_bytes_end_it_without_reading_on() -> None:
    client = Client([b" " * 400] * 1000)
    got, refused = read(client, JSON)
    assert got == [] and client.asked == 3
    assert [one.status for one in refused] == [413]


def test_one_byte_a_second_is_cut_off_within_thirty_seconds() -> None:
    client = Client([b"x"] * 10_000, seconds=1.0)
    got, refused = read(client, FILE)
    assert [one.status for one in refused] == [408]
    assert len(got) == client.now <= 30


def test_a_slow_but_steady_upload_is_not_cut_off() -> None:
    pieces = [b"x" * 20_000] * 500  # 10 MB at 20 KB a second take more than eight minutes
    got, refused = read(Client(pieces, seconds=1.0), FILE)
    assert got == pieces and refused == []


def test_a_client_that_falls_silent_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SLOW_GRACE_S", 0.05)
    for rule in (JSON, FILE):
        _, refused = read(Client([b"{"], ends=False), rule)
        assert [one.status for one in refused] == [408]


def test_time_the_application_takes_is_not_the_clients() -> None:
    client = Client([b"x", b"y"])
    refused: list[Unwanted] = []

    async def application() -> bytes:
        body = Body(client.receive, FILE, refused.append, clock=client.clock)
        first = await body()
        client.now += 3600  # writing it to a slow disk
        second = await body()
        return bytes(first["body"] + second["body"])

    assert running.run(application()) == b"xy"
    assert refused == []


def test_after_the_body_an_application_may_wait_for_the_disconnect_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "SLOW_GRACE_S", 0.0)
    client = Client([])

    async def application() -> bool:
        body = Body(client.receive, JSON, lambda _: None, clock=client.clock)
        body._complete = True
        waiting = asyncio.ensure_future(body())
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        waiting.cancel()
        return bool(done)

    assert running.run(application()) is False
