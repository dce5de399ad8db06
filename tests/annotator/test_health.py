"""What people are told about store and disk, and what waits first when room becomes scarce."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from annotator import cli
from annotator.actions import Actions
from annotator.errors import DiskFull, is_full
from annotator.health import (
    BALLAST_SHARE,
    free_space,
    health,
    make_ballast,
    need_room,
    room,
    secure,
    start_up_warnings,
)
from annotator.records import CellState, Image, NewDecision, Project
from annotator.settings import Settings
from annotator.store import Store, categories
from annotator.worker.loop import Worker
from db.engine import Facts
from tests.conftest import picture

GIB = 2**30


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Pretends how many bytes are free and how many there are."""

    def pretend(free: int, total: int) -> None:
        usage = SimpleNamespace(free=free, total=total, used=total - free)
        monkeypatch.setattr("annotator.health.shutil.disk_usage", lambda _: usage)

    return pretend


@pytest.mark.parametrize(
    ("free", "total", "low"),
    [
        (50 * GIB, 100 * GIB, False),
        (6 * GIB, 100 * GIB, False),
        (4 * GIB, 100 * GIB, True),  # under five in a hundred
        (GIB - 1, 10 * GIB, True),  # under one gigabyte
        (GIB, 10 * GIB, False),
        (0, 10 * GIB, True),
    ],
)
def test_when_a_disk_is_nearly_full(
    settings: Settings, disk: Callable[[int, int], None], free: int, total: int, low: bool
) -> None:
    disk(free, total)
    assert room(settings).low is low
    own = settings.model_copy(update={"disk_low_bytes": 0, "disk_low_percent": 0.0})
    assert not room(own).low, "both limits are settings"


def test_all_is_well_says_nothing(store: Store, settings: Settings, disk: Callable[[int, int], None]) -> None:
    disk(50 * GIB, 100 * GIB)
    found = health(store, settings)
    assert (found.status, found.notices) == ("ok", ())
    assert found.details["synchronous"] == 2 and found.details["disk_free"] == 50 * GIB


def test_a_nearly_full_disk_is_a_warning_and_a_full_one_an_error(
    store: Store, settings: Settings, disk: Callable[[int, int], None]
) -> None:
    disk(GIB // 2, 100 * GIB)
    found = health(store, settings)
    assert found.status == "warning"
    assert "512 MB of 100.0 GB are free" in found.notices[0].text
    disk(100, 100 * GIB)
    assert health(store, settings).status == "disk_full"


def test_trouble_of_the_store_comes_first(
    store: Store, settings: Settings, disk: Callable[[int, int], None]
) -> None:
    disk(100, 100 * GIB)
    store._writer.trouble = "The disk failed."
    found = health(store, settings)
    assert found.status == "read_only" and found.notices[0].text == "The disk failed."


def test_uploads_are_refused_and_answers_saved_on_a_nearly_full_disk(
    store: Store,
    settings: Settings,
    project: Project,
    tmp_path: Path,
    disk: Callable[[int, int], None],
    add_images: Callable[..., list[Image]],
) -> None:
    image = add_images(project, 1)[0]
    cat = store.write(lambda c: categories.add(c, project.id, "cat", now=1))
    actions = Actions(store, settings)
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "labels.csv").write_text("file_name,cat\np0.jpg,1\n")
    disk(100 * 2**20, 100 * GIB)
    with pytest.raises(DiskFull, match=r"Pictures are not taken in while the disk is nearly full \(100 MB"):
        actions.import_folder(project.id, tmp_path / "in")
    with pytest.raises(DiskFull, match="Labels are not taken in"):
        actions.import_labels(project.id, tmp_path / "labels.csv")
    new = NewDecision(op_id="answer-1", image_id=image.id, category_id=cat.id, state=CellState.POSITIVE)
    assert actions.decide(project.id, [new])[0][0].stored
    disk(50 * GIB, 100 * GIB)
    assert actions.import_folder(project.id, tmp_path / "in").added == 1


