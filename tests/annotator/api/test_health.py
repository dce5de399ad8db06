"""Everybody learns whether answers are saved; the facts about disk and library are for an administrator."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from annotator.errors import ReadOnly, StoreBusy, StoreStopping, no_room
from annotator.records import Category, Image
from annotator.store import Store

GIB = 2**30


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def pretend(free: int) -> None:
        usage = SimpleNamespace(free=free, total=100 * GIB, used=100 * GIB - free)
        monkeypatch.setattr("annotator.health.shutil.disk_usage", lambda _: usage)

    return pretend


def test_the_owner_sees_the_facts(client: TestClient, disk: Callable[[int], None]) -> None:
    disk(50 * GIB)
    found = client.get("/api/health").json()
    assert (found["status"], found["notices"]) == ("ok", [])
    assert found["details"]["synchronous"] == 2 and found["details"]["disk_free"] == 50 * GIB


def test_who_is_no_administrator_sees_the_sentences_only(
    client: TestClient, disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from annotator.actions.rights import Rights
    from annotator.errors import NotAllowed

    def refuse(*_: object) -> None:
        raise NotAllowed("no")

    monkeypatch.setattr(Rights, "need_admin", refuse)
    disk(GIB // 4)
    found = client.get("/api/health").json()
    assert found["notices"][0]["code"] == "disk_low" and "details" not in found


def test_a_stranger_learns_one_word_at_the_most(stranger: TestClient, disk: Callable[[int], None]) -> None:
    disk(0)
    assert stranger.get("/healthz").json() == {"status": "disk_full"}
    assert stranger.get("/api/health").status_code == 401


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreBusy("The database is busy."), 503, "busy"),
        (StoreStopping("The server is stopping."), 503, "stopping"),
        (ReadOnly("The disk failed."), 503, "read_only"),
        (no_room("It cannot be saved"), 507, "disk_full"),
        (OSError(errno.ENOSPC, "No space left on device", "/secret/path"), 507, "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 507, "disk_full"),
    ],
)
def test_every_refusal_of_the_disk_says_when_to_come_back(
    client: TestClient,
    base: str,
    pictures: list[Image],
    cat: Category,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Store, "written", fail)
    decision = {
        "op_id": "operation-1",
        "image_id": pictures[0].id,
        "category_id": cat.id,
        "state": "positive",
    }
    answer = client.post(f"{base}/decisions", json={"decisions": [decision]})
    assert answer.status_code == status, answer.text
    told = answer.json()["error"]
    assert told["code"] == code and "secret" not in told["message"]
    assert int(answer.headers["Retry-After"]) > 0


def test_an_error_of_the_disk_that_is_no_lack_of_room_stays_unexpected(
    app: FastAPI, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error", "/secret/path")

    monkeypatch.setattr(Store, "read", fail)
    with TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False) as client:
        answer = client.get(f"{base}/status")
    assert answer.status_code == 500 and "secret" not in answer.text


def test_a_body_that_cannot_be_put_aside_is_a_full_disk(
    client: TestClient, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("starlette.datastructures.UploadFile.write", full)
    answer = client.post(f"{base}/labels", files={"file": ("a.csv", b"file_name,cat\n" * 10)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")


def test_what_an_export_began_on_a_full_disk_is_gone(
    client: TestClient, base: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("annotator.exporting.output.Output.write", full)
    answer = client.get(f"{base}/export/csv")
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
    assert [path for path in Path(store.data_dir / "tmp").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("path", ["/api/projects/1/labels", "/gradio_api/upload"])
@pytest.mark.usefixtures("project")
def test_a_file_that_would_leave_no_room_for_answers_is_not_even_taken_in(
    client: TestClient, disk: Callable[[int], None], path: str
) -> None:
    """The import asks for room too, but by then the upload itself has filled the disk."""

    def send(announced: int) -> Any:
        kind = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(announced)}
        return client.post(path, content=b"--x--\r\n", headers=kind)

    disk(7 * GIB)
    assert send(7).status_code != 507
    for free, announced in ((7, 3 * GIB), (4, 7)):
        disk(free * GIB)
        refused = send(announced)
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "disk_full")
        assert "answers are still saved" in refused.text
