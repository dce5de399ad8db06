"""The border before the page toolkit: inline scripts, uploads of others, its refusals (A-15, A-10, A-19)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from annotator.settings import Settings
from annotator.store import Store
from annotator.ui.app import create_site
from annotator.ui.border import PageBorder
from annotator.ui.inline_scripts import InlineScripts
from annotator.ui.uploads import Uploads
from tests.annotator.asgi import Wire, answers

TEMPLATE = (
    "<p><script>window.a = {{ config | json }};</script><script>run();</script><script src=x.js></script>"
)


def hash_of(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@pytest.fixture
def site(store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    return create_site(store, settings)


@pytest.fixture
def client(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, base_url="http://127.0.0.1:7860") as made:
        yield made


def test_only_the_templates_own_scripts_get_a_hash() -> None:
    scripts = InlineScripts(TEMPLATE)
    first = 'window.a = {"name": "\\u003c/script\\u003e", "n": [1, 2]};'
    page = f"<html><script>{first}</script><SCRIPT>run();</SCRIPT ><script>alert(1)</script>"
    assert scripts.hashes(page) == [hash_of(first), hash_of("run();")]


@pytest.mark.parametrize(
    "script",
    [
        "window.a = alert(1);",
        "window.a = {};alert(1);",
        'window.a = {"b": alert(1)};',
        "window.a = {}; alert({});",
        "window.a = ;",
        "run();alert(1)",
        " run();",
        'window.a = "<!--";',
    ],
)
def test_a_script_that_is_more_than_the_template_and_data_gets_none(script: str) -> None:
    assert InlineScripts(TEMPLATE).hashes(f"<script>{script}</script>") == []


def test_the_policy_of_the_page_names_exactly_its_own_scripts(client: TestClient) -> None:
    page = client.get("/", headers={"Accept": "text/html"})
    (policy,) = page.headers.get_list("content-security-policy")
    rules = {part.split()[0]: part.split()[1:] for part in policy.split("; ")}
    inline = re.findall(r"<script(?: data-gradio-mode)?>(.*?)</script>", page.text, re.DOTALL)
    assert len(inline) == 5
    assert rules["script-src"] == ["'self'", "'unsafe-eval'", *map(hash_of, inline)]
    assert (
        rules["default-src"]
        == rules["connect-src"]
        == rules["base-uri"]
        == rules["form-action"]
        == ["'self'"]
    )
    assert rules["script-src-attr"] == rules["object-src"] == rules["frame-ancestors"] == ["'none'"]
    assert not re.search(r"https?:|\*|'unsafe-inline'", " ".join(rules["script-src"] + rules["connect-src"]))
    assert "report-only" not in str(page.headers).lower()


def test_other_answers_allow_no_inline_script(client: TestClient) -> None:
    for path in ("/config", "/api/projects", "/nothing", "/theme.css"):
        assert "sha256" not in client.get(path).headers["content-security-policy"]


def file_data(path: str) -> dict[str, Any]:
    return {"path": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}


def events(client: TestClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/config").json()["dependencies"]
    assert len(found) > 10
    return found


FOREIGN = (
    "/etc/passwd",
    "/dev/urandom",
    "/proc/self/environ",
    "../../etc/passwd",
    "annotator.db",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]/",
    "http://0.0.0.0/",
    "file:///etc/passwd",
    "\\\\127.0.0.1\\share",
    "",
)


def test_no_event_takes_a_file_its_sender_did_not_upload(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    planted = cache / ("a" * 64) / "of_somebody_else.png"
    planted.parent.mkdir(parents=True)
    planted.write_bytes(b"somebody else's")

    def no_connection(_self: socket.socket, address: object) -> None:
        raise AssertionError(f"a connection to {address}")

    all_events = events(client)
    monkeypatch.setattr(socket.socket, "connect", no_connection)
    before = sorted(cache.rglob("*"))
    for event in all_events:
        for path in (*FOREIGN, str(planted)):
            data: list[Any] = [[file_data(path)] for _ in event["inputs"]] or [file_data(path)]
            for address in ("/gradio_api/queue/join", "/gradio_api/run/predict"):
                body = {"fn_index": event["id"], "data": data, "session_hash": "abc", "event_data": None}
                answer = client.post(address, json=body)
                assert answer.status_code == 422, (event["api_name"], path)
                assert answer.json()["error"]["code"] == "foreign_file"
                assert "passwd" not in answer.text and str(planted) not in answer.text
    assert sorted(cache.rglob("*")) == before


def test_ones_own_upload_is_taken(client: TestClient) -> None:
    answer = client.post(
        "/gradio_api/upload", files={"files": ("labels.csv", b"file_name,dog\n", "text/csv")}
    )
    assert answer.status_code == 200
    (path,) = answer.json()
    event = next(one for one in events(client) if one["api_name"] == "on_labels")
    inputs = [None if number == 0 else file_data(path) for number, _ in enumerate(event["inputs"])]
    body = {"fn_index": event["id"], "data": inputs, "session_hash": "abc"}
    assert client.post("/gradio_api/queue/join", json=body).status_code == 200


def test_uploads_belong_to_who_sent_them_and_the_oldest_are_forgotten() -> None:
    uploads = Uploads(limit=2)
    uploads.keep(1, b'["/cache/a", "/cache/b"]')
    assert uploads.are_of(1, "/cache/a") and not uploads.are_of(2, "/cache/a")
    uploads.keep(2, b'["/cache/a"]')
    assert uploads.are_of(2, "/cache/a") and uploads.are_of(1, "/cache/b")
    assert not uploads.are_of(1, "/cache/a")
    uploads.keep(3, b'{"detail": "no list"}')
    assert not uploads.are_of(3, "detail")


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/call/on_create",
        "/gradio_api/component_server",
        "/gradio_api/vibe-edit",
        "/monitoring/summary",
        "/gradio_api/openapi.json",
        "/gradio_api/custom_component/1/client/component/x.js",
        "/svelte/x",
        "/assets/../index.html",
        "/assets/.hidden",
    ],
)
def test_what_the_page_does_not_need_is_not_there(client: TestClient, path: str) -> None:
    for method in ("GET", "POST"):
        answer = client.request(method, path)
        assert answer.status_code == 404, (method, path)


def test_a_refusal_of_the_toolkit_says_only_what_we_say(settings: Settings, store: Store) -> None:
    async def toolkit(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/html"), (b"x-secret", b"1")]
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": b"Traceback (most recent", "more_body": True})
        await send({"type": "http.response.body", "body": b" call last): /srv/data"})

    border = PageBorder(toolkit, may_upload=lambda _: True, uploads=settings.data_dir, queue=None)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"user_id": 1}
        await border(scope, receive, send)

    (reply,) = answers(app, [Wire("GET", "/config")])
    assert reply.status == 500
    error = json.loads(reply.body)["error"]
    assert error["code"] == "internal_server_error" and "Trace" not in reply.text and "srv" not in reply.text
    assert reply.header("x-secret") == ""


def test_a_handler_that_fails_tells_the_page_nothing(store: Store, settings: Settings) -> None:
    from annotator.actions.membership import Membership

    def broken(_self: Membership, _by: int, _name: str) -> None:
        raise RuntimeError("the secret path /srv/data")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Membership, "create_project", broken)
        client = TestClient(create_site(store, settings), base_url="http://127.0.0.1:7860")
        event = next(one for one in events(client) if one["api_name"] == "on_create")
        body = {"fn_index": event["id"], "data": ["x"], "session_hash": "abc"}
        answer = client.post("/gradio_api/run/predict", json=body)
    assert answer.status_code == 500
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert answer.json()["error"]["request_id"]
