"""The guard in front of real routes, and of an application mounted behind it."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from annotator.api import rules
from annotator.records import Project

BASE = "http://127.0.0.1:7860"
OPEN = {"/healthz", "/login", "/setup"}


@pytest.fixture
def mounted(public_app: FastAPI) -> FastAPI:
    """A second application with its own wide-open CORS rules, as a page toolkit mounts it."""
    inner = FastAPI()
    inner.add_middleware(CORSMiddleware, allow_origin_regex=".*", allow_credentials=True, allow_methods=["*"])

    @inner.get("/inner")
    def read() -> dict[str, str]:
        return {"secret": "seen"}

    public_app.mount("/", inner)
    return public_app


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_a_stranger_gets_nothing_from_any_route(mounted: FastAPI, stranger: TestClient, method: str) -> None:
    paths = {route.path.replace("{kind}", "coco") for route in mounted.routes if isinstance(route, APIRoute)}
    paths |= {
        "/",
        "/inner",
        "/openapi.json",
        "/gradio_api/queue/join",
        "/nothing",
        "//login",
        "/login/../inner",
    }
    for path in sorted(paths - OPEN):
        for part in ("{project_id}", "{image_id}", "{category_id}"):
            path = path.replace(part, "1")
        answer = stranger.request(method, path)
        assert answer.status_code == 401, (method, path, answer.text)


@pytest.mark.parametrize("method", ["TRACE", "FOO", "CONNECT"])
def test_odd_methods_are_refused_before_any_route(client: TestClient, method: str) -> None:
    answer = client.request(method, "/healthz")
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("host", ["evil", "a/b?", "127.0.0.1.evil.com", "x@127.0.0.1"])
def test_a_foreign_host_is_refused_even_on_loopback(client: TestClient, host: str) -> None:
    answer = client.get("/api/projects", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unknown_host"


def test_forwarding_headers_change_nothing(stranger: TestClient, client: TestClient) -> None:
    forged = {"X-Forwarded-Host": "localhost", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"}
    assert stranger.get("/api/projects", headers=forged).status_code == 401
    assert client.get("/api/projects", headers=forged).status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json", "application/x-www-form-urlencoded"]
)
@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "http://evil.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.com"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing(
    client: TestClient, project: Project, content_type: str, foreign: dict[str, str]
) -> None:
    body = json.dumps({"name": "planted"})
    path = f"/api/projects/{project.id}/categories"
    before = client.get(path).json()
    answer = client.post(path, content=body, headers={"Content-Type": content_type} | foreign)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "cross_site"
    assert client.get(path).json() == before


def test_the_same_request_from_our_own_page_works(client: TestClient, project: Project) -> None:
    ours = {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"}
    path = f"/api/projects/{project.id}/categories"
    assert client.post(path, json={"name": "wanted"}, headers=ours).status_code == 200


def test_json_sent_as_plain_text_is_not_read(client: TestClient, project: Project) -> None:
    path = f"/api/projects/{project.id}/categories"
    answer = client.post(path, content='{"name": "planted"}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


def test_permissions_for_other_origins_are_taken_away(app: FastAPI, client: TestClient) -> None:
    inner = FastAPI()
    inner.add_middleware(CORSMiddleware, allow_origin_regex=".*", allow_credentials=True, allow_methods=["*"])

    @inner.get("/inner")
    def read() -> dict[str, str]:
        return {"secret": "seen"}

    app.mount("/", inner)
    answer = client.get("/inner", headers={"Origin": "http://evil.com"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    asked = {"Origin": "http://evil.com", "Access-Control-Request-Method": "POST"}
    preflight = client.options("/inner", headers=asked)
    assert not [name for name in preflight.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("path", ["/healthz", "/api/projects", "/api/projects/999/status", "/img/999"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_what_is_read_as_json_is_left_in_no_cache(client: TestClient, project: Project) -> None:
    """Names and labels of a signed-in person must not lie in a shared computer's browser afterwards."""
    for path in (
        "/api/me",
        "/api/projects",
        f"/api/projects/{project.id}/members",
        "/api/projects/999/status",
    ):
        assert client.get(path).headers["cache-control"] == "no-store"


def test_a_refusal_carries_the_security_headers_as_well(client: TestClient) -> None:
    answer = client.get("/healthz", headers={"Host": "evil"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_a_body_that_says_it_is_too_large_is_not_read(client: TestClient, project: Project) -> None:
    announced = {"Content-Length": str(rules.JSON_LIMIT + 1), "Content-Type": "application/json"}
    answer = client.post(f"/api/projects/{project.id}/decisions", content=b"{}", headers=announced)
    assert answer.status_code == 413
    assert "1 MB" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "content_type", "limit"),
    [
        ("decisions", "application/json", "JSON_LIMIT"),
        ("labels", "multipart/form-data; boundary=x", "UPLOAD_LIMIT"),
    ],
)
def test_a_body_that_grows_too_large_is_cut_off_whatever_it_says(
    client: TestClient,
    project: Project,
    path: str,
    content_type: str,
    limit: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, limit, 10_000)

    def chunks() -> Any:
        for _ in range(100):
            yield b" " * 1000

    answer = client.post(
        f"/api/projects/{project.id}/{path}", content=chunks(), headers={"Content-Type": content_type}
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"
    assert answer.json()["error"]["request_id"]


def test_a_content_length_that_is_no_number_is_refused(client: TestClient, project: Project) -> None:
    path = f"/api/projects/{project.id}/decisions"
    assert client.post(path, content=b"{}", headers={"Content-Length": "ten"}).status_code == 400


def test_an_unexpected_error_tells_the_client_only_an_id(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_request: Request) -> None:
        raise RuntimeError("the secret path /srv/data")

    app.router.add_route("/broken", broken)
    with caplog.at_level(logging.ERROR):
        answer = TestClient(app, base_url=BASE, raise_server_exceptions=False).get("/broken")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["error"]["request_id"] in caplog.text
    assert "the secret path" in caplog.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_routes_see_the_owner_without_a_form_on_loopback(app: FastAPI, client: TestClient) -> None:
    def who(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(request.state.user_id))

    app.router.add_route("/who", who)
    assert client.get("/who").text == str(app.state.gate.owner())


def test_web_sockets_stand_behind_the_guard(mounted: FastAPI, stranger: TestClient, app: FastAPI) -> None:
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    mounted.router.add_websocket_route("/socket", echo)
    app.router.add_websocket_route("/socket", echo)
    with pytest.raises(WebSocketDisconnect), stranger.websocket_connect("/socket"):
        pass
    local = TestClient(app, base_url=BASE)
    with local.websocket_connect("/socket", headers={"Host": "127.0.0.1:7860"}) as socket:
        assert socket.receive_text() == "hello"
    for bad in ({"Origin": "http://evil.com"}, {"Host": "evil"}):
        headers = {"Host": "127.0.0.1:7860"} | bad
        with pytest.raises(WebSocketDisconnect), local.websocket_connect("/socket", headers=headers):
            pass
