"""A program killed at every k-th system call that changes a file, by `strace`.

`strace` attaches to a child of a `Mother`, which waits behind a gate until it has. It counts each call and
each thread apart, so a crash point is a call and a number: the third `fdatasync` of any thread.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.faults.servers import Mother, Server, ticks

CHANGING = (
    "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "renameat", "renameat2", "unlink", "unlinkat",
    "mkdir", "mkdirat", "link", "linkat",
)  # fmt: skip
"""What reaches a disk, or makes it reach one, or changes a folder."""
LIMIT_S = 120.0
Point = tuple[str, int]


@cache
def why_not() -> str:
    """Why no program can be traced here; empty when one can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = ["strace", "-f", "-o", os.devnull, "-e", "inject=fsync:signal=SIGKILL:when=1", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=LIMIT_S)
    return "" if done.returncode == 0 else f"strace cannot trace here ({done.stderr.strip()})"


def needs_strace() -> None:
    """Skip the test, loudly, where nothing can be traced."""
    if reason := why_not():
        pytest.skip(reason)


def run_traced(
    mother: Mother, folder: Path, *arguments: str, inject: str = "", log: Path | None = None
) -> str:
    """Fork a child for `arguments` and its gate in `folder`, run it under strace, return what it said."""
    gate = folder / "gate"
    gate.unlink(missing_ok=True)
    os.mkfifo(gate)
    child = mother.fork(folder / "said.txt", *arguments, str(gate))
    options = ["-e", f"trace={','.join(CHANGING)}", "-e", "signal=none"]
    options += ["-e", f"inject={inject}"] if inject else []
    tracer = subprocess.Popen(
        ["strace", "-f", "-qqq", *options, "-o", str(log or os.devnull), "-p", str(child.pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    with tracer:
        _wait_for_tracer(child, tracer)
        gate.write_bytes(b"")
        tracer.wait(LIMIT_S)  # ends with the last of the processes it follows
    return child.output()


def _wait_for_tracer(child: Server, tracer: subprocess.Popen[str]) -> None:
    status = Path(f"/proc/{child.pid}/status")
    for _ in ticks(LIMIT_S):
        if "TracerPid:\t0\n" not in status.read_text():
            return
        if tracer.poll() is not None:
            break
    child.kill()
    raise AssertionError(f"strace did not attach: {tracer.communicate()[1]}")


def points_of(log: Path) -> list[Point]:
    """The crash points in the log of an undisturbed run: of each call as many as the busiest thread made."""
    calls: Counter[tuple[str, str]] = Counter()
    for line in log.read_text().splitlines():
        thread, said = line.split(maxsplit=1)
        name, opened, _ = said.partition("(")
        if opened and name in CHANGING:
            calls[thread, name] += 1
    most: dict[str, int] = {}
    for (_, name), count in calls.items():
        most[name] = max(count, most.get(name, 0))
    return [(name, number) for name, count in sorted(most.items()) for number in range(1, count + 1)]


def copied(fresh: Path, name: str) -> Path:
    """A copy of a folder beside it."""
    return Path(shutil.copytree(fresh, fresh.with_name(name)))


def points_in(mother: Mother, fresh: Path, deed: str, *, more_than: int) -> list[Point]:
    """Crash points of an undisturbed run of a deed on a copy of a folder."""
    log = fresh.with_name("calls.txt")
    folder = copied(fresh, "counted")
    said = run_traced(mother, folder, deed, str(folder), log=log)
    found = points_of(log)
    assert "ended" in said and len(found) > more_than, said
    return found


def spread(points: Sequence[Point], wanted: int) -> Iterator[Point]:
    """At most `wanted` of the points, evenly."""
    step = max(1.0, len(points) / wanted)
    for place in range(min(wanted, len(points))):
        yield points[int(place * step)]


def kill_at(mother: Mother, folder: Path, point: Point, *arguments: str) -> str:
    """Run a child and kill it at one point, whose call is not carried out; what it had said until then."""
    call, number = point
    return run_traced(mother, folder, *arguments, inject=f"{call}:signal=SIGKILL:when={number}")
