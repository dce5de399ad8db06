"""Verbs of the terminal that open a data folder hold a lock on it, several at once.

A restore, a repair and an upgrade need the folder for themselves: they take the same lock alone, and are told
who holds it. The kernel lets go of it when a process ends, however that ends.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from annotator import locking
from annotator.errors import StoreError
from annotator.processes import born

NAME = "terminal.lock"
WAIT_S = 2.0  # others hold it alone for moments only, to look whether anybody is at work
_POLL_S = 0.02
_LINE = re.compile(r"(?P<pid>[0-9]{1,10}) (?P<born>[0-9]*) (?P<verb>[a-z][a-z -]{0,40})\n")


@contextmanager
def at_work(data_dir: Path, verb: str) -> Iterator[None]:
    """Hold the lock together with others; StoreError while somebody has the folder alone."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _held(data_dir) as file:
        file.write(f"{os.getpid()} {born(os.getpid())} {verb}\n")
        file.flush()
        yield


def holders(file: IO[str]) -> list[str]:
    """Who of those that the lock's file names is alive, as "`annotator import` (process 4711)"."""
    file.seek(0)
    lines = [_LINE.fullmatch(line) for line in file]
    return [
        f"`annotator {line['verb']}` (process {line['pid']})"
        for line in lines
        if line is not None and born(int(line["pid"])) == line["born"]
    ]


@contextmanager
def _held(data_dir: Path) -> Iterator[IO[str]]:
    """The locked file, which is the one that lies in the folder now: a restore may have exchanged the two."""
    end = time.monotonic() + WAIT_S
    while True:
        path = data_dir / NAME
        with locking.open_private(path) as file:
            if locking.take(file, data_dir):
                file.truncate(0)  # whoever is named there has ended
            if locking.take(file, data_dir, shared=True) and _is_at(file, path):
                yield file
                return
        if time.monotonic() >= end:
            raise StoreError(
                f"{data_dir} is being restored, repaired or upgraded; try again when that is done."
            )
        time.sleep(_POLL_S)


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(file.fileno()))
