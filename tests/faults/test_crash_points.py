"""R-03: a save and an import are killed at every file-changing system call; old or new, never between."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from db.engine import sqlite_module
from tests.conftest import picture
from tests.faults.claims import Claims, size
from tests.faults.crash_points import Point, kill_at, needs_strace, points_of, run_traced, spread
from tests.faults.one_deed import OPS
from tests.faults.saving import disagreements, make_world
from tests.faults.servers import Mother

PICTURES = 3
State = tuple[int, int]
NAMES = [f"p{number}.jpg" for number in range(PICTURES)]


def prepare(folder: Path, deed: str) -> None:
    """What the deed needs: a project, and for imports the pictures or the table beside the data folder."""
    world = make_world(folder / "data", pictures=0 if deed == "pictures" else PICTURES)
    (folder / "labels.csv").write_text(
        "file_name,category 0,category 1\n" + "".join(f"{name},1,0\n" for name in NAMES)
    )
    for number, name in enumerate(NAMES):
        picture(folder / "pictures" / name, seed=number)
    assert len(world.categories) == len(OPS)


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    """Does one deed per child."""
    made = Mother("tests.faults.one_deed")
    yield made
    made.close()


def state_of(data_dir: Path) -> tuple[int, int]:
    """Stored decisions and pictures; whatever is stored must be sound and every picture's bytes in place."""
    with closing(sqlite_module().connect(str(data_dir / "annotator.db"))) as connection:
        assert [line for (line,) in connection.execute("PRAGMA integrity_check")] == ["ok"]
        assert disagreements(connection) == []
        decided: Any = connection.execute("SELECT count(*) FROM decision").fetchone()[0]
        rows = list(connection.execute("SELECT sha256, original, canonical FROM image"))
    for sha256, original, canonical in rows if (data_dir / "originals").exists() else []:
        assert hashlib.sha256((data_dir / original).read_bytes()).hexdigest() == sha256
        assert (data_dir / canonical).is_file()
    return decided, len(rows)


@pytest.mark.parametrize(
    ("deed", "states", "sentence"),
    [
        (
            "save",
            [(0, 3), (8, 3)],
            "A save killed at any file-changing system call is stored whole or not at all.",
        ),
        (
            "labels",
            [(0, 3), (6, 3)],
            "An import of labels killed at any file-changing system call is stored whole or not at all.",
        ),
        (
            "pictures",
            [(0, count) for count in range(PICTURES + 1)],
            "An import of pictures killed anywhere holds whole pictures only, and repeating it completes it.",
        ),
    ],
    ids=["save", "labels", "pictures"],
)
def test_old_or_new_but_never_between(
    mother: Mother,
    memory_path: Path,
    claim: Claims,
    deed: str,
    states: list[State],
    sentence: str,
) -> None:
    shown = claim("R-03", sentence, unit="crash points")
    needs_strace()
    prepare(memory_path / "fresh", deed)
    log = memory_path / "calls.txt"

    def copied(name: str) -> Path:
        return Path(shutil.copytree(memory_path / "fresh", memory_path / name))

    said = run_traced(mother, copied("counted"), deed, str(memory_path / "counted" / "data"), log=log)
    points = points_of(log)
    assert "ended" in said and state_of(memory_path / "counted" / "data") == states[-1] and len(points) > 5, (
        said
    )
    tried = list(spread(points, size(8, len(points))))
    killed = sum(
        crash(mother, copied(f"at-{place}"), point, deed, states) for place, point in enumerate(tried)
    )
    assert killed >= 0.8 * len(tried), "most points must really be reached"
    shown.done(killed, points=len(points))


def crash(mother: Mother, folder: Path, point: Point, deed: str, states: list[State]) -> bool:
    """Kill at one point, look, do it again; whether it was killed."""
    data_dir = str(folder / "data")
    said = kill_at(mother, folder, point, deed, data_dir)
    found = state_of(folder / "data")
    assert found in states, f"killed at {point}"
    if "acknowledged" in said:
        assert found == states[-1], f"acknowledged, then killed at {point}"
    again = run_traced(mother, folder, deed, data_dir)
    assert "ended" in again and state_of(folder / "data") == states[-1], f"repeated after {point}: {again}"
    shutil.rmtree(folder)
    return "ended" not in said


def test_a_save_in_two_halves_would_be_seen(mother: Mother, memory_path: Path) -> None:
    """The same harness with a save that is not one transaction."""
    needs_strace()
    prepare(memory_path / "fresh", "torn save")
    log = memory_path / "calls.txt"
    counted = shutil.copytree(memory_path / "fresh", memory_path / "counted")
    run_traced(mother, counted, "torn save", str(counted / "data"), log=log)
    seen = set()
    for place, point in enumerate(reversed(points_of(log))):
        folder = shutil.copytree(memory_path / "fresh", memory_path / f"at-{place}")
        kill_at(mother, folder, point, "torn save", str(folder / "data"))
        seen.add(state_of(folder / "data"))
        if (4, PICTURES) in seen:
            return
    raise AssertionError(f"the torn save was never seen, only {seen}")
