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
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest

from annotator.actions import Actions
from annotator.errors import AnnotatorError, StoreError
from annotator.records import CellState, NewDecision
from annotator.serving import greeting, listening, only_server
from annotator.settings import Settings
from annotator.store import Store
from tests.annotator.processes import alive, until

ENVIRONMENT = {
    "ANNOTATOR_BACKBONE": "tiny",
    "ANNOTATOR_THREADS": "1",
    "ANNOTATOR_RETRAIN_EVERY": "100000",  # trainings start when a test asks for them
    "ANNOTATOR_LEASE_S": "2",
    "ANNOTATOR_BALLAST_BYTES": "1048576",
}


def start(data_dir: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "annotator", "run", "--data-dir", str(data_dir), "--port", "0", *flags]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **ENVIRONMENT},
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


def test_nobody_else_on_the_machine_can_read_what_server_and_worker_wrote(
    running: tuple[subprocess.Popen[str], str, Path],
) -> None:
    data_dir = running[2]
    until(lambda: list((data_dir / "features").rglob("*.*")), 90)  # the worker has written too
    for path in (data_dir, *data_dir.rglob("*")):
        # OpenVINO lets the group read its compiled backbone, which is no secret and lies in our closed folder
        closed = 0o007 if path.parent.name == "compiled" else 0o077
        with suppress(FileNotFoundError):  # the worker goes on meanwhile
            assert path.lstat().st_mode & closed == 0, path
    written = {path.name for path in data_dir.iterdir()}
    assert {"annotator.db", "originals", "thumbnails", "ballast"} <= written


def test_a_second_server_on_the_same_data_is_refused_in_one_sentence(
    running: tuple[subprocess.Popen[str], str, Path],
) -> None:
    second = start(running[2])
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "is in use by another annotator" in said and "Traceback" not in said


def test_a_worker_killed_in_training_is_replaced_and_its_job_done_while_answers_go_on(
    running: tuple[subprocess.Popen[str], str, Path],
) -> None:
    process, _, data_dir = running
    store = Store.open(Settings(data_dir=data_dir))
    actions = Actions(store, Settings(data_dir=data_dir))
    try:
        project = actions.projects()[0].id
        ids = actions.deck(project).ids
        columns = [view.category.id for view in actions.categories(project)]
        answer(actions, project, ids[:20], columns)
        actions.request_retrain(project)
        until(lambda: actions.status(project).job.stage.startswith("training"), 90)  # type: ignore[union-attr]
        victim = workers_of(process)
        assert len(victim) == 1
        os.kill(victim[0], signal.SIGKILL)
        answer(actions, project, ids[20:22], columns)
        until(lambda: workers_of(process) not in ([], victim), 60)
        rests = "the worker died; attempt 2 follows"
        until(lambda: actions.status(project).job.stage == rests, 60)  # type: ignore[union-attr]
        assert "tried again now" in actions.request_retrain(project)[1]
        until(lambda: actions.status(project).generation, 120)
        job = actions.status(project).job
        assert job is not None and job.attempts == 2, "the same job was taken up again"
        assert actions.status(project).counts.positive + actions.status(project).counts.negative == 22 * 12
    finally:
        store.close()


def answer(actions: Actions, project: int, image_ids: Sequence[int], columns: Sequence[int]) -> None:
    """Any answer will do: every second cell is a yes."""
    actions.decide(
        project,
        [
            NewDecision(
                op_id=f"op-{image_id}-{column}",
                image_id=image_id,
                category_id=column,
                state=CellState.POSITIVE if (image_id + column) % 2 else CellState.NEGATIVE,
            )
            for image_id in image_ids
            for column in columns
        ],
    )


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "annotator worker"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(pid) for pid in children.stdout.split()]


def test_ctrl_c_stops_both_processes_in_under_ten_seconds_without_a_traceback(
    running: tuple[subprocess.Popen[str], str, Path],
) -> None:
    process, _, _ = running
    workers = workers_of(process)
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


CUT_SHORT = """
import subprocess, sys, threading
from types import SimpleNamespace
from annotator.serving import last_resort
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(worker.pid, flush=True)
threading.Thread(target=last_resort, args=(SimpleNamespace(pid=worker.pid), threading.Event(), 0.1)).start()
threading.Event().wait()  # an end that never comes
"""


def test_an_end_that_takes_too_long_is_cut_short_for_server_and_worker() -> None:
    done = subprocess.run([sys.executable, "-c", CUT_SHORT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    until(lambda: not alive(int(done.stdout)))


GONE_JUST_THEN = """
import subprocess, sys, threading
from types import SimpleNamespace
from annotator.serving import last_resort
worker = subprocess.Popen([sys.executable, "-c", "pass"])
worker.wait()
last_resort(SimpleNamespace(pid=worker.pid), threading.Event(), 0.1)
sys.exit("it goes on")
"""


def test_a_worker_that_ends_just_then_does_not_keep_the_server_alive() -> None:
    done = subprocess.run([sys.executable, "-c", GONE_JUST_THEN], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
