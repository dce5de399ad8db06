"""R-36: an upgrade is killed at every file-changing system call; the old schema or the new, never between."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.copying import problems
from db.engine import sqlite_module
from db.migrate import BACKUPS, SchemaError, head, revision, upgrade
from tests.db.released import dumps, make
from tests.db.test_upgrades import held, rows
from tests.faults.claims import Claims, size
from tests.faults.crash_points import Point, kill_at, needs_strace, points_of, run_traced, spread
from tests.faults.servers import Mother

OLD = list(dumps())[-1]


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    """Does one deed per child."""
    made = Mother("tests.faults.keeping_deed")
    yield made
    made.close()


def old_folder(folder: Path) -> Path:
    """A folder whose data are of the newest schema before this one, some of it in the WAL only."""
    path = make(OLD, folder / "data" / "annotator.db")
    live = sqlite_module().connect(str(path))
    live.execute("INSERT INTO project VALUES (50, 'in the WAL', 1)")
    live.commit()
    shutil.copytree(folder / "data", folder / "copy")  # as a killed program left it: with its WAL
    live.close()
    shutil.rmtree(folder / "data")
    (folder / "copy").rename(folder / "data")
    assert path.with_name("annotator.db-wal").stat().st_size
    return path


def test_an_upgrade_killed_anywhere_is_finished_by_the_next_start(
    mother: Mother, memory_path: Path, claim: Claims
) -> None:
    shown = claim(
        "R-36",
        "An upgrade killed at any file-changing call leaves old or new; the next start ends it.",
        unit="kills",
    )
    also = claim("N-11", "Every upgrade survives a kill at each point that was tried.", unit="kills")
    needs_strace()
    path = old_folder(memory_path / "fresh")
    before, content = held(path), rows(path)
    log = memory_path / "calls.txt"
    counted = Path(shutil.copytree(memory_path / "fresh", memory_path / "counted"))
    said = run_traced(mother, counted, "upgrade", str(counted), log=log)
    points = points_of(log)
    assert "ended" in said and revision(counted / "data" / "annotator.db") == head() and len(points) > 5, said

    def kill(place: int, point: Point) -> bool:
        folder = Path(shutil.copytree(memory_path / "fresh", memory_path / f"at-{place}"))
        database = folder / "data" / "annotator.db"
        told = kill_at(mother, folder, point, "upgrade", str(folder))
        assert revision(database) in (OLD, head()), f"killed at {point}"
        assert problems(database) == [] and held(database) == before, f"killed at {point}"
        kept = list((folder / "data" / BACKUPS).glob("before-*.db"))
        assert kept or revision(database) == OLD, "never without a copy from before"
        for copy in kept:
            assert revision(copy) == OLD and problems(copy) == [] and rows(copy) == content
        upgrade(database)
        assert revision(database) == head() and held(database) == before, f"repeated after {point}"
        assert not list((folder / "data" / BACKUPS).glob(".*"))
        shutil.rmtree(folder)
        return "ended" not in told

    tried = list(spread(points, size(10, max(50, len(points)))))
    killed = sum(kill(place, point) for place, point in enumerate(tried))
    assert killed >= 0.8 * len(tried), "most points must really be reached"
    shown.done(killed, points=len(points))
    also.done(killed, points=len(points))


def test_the_comparison_goes_red_for_an_upgrade_that_is_not_one_transaction(
    mother: Mother, memory_path: Path
) -> None:
    """The harness tests itself: the same upgrade, each statement committed by itself, is torn somewhere."""
    needs_strace()
    old_folder(memory_path / "fresh")
    log = memory_path / "calls.txt"
    counted = Path(shutil.copytree(memory_path / "fresh", memory_path / "counted"))
    assert "ended" in run_traced(mother, counted, "torn-upgrade", str(counted), log=log)
    syncs = [point for point in points_of(log) if point[0] in ("fsync", "fdatasync")]

    def torn(place: int, point: Point) -> bool:
        folder = Path(shutil.copytree(memory_path / "fresh", memory_path / f"at-{place}"))
        kill_at(mother, folder, point, "torn-upgrade", str(folder))
        database = folder / "data" / "annotator.db"
        try:
            upgrade(database)
        except SchemaError:
            return True
        return False

    assert any(torn(place, point) for place, point in enumerate(spread(syncs, 8)))
