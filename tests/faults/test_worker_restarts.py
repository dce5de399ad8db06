"""R-05: the server is killed again and again; there is one worker, and it does the work."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from annotator.settings import Settings
from annotator.store import Store, jobs, projects
from annotator.store.clock import now_ms
from annotator.worker.only_one import NAME
from tests.faults.claims import FULL, Claims, size
from tests.faults.saving import make_world
from tests.faults.servers import QUIET_WORKER, ROOT, ticks

SEED = 5
PARENT = """
import signal, sys
from pathlib import Path
from annotator.settings import Settings
from annotator.worker.supervisor import Supervisor

signal.signal(signal.SIGTERM, lambda *_: None)
supervisor = Supervisor(Settings(data_dir=Path(sys.argv[1])))
supervisor.start()
print("started", flush=True)
signal.pause()
supervisor.stop()
"""
PATIENCE_S = 120.0


@contextmanager
def server(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """What of the server keeps the worker alive: the supervisor, without page and routes."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(data_dir)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **QUIET_WORKER},
        cwd=ROOT,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def workers_of(data_dir: Path) -> list[int]:
    """Process ids of the workers of a data folder, by the variables they were started with."""
    wanted = f"ANNOTATOR_DATA_DIR={data_dir.resolve()}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            mine = entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0")
            if mine and b"worker" in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended while we looked
    return found


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def eventually(condition: Callable[[], object], what: str) -> None:
    for _ in ticks(PATIENCE_S, 0.1):
        if condition():
            return
    raise AssertionError(what)


def test_killing_the_server_again_and_again_leaves_one_worker_that_works(
    tmp_path: Path, claim: Claims
) -> None:
    shown = claim(
        "R-05",
        "However often the server is killed there is one worker per data folder and none without a server.",
        unit="kills of the server",
        seed=SEED,
    )
    chance, kills = random.Random(SEED), size(5, 50)
    data_dir = make_world(tmp_path / "data", pictures=4).data_dir
    store = Store.open(Settings(data_dir=data_dir, backbone="tiny"))
    with store.read() as c:
        project = projects.list_all(c)[0].id
    store.write(lambda c: jobs.request(c, project, "features", wanted_seq=0, now=now_ms()))
    for _ in range(kills):
        with server(data_dir) as process:
            threading.Event().wait(chance.uniform(0.05, 6.0 if FULL else 3.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
            with store.read() as c:
                running = [job for job in jobs.active(c, project) if job.status.value == "running"]
            assert len(running) <= 1
    with server(data_dir) as process:
        eventually(lambda: not unfinished(store, project), "the job was never done")
        eventually(lambda: len(workers_of(data_dir)) == 1, "workers of dead servers live on")
        # the one that waited for its turn takes the lock a moment after the other has ended
        eventually(lambda: f'"pid": {workers_of(data_dir)[0]},' in read(data_dir / NAME), "it holds no lock")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert workers_of(data_dir) == [], "a server that ends in order takes its worker along"
    store.close()
    shown.done(kills)


def unfinished(store: Store, project: int) -> bool:
    """Whether a job waits, runs or rests; one that rests after a crash is woken, as a person would."""
    with store.read() as c:
        active = jobs.active(c, project)
    for job in active:
        if jobs.resting(job):
            store.write(lambda c, job=job: jobs.wake(c, job.id))
    return bool(active)


def test_a_killed_server_leaves_no_worker_behind(tmp_path: Path) -> None:
    data_dir = make_world(tmp_path / "data", pictures=0).data_dir
    with server(data_dir) as process:
        eventually(lambda: (data_dir / NAME).exists() and workers_of(data_dir), "no worker started")
        process.send_signal(signal.SIGKILL)
        process.wait()
        eventually(lambda: not workers_of(data_dir), "a worker outlived its server")
