"""The sender of an event is who the guard let in, whatever a client writes; through the queue and past it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from annotator.people import Role
from annotator.records import Project
from annotator.settings import Settings
from annotator.store import Store, jobs, members, now_ms, sessions
from annotator.store import projects as nouns
from annotator.ui.app import create_site
from tests.annotator.api.people import BASE, account


@pytest.fixture
def client(
    store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    public = settings.model_copy(update={"host": "0.0.0.0", "insecure_http": True})
    with TestClient(create_site(store, public), base_url=BASE, follow_redirects=False) as made:
        yield made


@pytest.fixture
def boss(store: Store, project: Project) -> dict[str, str]:
    return account(store, "boss", is_admin=True)[1]


@pytest.fixture
def viewer(store: Store, project: Project) -> tuple[int, dict[str, str]]:
    user_id, headers = account(store, "viewer")
    store.write(lambda c: members.put(c, project.id, user_id, Role.VIEWER, now=now_ms()))
    return user_id, headers


class Page:
    """An open page: a session of Gradio with the dropdowns it was given."""

    def __init__(self, client: TestClient, headers: dict[str, str], session_hash: str) -> None:
        self.client, self.headers, self.hash = client, headers, session_hash
        client.cookies.clear()
        config = client.get("/config", headers=headers).json()
        self.events = {one["api_name"]: one["id"] for one in config["dependencies"]}
        for name in ("refreshed", "refreshed_1", "refreshed_2"):
            self.send(name, [None])

    def body(self, name: str, data: list[Any], **forged: Any) -> dict[str, Any]:
        return {"fn_index": self.events[name], "data": data, "session_hash": self.hash, **forged}

    def send(self, name: str, data: list[Any], **forged: Any) -> Any:
        """An event past the queue: status and the answer's text."""
        body = self.body(name, data, **forged)
        answer = self.client.post("/gradio_api/run/predict", json=body, headers=self.headers)
        return answer.status_code, answer.text

    def queue(self, name: str, data: list[Any], **forged: Any) -> str:
        """An event through the queue: everything its stream says."""
        body = self.body(name, data, **forged)
        joined = self.client.post("/gradio_api/queue/join", json=body, headers=self.headers)
        assert joined.status_code == 200, joined.text
        where = f"/gradio_api/queue/data?session_hash={self.hash}"
        return self.client.get(where, headers=self.headers).text


FORGED: tuple[dict[str, Any], ...] = (
    {"request": {"state": {"user_id": 1}, "scope": {"state": {"user_id": 1}}, "username": "owner"}},
    {"username": "owner", "user_id": 1, "state": {"user_id": 1}},
    {"event_data": {"user_id": 1, "request": {"state": {"user_id": 1}}}},
    {"batched": True},
    {"simple_format": True, "event_id": "1", "trigger_id": 1},
)


@pytest.mark.parametrize("forged", FORGED, ids=str)
def test_nothing_that_a_client_writes_changes_who_sends(
    client: TestClient,
    viewer: tuple[int, dict[str, str]],
    project: Project,
    store: Store,
    forged: dict[str, Any],
) -> None:
    page = Page(client, viewer[1] | {"X-User-Id": "1", "X-Forwarded-User": "owner"}, "ann")
    for name, data in (("on_retrain", [project.id]), ("on_cancel", [project.id]), ("on_create", ["Mine"])):
        status, text = page.send(name, data, **forged)
        assert status == 500 or "Not done." in text, (name, text)
    with store.read() as c:
        assert [one.name for one in nouns.list_all(c)] == [project.name]
        assert jobs.active(c, project.id) == []


def projects(client: TestClient, headers: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/projects", headers=headers).json()
    return found


def test_the_queue_carries_the_sender_of_each_event(
    client: TestClient, boss: dict[str, str], viewer: tuple[int, dict[str, str]]
) -> None:
    said = Page(client, viewer[1], "ann").queue("on_create", ["By Ann"])
    assert "Not done." in said and "Only an administrator of this server" in said
    said = Page(client, boss, "bob").queue("on_create", ["By Bob"])
    assert "is ready" in said
    said = Page(client, viewer[1], "bob").queue("on_create", ["By Ann in the session of Bob"])
    assert "Only an administrator of this server" in said
    assert {one["name"] for one in projects(client, boss)} == {"holiday", "By Bob"}


def test_a_project_that_is_not_in_the_own_list_is_refused_before_the_handler(
    client: TestClient, viewer: tuple[int, dict[str, str]]
) -> None:
    status, text = Page(client, viewer[1], "ann").send("on_show_2", [999, None, None])
    assert status == 500 and json.loads(text)["error"]["code"] == "internal_server_error"


def test_an_open_page_of_somebody_who_was_removed_says_so(
    client: TestClient, viewer: tuple[int, dict[str, str]], project: Project, store: Store
) -> None:
    page = Page(client, viewer[1], "ann")
    assert "Suggestions" in page.send("on_show_2", [project.id, None, None])[1]
    store.write(lambda c: members.remove(c, project.id, viewer[0]))
    status, text = page.send("on_show_2", [project.id, None, None])
    assert status == 200 and f"There is no project {project.id}." in text and "Suggestions" not in text


def test_without_a_session_no_event_is_taken(
    client: TestClient, viewer: tuple[int, dict[str, str]], project: Project, store: Store
) -> None:
    page = Page(client, viewer[1], "ann")
    store.write(lambda c: sessions.delete_all(c, viewer[0]))
    for address in ("/gradio_api/run/predict", "/gradio_api/queue/join"):
        body = page.body("on_show_2", [project.id, None, None])
        answer = client.post(address, json=body, headers=viewer[1])
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_signed_in")


def test_a_file_is_taken_only_from_whoever_may_import_somewhere(
    client: TestClient, viewer: tuple[int, dict[str, str]], project: Project, store: Store
) -> None:
    def upload() -> Any:
        client.cookies.clear()
        files = {"files": ("labels.csv", b"file_name,dog\n", "text/csv")}
        return client.post("/gradio_api/upload", files=files, headers=viewer[1])

    for role in (Role.VIEWER, Role.ANNOTATOR):
        store.write(lambda c, role=role: members.put(c, project.id, viewer[0], role, now=now_ms()))
        answer = upload()
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")
    store.write(lambda c: members.put(c, project.id, viewer[0], Role.REVIEWER, now=now_ms()))
    assert upload().status_code == 200


def test_where_nobody_signs_in_the_administrator_acts(store: Store, settings: Settings) -> None:
    with TestClient(create_site(store, settings), base_url="http://127.0.0.1:7860") as client:
        status, text = Page(client, {}, "ann").send("on_create", ["Birds"])
        assert status == 200 and "is ready" in text
        assert [one["name"] for one in client.get("/api/projects").json()] == ["Birds"]
