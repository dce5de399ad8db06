"""`annotator user` and how `annotator run` refuses to be open by mistake."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from annotator.api.app import create_app
from annotator.settings import Settings
from annotator.store import Store, projects
from tests.annotator.api.people import BASE, NOW, PASSWORD
from tests.annotator.terminal import Run, commands


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command in this process; its exit code and everything it said."""
    return commands(data_dir, monkeypatch, capsys)


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
    assert "whatever else leads to the server may stand before /invite/." in said
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


def test_the_terminal_lists_and_withdraws_invitations(run: Run, server: TestClient) -> None:
    assert run("user", "invitations") == (0, "There is no open invitation.\n")
    first = link(run("user", "invite", "--project", "pets", "--role", "viewer")[1])
    second = link(run("user", "invite", "--admin")[1])
    run("user", "reset-password", "owner")
    said = run("user", "invitations")[1]
    lines = said.splitlines()
    assert len(lines) == 3 and all("by owner  until 2" in line and "UTC" in line for line in lines)
    assert {line.split("  ")[1] for line in lines} == {
        "pets: viewer",
        "server admin",
        "new password of owner",
    }
    assert not any(secret.removeprefix("/invite/") in said for secret in (first, second))
    name = next(line.split()[0] for line in lines if "pets: viewer" in line)
    assert run("user", "withdraw", name[:8]) == (0, f"The invitation {name[:8]} is withdrawn.\n")
    assert server.get(first).status_code == 404 and server.get(second).status_code == 200
    assert run("user", "withdraw", name) == (1, f"annotator: There is no open invitation {name}.\n")
    assert len(run("user", "invitations")[1].splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("withdraw", "12"), "at least the first 6 signs"),
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
