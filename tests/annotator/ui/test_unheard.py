"""Events that nobody waits for do not fill the memory, and cost who waits for others nothing (A-30)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from annotator.settings import Settings
from annotator.store import Store
from annotator.ui import unheard
from annotator.ui.app import create_site
from annotator.ui.border import SMALL, PageBorder
from tests.annotator.asgi import Wire, answers
from tests.faults.servers import ticks

# Gradio's own figures about its events, made with pandas after each of them
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
OF_AN_EVENT = 4  # messages at the most: how many wait, that it begins, what it gave


@pytest.fixture
def site(store: Store, settings: Settings) -> FastAPI:
    return create_site(store, settings)


@pytest.fixture
def client(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, base_url="http://127.0.0.1:7860") as made:
        yield made


def queue_of(site: FastAPI) -> Any:
    border = site.router.routes[-1].app
    assert isinstance(border, PageBorder)
    return border._unheard._queue


def waiting(site: FastAPI) -> int:
    return sum(one.qsize() for one in queue_of(site).pending_messages_per_session.values())


def cause(client: TestClient, session: str) -> Any:
    """One press of *Create project* without a name, whose page goes away at once."""
    page = client.get("/config").json()
    event = next(one for one in page["dependencies"] if one["api_name"] == "on_create")
    body = {"fn_index": event["id"], "data": [""], "session_hash": session}
    return client.post("/gradio_api/queue/join", json=body)


def settled(site: FastAPI) -> None:
    """Wait until every event that was taken has been carried out."""
    for _ in ticks(20):
        if not queue_of(site).event_ids_to_events:
            return
    raise AssertionError("an event was never carried out")


def test_of_sixty_events_nobody_waits_for_few_are_kept_and_the_newest_is_heard(
    site: FastAPI, client: TestClient
) -> None:
    for number in range(60):
        assert cause(client, f"s{number}").status_code == 200
        settled(site)
        assert waiting(site) < unheard.MOST + OF_AN_EVENT
    kept = queue_of(site).pending_messages_per_session
    assert "s0" not in kept and "s59" in kept and len(queue_of(site).pending_event_ids_session) == len(kept)
    heard = client.get("/gradio_api/queue/data?session_hash=s59").text
    assert "process_completed" in heard and "must not be empty" in heard


def test_a_page_that_hears_nothing_is_told_to_load_again(site: FastAPI, client: TestClient) -> None:
    for _ in range(unheard.MOST):
        answer = cause(client, "deaf")
        settled(site)
        if answer.status_code != 200:
            break
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "unheard")
    assert "load it again" in answer.json()["error"]["message"] and waiting(site) < unheard.MOST + OF_AN_EVENT
    assert cause(client, "loaded-again").status_code == 200
    heard = client.get("/gradio_api/queue/data?session_hash=loaded-again").text
    assert "process_completed" in heard


@pytest.mark.parametrize(("may_upload", "status"), [(True, 200), (False, 413)])
def test_only_who_may_upload_sends_a_long_event(settings: Settings, may_upload: bool, status: int) -> None:
    """What an event holds may be kept in what it gives: only the list of uploaded files is so long."""

    async def toolkit(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    border = PageBorder(toolkit, may_upload=lambda _: may_upload, uploads=settings.data_dir, queue=None)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"user_id": 1}
        await border(scope, receive, send)

    def event(size: int) -> Wire:
        body = json.dumps({"fn_index": 1, "data": ["x" * size]}).encode()
        return Wire("POST", "/gradio_api/run/predict", (("Content-Type", "application/json"),), body)

    short, long = answers(app, [event(SMALL // 2), event(SMALL)])
    assert (short.status, long.status) == (200, status)
