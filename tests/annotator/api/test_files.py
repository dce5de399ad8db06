"""Bytes in and out: pictures, exports, label files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from annotator.records import Category, Image, ImageState, Project
from annotator.store import Store, decisions, images
from tests.annotator.generation_builder import decide

KEPT = ("content-type", "cache-control", "content-security-policy", "content-disposition")


def _stored(store: Store, project: Project) -> int:
    with store.read() as c:
        return decisions.head_seq(c, project.id)


@pytest.fixture
def beach(app: FastAPI, store: Store, project: Project, tmp_path: Path, make_picture: Any) -> Image:
    folder = tmp_path / "in"
    make_picture(folder / "beach.jpg", size=(300, 200))
    app.state.actions.import_folder(project.id, folder)
    with store.read() as c:
        (image,) = images.many(c, images.ids(c, project.id))
    return image


def test_a_picture_leaves_as_a_sandboxed_cacheable_picture(
    client: TestClient, store: Store, beach: Image
) -> None:
    full = client.get(f"/img/{beach.id}?size=full")
    assert full.status_code == 200
    assert full.content == (store.data_dir / beach.canonical).read_bytes()
    assert full.headers["content-type"] == "image/jpeg"
    assert full.headers["cache-control"] == "private, no-cache"
    assert full.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in full.headers["content-security-policy"]
    thumb = client.get(f"/img/{beach.id}?size=thumb")
    assert thumb.status_code == 200 and len(thumb.content) < len(full.content)


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1])
def test_a_large_picture_leaves_like_a_small_one(
    client: TestClient, store: Store, beach: Image, size: int
) -> None:
    path = store.data_dir / beach.canonical
    small = client.get(f"/img/{beach.id}")
    path.write_bytes(path.read_bytes().ljust(size, b"x"))
    answer = client.get(f"/img/{beach.id}")
    assert (answer.status_code, answer.content) == (200, path.read_bytes())
    assert answer.headers["content-length"] == str(size)
    assert answer.headers["etag"] != small.headers["etag"]
    assert {name: answer.headers[name] for name in KEPT} == {name: small.headers[name] for name in KEPT}
    again = client.get(f"/img/{beach.id}", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    part = client.get(f"/img/{beach.id}", headers={"Range": f"bytes={size - 3}-"})
    assert (part.status_code, part.content) == (206, b"xxx")


def test_a_missing_file_is_a_sentence(client: TestClient, store: Store, beach: Image) -> None:
    (store.data_dir / beach.canonical).unlink()
    answer = client.get(f"/img/{beach.id}?size=full")
    assert answer.status_code == 410
    assert "'beach.jpg'" in answer.json()["error"]["message"]
    assert str(store.data_dir) not in answer.text


def test_a_file_that_changed_on_disk_is_no_error_of_the_server(
    client: TestClient, store: Store, beach: Image
) -> None:
    """R-29: not seen yet it is sent as it is; once a scan has seen it, a sentence stands in its place."""
    for content in (b"", b"no picture at all", b"\xff\xd8\xff half"):
        (store.data_dir / beach.canonical).write_bytes(content)
        assert client.get(f"/img/{beach.id}").status_code == 200
    store.write(lambda c: images.set_state(c, beach.id, ImageState.CHANGED))
    answer = client.get(f"/img/{beach.id}")
    assert answer.status_code == 410 and "has changed" in answer.json()["error"]["message"]


def test_one_range_is_served_and_many_are_not(client: TestClient, beach: Image) -> None:
    assert client.get(f"/img/{beach.id}", headers={"Range": "bytes=0-9"}).status_code == 206
    many = "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 2000, 2))
    assert client.get(f"/img/{beach.id}", headers={"Range": many}).status_code == 416
    assert client.get(f"/img/{beach.id}?size=huge").status_code == 422


def test_exports_are_downloads_and_leave_nothing_behind(
    client: TestClient, store: Store, project: Project, base: str, beach: Image, cat: Category
) -> None:
    decide(store, project, [(beach.id, cat.id, 1)])
    coco = client.get(f"{base}/export/coco")
    assert f'filename="project-{project.id}.json"' in coco.headers["content-disposition"]
    assert len(coco.json()["annotations"]) == 1
    table = client.get(f"{base}/export/csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.splitlines() == ["file_name,cat", "beach.jpg,1"]
    assert list((store.data_dir / "tmp").iterdir()) == []
    assert client.get(f"{base}/export/xlsx").status_code == 422
    assert client.get("/api/projects/999/export/coco").status_code == 404
    assert list((store.data_dir / "tmp").iterdir()) == []


def test_labels_come_in_by_upload_whatever_the_file_is_called(
    client: TestClient, store: Store, base: str, beach: Image
) -> None:
    for name in ("labels.csv", "../../evil.csv", "x" * 300, "a\x00b.csv"):
        content = b"file_name,cat\nbeach.jpg,1\n"
        answer = client.post(f"{base}/labels", files={"file": (name, content, "text/csv")})
        assert answer.status_code == 200, answer.text
    assert answer.json()["cells_known"] == 1
    assert set(answer.json()) == {
        "added", "duplicates", "refused", "cells", "cells_known", "categories_added", "notes",
    }  # fmt: skip
    assert list((store.data_dir / "tmp").iterdir()) == []


def test_a_bad_label_file_is_refused_whole_and_named(
    client: TestClient, store: Store, project: Project, base: str, beach: Image
) -> None:
    content = b"file_name,cat\nbeach.jpg,1\nnowhere.jpg,1\n"
    answer = client.post(f"{base}/labels", files={"file": ("labels.csv", content)})
    assert answer.status_code == 422
    assert "nowhere.jpg" in answer.json()["error"]["message"]
    assert _stored(store, project) == 0


def test_leftovers_of_a_killed_server_are_swept_at_start(store: Store, settings: Any) -> None:
    from annotator.api.app import create_app

    (store.data_dir / "tmp" / "export-x").mkdir(parents=True)
    create_app(store, settings)
    assert not (store.data_dir / "tmp").exists()
