"""`annotator user` and how `annotator run` refuses to be open by mistake."""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from annotator import cli
from annotator.api.app import create_app
from annotator.settings import Settings
from annotator.store import Store, projects
from tests.annotator.api.people import BASE, NOW, PASSWORD

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command in this process; its exit code and everything it said."""
    monkeypatch.setenv("ANNOTATOR_DATA_DIR", str(data_dir))
    monkeypatch.setenv("COLUMNS", "400")

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["annotator", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return call


@pytest.fixture
def server(run: Run, data_dir: Path) -> TestClient:
    """The web side on the folder that the terminal works on, as another process would have it."""
    assert run("migrate")[0] == 0
    settings = Settings(data_dir=data_dir, host="0.0.0.0", insecure_http=True)
    store = Store.open(settings)
    store.write(lambda c: projects.create(c, "pets", now=NOW))
    return TestClient(create_app(store, settings), base_url=BASE, follow_redirects=False)


def link(said: str) -> str:
    found = re.search(r"(/invite/\S+)", said)
    assert found is not None, said
    return found[1]


def test_the_terminal_invites_lists_disables_enables_and_resets(run: Run, server: TestClient) -> None:
    code, said = run("user", "invite", "--project", "pets", "--role", "reviewer")
    assert code == 0 and "once" in said and "http://127.0.0.1:7860/invite/" in said
    assert server.post(link(said), data={"name": "Mia", "password": PASSWORD}).status_code == 303
    code, said = run("user", "list")
    assert code == 0 and "Mia  pets: reviewer" in said and "owner  server admin  no password yet" in said
    assert server.get("/api/me").status_code == 200
    assert run("user", "disable", "mia") == (0, "mia is disabled.\n")
    assert server.get("/api/me").status_code == 401, "the running server knows at once"
    assert "disabled" in run("user", "list")[1]
    assert run("user", "enable", "Mia")[0] == 0
    code, said = run("user", "reset-password", "Mia")
    assert code == 0
    assert server.post(link(said), data={"password": PASSWORD + "!"}).status_code == 303
    assert server.get("/api/me").json()["name"] == "Mia"


def test_the_terminal_makes_another_server_admin(run: Run, server: TestClient) -> None:
    code, said = run("user", "invite", "--admin")
    assert code == 0
    assert server.post(link(said), data={"name": "Ida", "password": PASSWORD}).status_code == 303
    assert server.get("/api/users").status_code == 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("invite",), "Give --project with a role, or --admin"),
        (("invite", "--admin", "--project", "pets"), "Give --project with a role, or --admin"),
        (("invite", "--project", "none"), "There is no project 'none'"),
        (("invite", "--project", "pets", "--role", "owner"), "There is no role 'owner'"),
        (("disable", "nobody"), "There is no user 'nobody'; there is: owner."),
        (("disable", "owner"), "last administrator of the server"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    run: Run, server: TestClient, words: tuple[str, ...], said: str
) -> None:
    code, told = run("user", *words)
    assert code == 1 and said in told and "Traceback" not in told and told.count("\n") == 1


def test_a_server_for_others_does_not_start_over_plain_http_by_mistake(run: Run, data_dir: Path) -> None:
    """A-48: one sentence, exit code 1, and not even a data folder is made."""
    code, said = run("run", "--host", "0.0.0.0")
    assert code == 1 and "--insecure-http" in said and "Traceback" not in said
    assert not data_dir.exists()


def test_what_the_terminal_writes_is_nobody_elses_business(run: Run, data_dir: Path) -> None:
    """A-05: folder 0700, database 0600, whatever umask the person has."""
    assert run("migrate")[0] == 0
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    for path in data_dir.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
