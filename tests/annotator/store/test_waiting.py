"""Nobody waits for ever, and the log stays small however long somebody reads."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from annotator.errors import DiskFull, StoreBusy, StoreError
from annotator.records import Project
from annotator.settings import Settings
from annotator.store import Store, categories, projects
from annotator.store.checkpoints import Checkpoints
from annotator.store.writer import LOCK_WAIT_MS, PATIENCE_S
from db.engine import BUSY_TIMEOUT_MS, sqlite_module


@pytest.fixture
def stuck(store: Store, settings: Settings) -> Iterator[Any]:
    """Another connection, as of a shell, that has begun to write and does not end."""
    with closing(sqlite_module().connect(str(settings.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def names(store: Store) -> list[str]:
    with store.read() as c:
        return sorted(project.name for project in projects.list_all(c))


def test_the_promise_of_five_seconds_is_kept_by_the_defaults() -> None:
    assert PATIENCE_S + LOCK_WAIT_MS / 1000 <= 5


def test_a_stuck_transaction_elsewhere_makes_every_request_busy_and_none_of_them_is_performed_later(
    store: Store, stuck: Any
) -> None:
    def one(number: int) -> float:
        began = time.monotonic()
        with pytest.raises(StoreBusy, match="nothing of this request was saved"):
            store.write(lambda c: projects.create(c, f"p{number}", now=1), patience_s=0.3)
        return time.monotonic() - began

    with ThreadPoolExecutor(20) as pool:
        waited = list(pool.map(one, range(40)))
    assert all(seconds >= 0.25 for seconds in waited), "it was tried, not refused at once"
    stuck.execute("ROLLBACK")
    assert store.write(lambda c: projects.create(c, "after", now=1), patience_s=30).name == "after"
    assert names(store) == ["after"]


def test_who_has_patience_is_served_when_the_other_lets_go(store: Store, stuck: Any) -> None:
    with ThreadPoolExecutor(2) as pool:
        patient = pool.submit(store.write, lambda c: projects.create(c, "patient", now=1), patience_s=60)
        with pytest.raises(StoreBusy):
            store.write(lambda c: projects.create(c, "hasty", now=1), patience_s=0.2)
        stuck.execute("COMMIT")
        assert patient.result(30).name == "patient"
    assert names(store) == ["patient"]


def test_a_store_closes_while_another_process_holds_the_database(store: Store, stuck: Any) -> None:
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(store.write, lambda c: projects.create(c, "a", now=1), patience_s=60)
        while store._writer._queue.qsize():
            time.sleep(0.001)
        closing_ = pool.submit(store.close)
        assert isinstance(waiting.exception(30), StoreError)
        closing_.result(30)
    stuck.execute("ROLLBACK")


def test_a_slow_request_that_was_begun_is_answered_with_what_became_of_it(store: Store) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(c: Any) -> Project:
        begun.set()
        go.wait(30)
        return projects.create(c, "slow", now=1)

    with ThreadPoolExecutor(2) as pool:
        job = pool.submit(store.write, slow, patience_s=0.05)
        assert begun.wait(10)
        time.sleep(0.2)  # its patience is over, but it is under way: an answer "busy" would be a lie
        go.set()
        assert job.result(30).name == "slow"


def log_size(settings: Settings) -> int:
    path = settings.database.with_name("annotator.db-wal")
    return path.stat().st_size if path.exists() else 0


def fill(store: Store, project: Project, start: int, count: int = 40) -> None:
    sql = "INSERT INTO category (project_id, name, name_key, position, created_at) VALUES (?, ?, ?, 0, 0)"
    rows = [(project.id, f"{start + n} {'x' * 180}", f"{start + n} {'x' * 180}") for n in range(count)]
    store.write(lambda c: c.exec_driver_sql(sql, rows))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is large soon, and a writer that is idle soon."""
    monkeypatch.setattr("annotator.store.checkpoints.GROWTH", 256 * 1024)
    monkeypatch.setattr("annotator.store.checkpoints.COMMITS", 5)
    monkeypatch.setattr("annotator.store.checkpoints.SMALL", 64 * 1024)
    monkeypatch.setattr("annotator.store.writer.IDLE_S", 0.02)


wal = pytest.mark.skipif(
    sqlite_module().sqlite_version_info < (3, 51, 3), reason="this SQLite library has no safe write-ahead log"
)


