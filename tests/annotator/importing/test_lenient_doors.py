"""The lenient mode is the same through the actions, the plain routes, the terminal and the page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from annotator.actions import Actions
from annotator.api.app import create_app
from annotator.api.errors import status_of
from annotator.cli import main
from annotator.errors import BadFile, TypeNotAccepted
from annotator.records import Image, Project
from annotator.settings import Settings
from annotator.store import Store, decisions
from annotator.ui.door import Here
from annotator.ui.import_tab import import_labels

TABLE = "file_name,dog\np0.jpg,1\nwho.jpg,1\np1.jpg,0\n"
WHY = 'no picture of the project is named "who.jpg"'
REASON = f"line 3: {WHY}"


@pytest.fixture
def table(tmp_path: Path, project: Project, add_images: Callable[..., list[Image]]) -> Path:
    add_images(project, 2)
    path = tmp_path / "labels.csv"
    path.write_text(TABLE)
    return path


def decided(store: Store, project: Project) -> int:
    with store.read() as c:
        return decisions.count_since(c, project.id, 0)


def test_actions(store: Store, settings: Settings, project: Project, table: Path) -> None:
    actions = Actions(store, settings)
    with pytest.raises(BadFile, match=r"who\.jpg"):
        actions.import_labels(project.id, table)
    assert decided(store, project) == 0
    report = actions.import_labels(project.id, table, lenient=True)
    assert (report.cells, [row.reason for row in report.refused]) == (2, [REASON])


def test_plain_routes(store: Store, settings: Settings, project: Project, table: Path) -> None:
    url = f"/api/projects/{project.id}/labels"
    with TestClient(create_app(store, settings), base_url="http://127.0.0.1:7860") as client:
        files = {"file": ("labels.csv", table.read_bytes())}
        assert client.post(url, files=files).status_code == 422
        assert client.post(f"{url}?mode=strict", files=files).status_code == 422
        assert client.post(f"{url}?mode=sloppy", files=files).status_code == 422
        assert decided(store, project) == 0
        answer = client.post(f"{url}?mode=lenient", files=files)
    assert answer.status_code == 200
    assert answer.json()["refused"] == [{"name": "labels.csv, line 3", "reason": REASON}]
    assert (answer.json()["cells"], decided(store, project)) == (2, 2)


def test_the_terminal(
    store: Store,
    settings: Settings,
    project: Project,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    command = ["annotator", "import", "--labels", str(table), "--project", project.name]
    command += ["--data-dir", str(settings.data_dir)]
    for more, code in (([], 1), (["--lenient"], 0)):
        monkeypatch.setattr(sys, "argv", [*command, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code
    said = " ".join(capsys.readouterr().out.split())  # as wide as the console of whoever came first
    assert f"labels.csv, line 3: {WHY}" in said
    assert decided(store, project) == 2


def test_the_page(store: Store, settings: Settings, project: Project, user_id: int, table: Path) -> None:
    here = Here(Actions(store, settings), user_id, project.id)

    def unheard(_done: int, _total: int | None, _name: str) -> None:
        return

    strict = import_labels(lambda: here, str(table), unheard)
    assert "who.jpg" in strict.message and not strict.refused
    lenient = import_labels(lambda: here, str(table), unheard, lenient=True)
    assert lenient.refused == (("labels.csv, line 3", WHY),)


def test_a_kind_that_is_not_read_is_415() -> None:
    assert status_of(TypeNotAccepted("x.svg", "it is not a picture")) == (415, "type_not_accepted")
    assert status_of(BadFile("x.jpg", "it is damaged"))[0] == 422
