"""Kills imports for tests: a program that forks one import after the other and ends each with SIGKILL.

    python -m tests.annotator.importing.killed labels|pictures SOURCE SEED WHOLE_DATA_DIR DATA_DIR...

Each data folder has a migrated database with project 1 and user 1. The import into the first one runs to its
end and its steps are counted: each sync and rename of a file, each statement and commit of the database. Each
other one is killed before a step chosen at random. On standard output: how many steps there are, then one
line with the fatal step for each folder.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from annotator.importing import import_folder, import_labels
from annotator.settings import Settings
from annotator.store import Store


def counted(step: Callable[[], None], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with a step before it."""

    def call(*args: Any, **more: Any) -> Any:
        step()
        return function(*args, **more)

    return call


def work(kind: str, source: Path, data_dir: str, fatal: int) -> int:
    """One import; the number of its steps, or the end of this process before the step `fatal`."""
    settings = Settings(data_dir=Path(data_dir))
    store = Store.open(settings)
    numbers = itertools.count(1)

    def step(*_args: Any, **_more: Any) -> None:
        if next(numbers) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = counted(step, os.fsync)
    Path.replace = counted(step, Path.replace)  # type: ignore[method-assign]
    for name in ("before_cursor_execute", "commit"):
        event.listen(Engine, name, step)
    if kind == "labels":
        import_labels(store, 1, source, user_id=1)
    else:
        import_folder(store, 1, source, settings=settings)
    store.close()
    return next(numbers) - 1


def in_a_child(kind: str, source: Path, data_dir: str, fatal: int) -> tuple[int, bool]:
    """Steps of a whole import, and whether it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(work(kind, source, data_dir, fatal)).encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    said = os.read(reader, 20)
    os.close(reader)
    return int(said or b"0"), os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def main() -> None:
    """See the module."""
    kind, source, seed, whole, *folders = sys.argv[1:]
    chance = random.Random(int(seed))
    steps, killed = in_a_child(kind, Path(source), whole, 0)
    assert steps and not killed
    sys.stdout.write(f"{steps}\n")
    for folder in folders:
        fatal = chance.randrange(1, steps + 1)
        _, killed = in_a_child(kind, Path(source), folder, fatal)
        sys.stdout.write(f"{fatal if killed else 0}\n")


if __name__ == "__main__":
    main()
