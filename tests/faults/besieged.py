"""A server under attack, and somebody who works on it meanwhile."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.attacks import Outcome
from tests.faults.saving import TIMEOUT_S, Save, World, make_save, post
from tests.faults.servers import ROOT, ticks

PAUSE_S = 0.2  # between two saves of the one who works


@dataclass
class Work:
    """What the one who works has met: milliseconds of each save, what was acknowledged, what went wrong."""

    ms: list[float] = field(default_factory=list)
    acknowledged: list[Save] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextmanager
def somebody_saving(world: World, port: int, name: str) -> Iterator[Work]:
    """Somebody who saves eight answers every 200 ms until the block ends, on one connection."""
    work = Work()
    end = threading.Event()

    def save() -> None:
        chance = random.Random(name)
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)) as connection:
            while not end.wait(PAUSE_S):
                made = make_save(world, f"{name}-{len(work.ms)}", chance)
                began = time.perf_counter()
                try:
                    status, answer = post(connection, world, made)
                except (OSError, http.client.HTTPException) as error:
                    work.errors.append(repr(error))
                    connection.close()
                    continue
                work.ms.append(1000 * (time.perf_counter() - began))
                if status == 200:
                    work.acknowledged.append(made)
                else:
                    work.errors.append(f"{status} {answer[:200]!r}")

    thread = threading.Thread(target=save, name=name, daemon=True)
    thread.start()
    try:
        yield work
    finally:
        end.set()
        thread.join(TIMEOUT_S + PAUSE_S)
        assert not thread.is_alive(), "a save was never answered"


@contextmanager
def memory_of(pid: int) -> Iterator[list[float]]:
    """Resident megabytes of a process: at the beginning of the block, then the most at its end."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the high-water mark begins anew
    found = [_status_mb(pid, "VmRSS")]
    yield found
    found.append(_status_mb(pid, "VmHWM"))


def _status_mb(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024


def attacked(
    port: int, project: int, *, seconds: float, slow: int, hasty: bool = False
) -> dict[str, Outcome]:
    """Attack from a process of its own, so that the attacker's work is not the other person's delay."""
    command = [sys.executable, "-m", "tests.faults.attacks", str(port), str(project), str(seconds), str(slow)]
    process = subprocess.Popen(
        [*command, *(["--hasty"] if hasty else [])], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        said, _ = process.communicate(timeout=seconds + 120)
    assert process.returncode == 0, "the attacker failed"
    return {
        name: Outcome(Counter(told["answers"]), told["longest_s"]) for name, told in json.loads(said).items()
    }


def worked(world: World, port: int, name: str, seconds: float) -> Work:
    """Somebody who saves for so long, with nobody else there."""
    with somebody_saving(world, port, name) as work:
        for _ in ticks(seconds, 0.05):
            pass
    return work
