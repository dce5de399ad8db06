"""`annotator run` as a person starts it: one command, two processes, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from annotator.errors import AnnotatorError, StoreError
from annotator.serving import greeting, listening, only_server
from annotator.settings import Settings
from tests.annotator.processes import alive, until


def start(data_dir: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "annotator", "run", "--data-dir", str(data_dir), "--port", "0", *flags]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "ANNOTATOR_BACKBONE": "tiny", "ANNOTATOR_THREADS": "1"},
        start_new_session=True,
    )


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"Open (http://\S+)", line):
            return found[1]
    raise AssertionError("the server never said where it is:\n" + "".join(said))


def ask(url: str) -> object:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    data_dir = tmp_path_factory.mktemp("run") / "data"
    process = start(data_dir)
    with closing(process.stdout):  # type: ignore[type-var]
        yield process, address(process), data_dir
        if process.poll() is None:
            process.kill()
        process.wait()


def test_the_first_start_offers_the_demo_project_and_a_living_worker(
    running: tuple[subprocess.Popen[str], str, Path],
) -> None:
    _, url, _ = running
    projects = ask(f"{url}/api/projects")
    assert isinstance(projects, list)
    assert [project["name"] for project in projects] == ["demo scenes"] and projects[0]["images"] >= 120
    status = f"{url}/api/projects/{projects[0]['id']}/status"
    until(lambda: ask(status)["worker"]["alive"], 60)  # type: ignore[index]


def test_a_second_server_on_the_same_data_is_refused_in_one_sentence(
    running: tuple[subprocess.Popen[str], str, Path],
) -> None:
    second = start(running[2])
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "is in use by another annotator" in said and "Traceback" not in said


def test_ctrl_c_stops_both_processes_in_under_ten_seconds_without_a_traceback(
    running: tuple[subprocess.Popen[str], str, Path],
) -> None:
    process, _, _ = running
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    workers = [int(pid) for pid in children.stdout.split()]
    assert workers
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    rest = process.stdout.read()
    assert process.wait(10) == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in rest and "everything answered is stored" in rest
    assert not any(alive(pid) for pid in workers)


def test_a_taken_address_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with listening(Settings(data_dir=tmp_path, port=0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AnnotatorError, match=rf"Cannot listen on 127.0.0.1:{port}"):  # noqa: SIM117
            with listening(Settings(data_dir=tmp_path, port=port)):
                pass


def test_the_lock_of_a_data_folder_is_free_again_afterwards(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with only_server(settings), pytest.raises(StoreError, match=str(os.getpid())), only_server(settings):
        pass
    with only_server(settings):
        pass


def test_the_secret_is_told_only_when_others_can_connect(tmp_path: Path) -> None:
    alone = greeting(Settings(data_dir=tmp_path), 7860, None)
    assert alone == ["Open http://127.0.0.1:7860  (Ctrl-C stops)"]
    shared = "\n".join(greeting(Settings(data_dir=tmp_path, host="0.0.0.0"), 7860, "s3cret"))
    assert "s3cret" in shared and "/setup" in shared
