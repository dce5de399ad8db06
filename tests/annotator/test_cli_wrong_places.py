"""The terminal where folders, files, variables, addresses are not what was meant: one sentence."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from annotator import cli, cli_common
from annotator.errors import StoreError
from annotator.settings import Settings
from annotator.store import Store, projects
from tests.annotator.terminal import Run, commands

Maker = Callable[..., Path]
IMPATIENT = """
import sys
from annotator import __main__

class Stop:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "annotator.cli":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Stop)
__main__.main()
"""
OLD_FOLDER = [
    ("export", "out.csv"),
    ("train",),
    ("generations",),
    ("categories", "list"),
    ("user", "list"),
    ("user", "invite", "--admin"),
    ("purge",),
    ("scan",),
    ("import", "--labels", "labels.csv"),
]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command in this process, at work in a folder of the test."""
    monkeypatch.chdir(data_dir.parent)
    return commands(data_dir, monkeypatch, capsys)


def sentence(outcome: tuple[int, str]) -> str:
    """The one line that a refusal says."""
    code, said = outcome
    assert code == 1 and "Traceback" not in said, said
    (line,) = said.splitlines()
    return line


def names_of_projects(data_dir: Path) -> list[str]:
    store = Store.open(Settings(data_dir=data_dir))
    try:
        with store.read() as c:
            return [project.name for project in projects.list_all(c)]
    finally:
        store.close()


@pytest.mark.parametrize("verb", OLD_FOLDER, ids=" ".join)
def test_a_data_folder_that_is_not_there_is_not_made(run: Run, data_dir: Path, verb: tuple[str, ...]) -> None:
    """Whoever misspelt it would be told that nothing is in it, and find a new folder."""
    assert f"no database at {data_dir / 'annotator.db'}" in sentence(run(*verb))
    assert not data_dir.exists()


@pytest.mark.parametrize(
    "verb", [*OLD_FOLDER, ("migrate",), ("doctor",), ("worker",), ("run", "--port", "0")]
)
def test_a_data_folder_that_is_a_file_is_refused(run: Run, data_dir: Path, verb: tuple[str, ...]) -> None:
    data_dir.write_text("mine")
    assert "is a file, not a folder" in sentence(run(*verb))
    assert data_dir.read_text() == "mine"


def test_what_the_system_refuses_is_a_sentence_too(
    run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(settings: Settings) -> Store:
        raise PermissionError(13, "Permission denied", str(settings.data_dir / "annotator.db"))

    run("migrate")
    monkeypatch.setattr(Store, "open", refused)
    assert sentence(run("train")) == (
        f"annotator: {data_dir / 'annotator.db'} cannot be used (Permission denied)."
    )


@pytest.mark.parametrize("verb", [("import",), ("run", "--port", "0", "--images")])
def test_pictures_that_are_not_there_make_no_project(run: Run, data_dir: Path, verb: tuple[str, ...]) -> None:
    run("migrate")
    assert "no folder nowhere" in sentence(run(*verb, "nowhere"))
    Path("labels.csv").write_text("file_name,cat\n")
    assert "--labels" in sentence(run(*verb, "labels.csv"))
    assert names_of_projects(data_dir) == []


def test_a_taken_address_is_told_before_anything_is_imported(run: Run, data_dir: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        said = sentence(run("run", "--port", other.getsockname()[1]))
    assert "Cannot listen on" in said
    assert names_of_projects(data_dir) == [], "no demo was drawn first"


def test_an_untouched_folder_has_an_owner_for_the_terminal(run: Run) -> None:
    run("migrate")
    assert run("purge") == (0, "No project is archived.\n")
    assert run("user", "invitations") == (0, "There is no open invitation.\n")
    assert run("user", "invite", "--admin")[0] == 0
    assert "owner  server admin  no password yet" in run("user", "list")[1]


@pytest.mark.parametrize("name", ["ALLOWED_HOSTS", "TRUSTED_PROXIES"])
def test_a_list_that_is_none_is_told_with_an_example(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"ANNOTATOR_{name}", "birds.example")
    said = sentence(run("migrate"))
    assert name.lower() in said and '["birds.example", "10.0.0.2"]' in said
    monkeypatch.setenv(f"ANNOTATOR_{name}", '["birds.example"]')
    assert run("migrate")[0] == 0


@pytest.mark.parametrize("content", [b"port = ", b"\xff", b"prot = 1"])
def test_a_wrong_file_of_settings_is_named(run: Run, content: bytes) -> None:
    Path("annotator.toml").write_bytes(content)
    said = sentence(run("migrate"))
    assert "annotator.toml" in said or "prot" in said


def test_a_misspelt_variable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNOTATOR_SINGEL_USER", "false")
    monkeypatch.setenv("annotator_random_share", "0.1")
    monkeypatch.setenv("ANNOTATOR_FAILPOINT", "nowhere:kill")
    assert cli_common.unknown_variables() == ["ANNOTATOR_SINGEL_USER"]


def test_a_start_says_which_variable_it_ignores(
    run: Run, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    warned: list[str] = []

    def stop(*_: object, **__: object) -> None:
        raise StoreError("enough")

    monkeypatch.setattr(cli, "_offer_demo", lambda *_: None)
    monkeypatch.setattr(cli, "_warn", warned.extend)
    monkeypatch.setattr("annotator.serving.serve", stop)
    monkeypatch.setenv("ANNOTATOR_SINGEL_USER", "false")
    assert "enough" in sentence(run("run", "--port", "0"))
    assert [line for line in warned if "ANNOTATOR_SINGEL_USER" in line and "ignored" in line] == warned


def test_brackets_in_a_name_are_no_markup(run: Run, make_picture: Maker, tmp_path: Path) -> None:
    folder = tmp_path / "a[bold]b[x]"
    folder.mkdir()
    make_picture(folder / "a.png", seed=1)
    assert "1 pictures added" in run("import", folder)[1]
    code, said = run("export", "o[bold].csv")
    assert code == 0 and said.startswith("o[bold].csv: 1 pictures")


def test_a_bar_is_for_a_terminal_and_takes_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal in (True, False):
        shown = io.StringIO()
        monkeypatch.setattr(cli_common, "out", Console(file=shown, force_terminal=is_terminal, width=120))
        with cli_common.progress_bar("Checking b[/x].tar") as on_progress:
            on_progress(1, 2, "")
        assert ("Checking b[/x].tar" in shown.getvalue()) == is_terminal
        assert is_terminal or shown.getvalue() == ""


def test_an_export_into_a_file_is_one_sentence(run: Run, make_picture: Maker, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    make_picture(tmp_path / "pictures" / "a.png", seed=1)
    run("import", "pictures")
    (tmp_path / "file").write_text("mine")
    assert "could not be written" in sentence(run("export", "file/out.csv"))
    assert (tmp_path / "file").read_text() == "mine"


def test_pictures_for_a_start_may_be_a_zip(
    run: Run, monkeypatch: pytest.MonkeyPatch, make_picture: Maker, tmp_path: Path, data_dir: Path
) -> None:
    make_picture(tmp_path / "a.png", seed=1)
    with zipfile.ZipFile(tmp_path / "birds.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    monkeypatch.setattr("annotator.serving.serve", lambda *_, **__: None)
    code, said = run("run", "--port", "0", "--images", "birds.zip")
    assert code == 0 and "1 pictures added" in said
    assert names_of_projects(data_dir) == ["birds"]


def test_ctrl_c_while_the_program_is_still_loading_is_no_traceback() -> None:
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", IMPATIENT], cwd=root, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
    installed = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]["annotator"]
    assert installed == "annotator.__main__:main", "the same door for the installed command"
