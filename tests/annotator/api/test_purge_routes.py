"""A-47 over HTTP: archived projects can be exported, restored for a while, and then removed for good."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from annotator.people import Role
from annotator.records import Category, Image, Project
from annotator.settings import Settings
from annotator.store import Store, deeds, members, now_ms, projects
from tests.annotator.api.people import BASE, account, bearer
from tests.annotator.api.test_routes import decision, send

DAY = 24 * 3600 * 1000


@pytest.fixture
def put_away(client: TestClient, store: Store, project: Project, base: str) -> str:
    """The address of a project that was archived 31 days ago."""
    assert client.post(f"{base}/archive", json={"name": "holiday"}).status_code == 200
    store.write(lambda c: projects.set_archived(c, project.id, now_ms() - 31 * DAY))
    return base


def test_an_archived_project_can_be_exported_and_nothing_else_of_it_read(
    client: TestClient, base: str, pictures: list[Image], cat: Category
) -> None:
    send(client, base, decision(pictures[0], cat))
    before = client.get(f"{base}/export/csv").content
    client.post(f"{base}/archive", json={"name": "holiday"})
    after = client.get(f"{base}/export/csv")
    assert (after.status_code, after.content) == (200, before)
    assert len(client.get(f"{base}/export/coco").json()["annotations"]) == 1
    assert client.get(f"{base}/categories").status_code == 410


def test_the_list_says_from_when_on_it_can_be_removed(client: TestClient, base: str) -> None:
    client.post(f"{base}/archive", json={"name": "holiday"})
    [one] = client.get("/api/projects?archived=true").json()
    assert one["removable_from"] - one["archived_at"] == 30 * DAY
    client.post(f"{base}/restore")
    [one] = client.get("/api/projects?archived=true").json()
    assert "removable_from" not in one


def test_it_is_gone_once_its_name_was_typed(
    client: TestClient, store: Store, project: Project, put_away: str, pictures: list[Image]
) -> None:
    wrong = client.post(f"{put_away}/purge", json={"name": "Holiday"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "bad_input")
    assert client.get("/api/projects?archived=true").json() != []
    done = client.post(f"{put_away}/purge", json={"name": "holiday"})
    assert done.status_code == 202 and "gone for good" in done.json()["message"]
    assert client.get("/api/projects?archived=true").json() == []
    for method, path in (
        ("POST", "/restore"), ("GET", "/export/csv"), ("GET", "/members"), ("GET", "/categories"),
    ):  # fmt: skip
        answer = client.request(method, put_away + path)
        assert answer.status_code == 410, path
    again = client.post(f"{put_away}/purge", json={"name": "holiday"})
    assert again.status_code == 410 and "being removed" in again.json()["error"]["message"]
    assert client.get(f"/img/{pictures[0].id}").status_code == 410
    with store.read() as c:
        [deed] = [one for one in deeds.latest(c, 9) if one.action == "purge"]
    assert deed.detail == {"name": "holiday", "pictures": 8, "answers": 0}


def test_it_is_kept_for_thirty_days_and_while_it_is_in_use(
    client: TestClient, store: Store, project: Project, base: str
) -> None:
    used = client.post(f"{base}/purge", json={"name": "holiday"})
    assert used.status_code == 409 and "archive it first" in used.json()["error"]["message"]
    client.post(f"{base}/archive", json={"name": "holiday"})
    early = client.post(f"{base}/purge", json={"name": "holiday"})
    assert early.status_code == 409 and "30 more days" in early.json()["error"]["message"]
    assert client.post(f"{base}/restore").status_code == 200
    assert client.post("/api/projects/999999/purge", json={"name": "holiday"}).status_code == 404


def test_neither_an_admin_of_the_project_nor_a_token_removes_it(
    store: Store, public_app: FastAPI, public_settings: Settings, project: Project
) -> None:
    eve, eves = account(store, "Eve")
    store.write(lambda c: members.put(c, project.id, eve, Role.ADMIN, now=1))
    ada, adas = account(store, "Ada", is_admin=True)
    store.write(lambda c: projects.set_archived(c, project.id, 1))
    path, body = f"/api/projects/{project.id}/purge", {"name": "holiday"}
    with TestClient(public_app, base_url=BASE, follow_redirects=False) as client:
        assert client.post(path, json=body, headers=eves).status_code == 403
        assert client.post(path, json=body, headers=bearer(store, ada)).status_code == 403
        assert client.post(path, json=body).status_code == 401
        assert client.post(path, json=body, headers=adas).status_code == 202
        assert client.get(f"/api/projects/{project.id}/members", headers=eves).status_code == 404
