"""What a worker does to generations, in a process of its own that may be killed at any moment.

    python -m tests.faults.light_worker

reads lines SAID DEED DATA_DIR [GATE] [--failpoint NAME:ACTION] and forks a process for each. DEED is `train`
(what `annotator worker` does at its start, a press on *Retrain now*, and every due job), `publish` (one more
small generation) or `prune` (all old generations go). With a GATE it waits until somebody has opened and
closed that named pipe. It says `ended` when it was not killed.
"""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path

import faiss  # noqa: F401 - loaded once, for every child
import openvino  # noqa: F401
import torch  # noqa: F401

from annotator.actions import Actions
from annotator.failpoints import VARIABLE
from annotator.settings import Settings
from annotator.store import Store, projects
from annotator.worker.keeping import GRACE_MS, Keeper
from annotator.worker.loop import Worker
from annotator.worker.only_one import only_worker
from annotator.worker.process import take_over
from tests.annotator.generation_builder import build
from tests.faults.light_server import fork_for_every_line, say


def train(store: Store, settings: Settings) -> None:
    """Take over, press *Retrain now*, do all that is due."""
    with only_worker(settings.data_dir, server=os.getppid(), stop=threading.Event()) as alone:
        assert alone
        take_over(store)
        actions = Actions(store, settings)
        for project in actions.projects():
            actions.retrain(project.id)
        worker = Worker(store, settings)
        while worker.step():
            pass


def publish(store: Store, settings: Settings) -> None:
    """Write one more generation and switch to it."""
    with store.read() as c:
        project = projects.list_all(c)[0]
    build(store, project, seed=9)


def prune(store: Store, settings: Settings) -> None:
    """Let every generation but the current one go."""
    keeper = Keeper(store, settings.model_copy(update={"keep_generations": 1}))
    with store.read() as c:
        project = projects.list_all(c)[0]
    for now in (0, GRACE_MS):
        keeper.prune(project.id, now)


DEEDS = {"train": train, "publish": publish, "prune": prune}


def child(*arguments: str) -> None:
    """What a forked process does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("deed", choices=DEEDS)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("gate", nargs="?", type=Path)
    parser.add_argument("--failpoint")
    given = parser.parse_args(arguments)
    if given.gate is not None:
        given.gate.read_bytes()
    if given.failpoint:
        os.environ[VARIABLE] = given.failpoint
    settings = Settings(data_dir=given.data_dir, epochs=2)
    store = Store.open(settings)
    DEEDS[given.deed](store, settings)
    store.close()
    say("ended")


if __name__ == "__main__":
    fork_for_every_line(child)