@wal
def test_the_log_stays_small_under_writes_and_is_emptied_when_it_is_quiet(
    small: None, store: Store, project: Project, settings: Settings
) -> None:
    peak = 0
    for number in range(80):
        fill(store, project, number * 40)
        peak = max(peak, log_size(settings))
    written = settings.database.stat().st_size
    assert written > 1_000_000 and peak < written
    end = time.monotonic() + 20
    while log_size(settings) > 64 * 1024:
        assert time.monotonic() < end, "the log was never emptied"
        time.sleep(0.02)


@wal
def test_a_long_read_of_a_private_copy_does_not_hold_the_log(
    small: None, store: Store, project: Project, settings: Settings
) -> None:
    fill(store, project, 0)

    def grown(reading: Callable[[], Any], start: int) -> tuple[int, int]:
        """Largest log while `reading` is open and 80 transactions are written; rows it sees at the end."""
        with reading() as c:
            seen = len(categories.list_active(c, project.id))
            peak = 0
            for number in range(80):
                fill(store, project, start + number * 40)
                peak = max(peak, log_size(settings))
            assert len(categories.list_active(c, project.id)) == seen, "one moment, all the time"
        return peak, seen

    frozen, seen = grown(store.frozen, 10_000)
    held, _ = grown(store.read, 20_000)
    assert seen == 40
    assert frozen < held / 2, "a reader of the database itself is what makes the log grow"


def test_a_private_copy_leaves_nothing_behind_and_cannot_be_written(
    store: Store, project: Project, settings: Settings
) -> None:
    with store.frozen() as c:
        assert projects.get(c, project.id) == project
        assert list((settings.data_dir / "tmp").iterdir()) == [], "its file has no name"
        with pytest.raises(Exception, match="readonly"):
            c.exec_driver_sql("DELETE FROM project")
    with store.read() as c:
        assert projects.get(c, project.id) == project


def test_private_copies_of_several_threads_and_within_one_another_are_each_of_their_own_moment(
    store: Store,
) -> None:
    def count(c: Any) -> int:
        return len(projects.list_all(c))

    def read(number: int) -> None:
        for turn in range(3):
            with store.frozen() as outer:
                before = count(outer)
                store.write(lambda c, name=f"{number} {turn}": projects.create(c, name, now=1))
                with store.frozen() as inner:
                    assert count(inner) > before
                assert count(outer) == before, "one moment, also after another copy was read"

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(read, range(3)))
    assert len(names(store)) == 9


def test_a_private_copy_that_does_not_fit_is_a_full_disk(
    store: Store, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("annotator.store.copying.tempfile.mkstemp", full)
    with pytest.raises(DiskFull), store.frozen():
        pass


@pytest.fixture
def without_log(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, open_store: Callable[..., Store]
) -> Store:
    """A store with a rollback journal, as with an affected library or on a network's disk."""
    monkeypatch.setattr("db.engine.sqlite_module", lambda: sqlite3)
    monkeypatch.setattr("db.engine.wal_is_safe", lambda _: False)
    return open_store(settings)


def test_a_rollback_journal_has_no_log_to_look_after(
    without_log: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotator.store.checkpoints.COMMITS", 2)
    store = without_log
    for number in range(6):
        store.write(lambda c, n=number: projects.create(c, f"p{n}", now=1))
    assert store.facts.journal == "delete" and store.trouble == "" and len(names(store)) == 6
    with store.frozen() as c:
        assert len(projects.list_all(c)) == 6


def test_with_a_rollback_journal_an_answer_waits_for_those_who_read(without_log: Store) -> None:
    reading = threading.Event()

    def read() -> None:
        with without_log.read() as c:
            projects.list_all(c)
            reading.set()
            time.sleep(0.1)

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        assert reading.wait(10)
        assert without_log.write(lambda c: projects.create(c, "a", now=1)).name == "a"
        reader.result(10)


def test_who_looks_after_the_log_does_not_make_the_next_ones_impatient(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotator.store.checkpoints.COMMITS", 1)
    for _ in range(3):
        with store.read() as one, store.read() as other:
            waits = [c.exec_driver_sql("PRAGMA busy_timeout").scalar_one() for c in (one, other)]
        assert waits == [BUSY_TIMEOUT_MS, BUSY_TIMEOUT_MS]
        Checkpoints(store._engine, settings.database).committed()