def test_an_import_stops_before_it_takes_the_last_room_and_keeps_what_is_whole(
    store: Store,
    settings: Settings,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk: Callable[[int, int], None],
) -> None:
    for seed in range(6):
        picture(tmp_path / "in" / f"{seed}.png", seed=seed)
    monkeypatch.setattr("annotator.importing.intake.BATCH", 2)
    monkeypatch.setattr("annotator.importing.intake.BATCH_SECONDS", 3600.0)  # by number only
    asked = []

    def shrinking(_: Settings, what: str) -> None:
        asked.append(what)
        if len(asked) == 2:
            disk(100 * 2**20, 100 * GIB)
        need_room(settings, what)

    disk(50 * GIB, 100 * GIB)
    monkeypatch.setattr("annotator.importing.intake.need_room", shrinking)
    with pytest.raises(DiskFull, match="The import has stopped, what was taken in before stays"):
        Actions(store, settings).import_folder(project.id, tmp_path / "in")
    disk(50 * GIB, 100 * GIB)
    report = Actions(store, settings).import_folder(project.id, tmp_path / "in")
    assert report.duplicates == 4 and report.added == 2


def test_a_training_waits_for_room(
    store: Store, settings: Settings, project: Project, disk: Callable[[int, int], None]
) -> None:
    from annotator.store import jobs

    job = store.write(lambda c: jobs.request(c, project.id, "features", wanted_seq=0, now=1))[0]
    disk(100 * 2**20, 100 * GIB)
    worker = Worker(store, settings)
    assert worker.step() is False and worker._doing == "waits for room on the disk"
    with store.read() as c:
        assert [found.id for found in jobs.active(c, project.id)] == [job.id], "it is neither lost nor failed"
    disk(50 * GIB, 100 * GIB)
    assert worker.step() is True


def test_the_ballast_is_not_made_where_room_is_scarce(
    settings: Settings, disk: Callable[[int, int], None]
) -> None:
    settings.data_dir.mkdir()
    settings = settings.model_copy(update={"ballast_bytes": 2 * 2**20, "disk_low_bytes": 0})
    disk(BALLAST_SHARE * settings.ballast_bytes - 1, 2**26)
    assert not make_ballast(settings)
    disk(BALLAST_SHARE * settings.ballast_bytes, 2**26)
    assert make_ballast(settings)
    assert (settings.data_dir / "ballast").stat().st_mode & 0o777 == 0o600
    assert make_ballast(settings), "a second start leaves it as it is"
    assert "2 MB was given up" in free_space(settings)
    assert not make_ballast(settings.model_copy(update={"ballast_bytes": 0}))


def test_free_space_works_without_opening_the_database(settings: Settings) -> None:
    settings.data_dir.mkdir()
    settings.database.write_bytes(b"not a database")
    (settings.data_dir / "ballast").write_bytes(bytes(3 * 2**20))
    done = CliRunner().invoke(cli.app, ["free-space", "--data-dir", str(settings.data_dir)])
    assert done.exit_code == 0 and "3 MB was given up" in done.output
    assert not (settings.data_dir / "ballast").exists()


def test_an_open_data_folder_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert secure(tmp_path) and tmp_path.stat().st_mode & 0o777 == 0o700
    assert not secure(tmp_path)


def test_an_administrator_is_warned_of_a_network_disk_and_of_an_affected_library(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotator.health.wal_is_safe", lambda _: True)
    assert start_up_warnings(store) == []
    store.facts = Facts(
        library="3.40.1", journal="delete", synchronous=2, foreign_keys=True, file_system="nfs4"
    )
    monkeypatch.setattr("annotator.health.wal_is_safe", lambda _: False)
    first, second = start_up_warnings(store)
    assert "network file system (nfs4)" in first and "3.40.1" in second and "pysqlite3" in second


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (OSError("490000 requested and 992 written"), True),  # NumPy
        (RuntimeError("Error: 'ret == (size)' failed: write error: 1 != 8 (No space left on device)"), True),
        (ValueError("490000 requested"), False),
        (None, False),
    ],
)
def test_libraries_tell_of_a_full_disk_each_in_its_own_way(error: BaseException | None, full: bool) -> None:
    assert is_full(error) is full


def test_numpy_really_says_so(tmp_path: Path) -> None:
    import numpy as np

    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "wb") as file, pytest.raises(OSError) as caught:  # noqa: PTH123
        np.ones(100_000).tofile(file)
    assert is_full(caught.value)
