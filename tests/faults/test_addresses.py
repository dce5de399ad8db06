"""A-10: an address where a file name or a folder is expected is refused in words; nobody is called."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotator.actions import Actions
from annotator.errors import AnnotatorError
from annotator.records import Image, Project
from annotator.settings import Settings
from annotator.store import Store
from tests.faults.claims import Claims

ADDRESSES = (
    "http://169.254.169.254/latest/meta-data/",
    "https://192.0.2.1/p0.jpg",
    "file:///etc/passwd",
    "http://[::1]/p0.jpg",
    "http://0.0.0.0/p0.jpg",
    "http://2130706433/p0.jpg",
    "ftp://example.invalid/p0.jpg",
    "//192.0.2.1/share/p0.jpg",
    "\\\\192.0.2.1\\share\\p0.jpg",
    "gopher://127.0.0.1:6379/_p0.jpg",
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every connection or look-up that was tried in this process; none is carried out."""
    tried: list[object] = []

    def refuse(*arguments: Any, **_named: Any) -> None:
        tried.append(arguments)
        raise OSError("no connection in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


def tables(folder: Path, address: str) -> list[Path]:
    """The address in every place of a label file where a name or an address may stand."""
    image = {
        "id": 1,
        "file_name": address,
        "coco_url": address,
        "flickr_url": address,
        "width": 4,
        "height": 3,
    }
    coco = {
        "images": [image],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1}],
    }
    (folder / "labels.json").write_text(json.dumps(coco), encoding="utf-8")
    (folder / "labels.csv").write_text(f'file_name,cat\n"{address}",1\n', encoding="utf-8")
    return [folder / "labels.json", folder / "labels.csv"]


def test_an_address_is_no_file_and_nobody_is_called(
    store: Store,
    settings: Settings,
    project: Project,
    add_images: Callable[..., list[Image]],
    tmp_path: Path,
    calls: list[object],
    claim: Claims,
) -> None:
    shown = claim("A-10", "An address in the place of a file or a folder is refused and never visited.")
    actions = Actions(store, settings)
    add_images(project, 1)
    refused = 0
    for address in ADDRESSES:
        with pytest.raises(AnnotatorError):
            actions.import_folder(project.id, Path(address))
        for table in tables(tmp_path, address):
            with pytest.raises(AnnotatorError):
                actions.import_labels(project.id, table)
            refused += 1
        refused += 1
    assert calls == []
    shown.done(refused)


def test_the_guard_of_this_test_sees_a_call(calls: list[object]) -> None:
    with pytest.raises(OSError, match="no connection"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    assert len(calls) == 1
