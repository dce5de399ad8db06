"""A failing disk ends all writing until a restart; a full one only refuses until there is room."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from annotator.errors import DiskFull, ReadOnly, StoreBusy, StoreError, StoreStopping
from annotator.records import Project
from annotator.settings import Settings
from annotator.store import Store, categories, projects
from annotator.store.faults import no_room_in, translate
from db.engine import sqlite_module

CODES = {
    "fsync": (1034, "disk I/O error"),
    "write": (778, "disk I/O error"),
    "full": (13, "database or disk is full"),
    "corrupt": (11, "database disk image is malformed"),
    "moved": (1032, "attempt to write a readonly database"),
    "busy": (5, "database is locked"),
    "cannot open": (14, "unable to open database file"),
    "constraint": (19, "constraint failed"),
}


def driver_error(name: str) -> Exception:
    code, text = CODES[name]
    error: Exception = sqlite_module().OperationalError(text)
    error.sqlite_errorcode = code  # type: ignore[attr-defined]
    return error


def make(c: Connection, name: str = "a") -> Project:
    return projects.create(c, name, now=1)


@pytest.fixture
def at_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], None]]:
    """Lets the driver's COMMIT fail in the named way, so many times; the transaction is rolled back."""
    dialect = store._engine.dialect
    commit = dialect.do_commit

    def failing(name: str, times: int) -> None:
        left = [times]

        def do_commit(connection: Any) -> None:
            if left[0] > 0 and connection.dbapi_connection.in_transaction:
                left[0] -= 1
                raise driver_error(name)
            commit(connection)

        monkeypatch.setattr(dialect, "do_commit", do_commit)

    yield failing


@pytest.mark.parametrize("name", ["fsync", "write", "corrupt", "moved"])
def test_after_a_failing_commit_nothing_is_acknowledged_and_reading_goes_on(
    store: Store, at_commit: Callable[[str, int], None], name: str
) -> None:
    store.write(lambda c: make(c, "before"))
    heard: list[str] = []
    store.when_in_trouble(heard.append)
    at_commit(name, 1)  # once: the disk seems well again afterwards
    with pytest.raises(ReadOnly, match="nothing is saved any more"):
        store.write(lambda c: make(c, "lost"))
    for _ in range(3):
        with pytest.raises(ReadOnly):
            store.write(lambda c: make(c, "after"))
    with store.read() as c:
        assert [project.name for project in projects.list_all(c)] == ["before"]
    assert store.trouble and heard == [store.trouble], "it is told once, in one sentence"


def test_those_who_wait_behind_a_failing_disk_are_refused_too(
    store: Store, at_commit: Callable[[str, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotator.store.writer.MAX_GROUP", 1)
    started, go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        started.set()
        go.wait(10)

    at_commit("fsync", 1)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(store.write, hold)
        assert started.wait(10)
        waiting = [pool.submit(store.write, lambda c, n=number: make(c, f"p{n}")) for number in range(6)]
        while store._writer._queue.qsize() < 6:
            threading.Event().wait(0.001)
        go.set()
        errors = [job.exception(10) for job in (first, *waiting)]
    assert [type(error) for error in errors] == [ReadOnly] * 7


def test_a_restart_writes_again(
    settings: Settings, store: Store, open_store: Callable[[Settings], Store], at_commit: Any
) -> None:
    at_commit("fsync", 1)
    with pytest.raises(ReadOnly):
        store.write(make)
    store.close()
    again = open_store(settings)
    assert again.damage() == ""
    assert again.write(make).name == "a" and again.trouble == ""


def test_a_full_disk_refuses_and_works_again_without_a_restart(
    store: Store, at_commit: Callable[[str, int], None]
) -> None:
    at_commit("full", 2)
    for _ in range(2):
        with pytest.raises(DiskFull, match="Make room and try again"):
            store.write(make)
    assert store.write(make).name == "a" and store.trouble == ""


def test_an_error_of_the_disk_within_a_request_fails_the_whole_transaction(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(c: Connection) -> None:
        make(c)
        raise OperationalError("INSERT", None, driver_error("write"))

    with pytest.raises(ReadOnly):
        store.write(broken)
    with pytest.raises(ReadOnly):
        store.write(make)
    with store.read() as c:
        assert projects.list_all(c) == []


def test_a_failing_copy_of_the_log_ends_the_writing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = threading.Event()
    store.when_in_trouble(lambda _: heard.set())

    def failing() -> None:
        raise OperationalError("PRAGMA", None, driver_error("fsync"))

    monkeypatch.setattr(store._writer._checkpoints, "committed", failing)
    assert store.write(make).name == "a", "its COMMIT was on the disk before"
    assert heard.wait(10)
    with pytest.raises(ReadOnly):
        store.write(lambda c: make(c, "b"))


@pytest.mark.parametrize(
    ("name", "room", "kind"),
    [
        ("fsync", True, ReadOnly),
        ("fsync", False, ReadOnly),  # what an fsync has lost stays lost, however full the disk is
        ("write", True, ReadOnly),
        ("write", False, DiskFull),
        ("cannot open", False, DiskFull),
        ("cannot open", True, StoreError),
        ("full", True, DiskFull),
        ("busy", True, StoreBusy),
        ("constraint", False, StoreError),
    ],
)
def test_what_a_code_of_sqlite_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, room: bool, kind: type
) -> None:
    monkeypatch.setattr("annotator.store.faults.no_room_in", lambda _: not room)
    found = translate(OperationalError("INSERT secret", None, driver_error(name)), tmp_path)
    assert type(found) is kind
    assert "INSERT" not in str(found) and str(tmp_path) not in str(found)


def test_a_folder_with_room_has_room_and_a_missing_one_is_not_full(tmp_path: Path) -> None:
    assert not no_room_in(tmp_path)
    assert not no_room_in(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []


def test_a_stopping_store_refuses_in_words_and_reads_on(store: Store, project: Project) -> None:
    store.refuse_new()
    with pytest.raises(StoreStopping, match="stopping; try again"):
        store.write(make)
    with store.read() as c:
        assert projects.get(c, project.id) == project


def test_damage_is_found_and_told_in_one_sentence(
    settings: Settings, store: Store, project: Project, open_store: Callable[[Settings], Store]
) -> None:
    store.write(lambda c: [categories.add(c, project.id, f"category {n}", now=1) for n in range(500)])
    assert store.damage() == ""
    store.close()
    data = bytearray(settings.database.read_bytes())
    needle = data.find(b"category 250")
    page = needle // 4096 * 4096
    data[page + 8 : page + 100] = bytes(92)
    settings.database.write_bytes(data)
    told = open_store(settings).damage()
    assert "damaged" in told or "cannot be read" in told
    assert "\n" not in told


def test_a_library_that_refuses_full_durability_is_refused(
    settings: Settings, open_store: Callable[[Settings], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    from db import engine

    open_store(settings).close()
    found = engine.Facts(library="9.9", journal="wal", synchronous=1, foreign_keys=True, file_system="")
    monkeypatch.setattr("annotator.store.opening.facts", lambda _: found)
    with pytest.raises(StoreError, match=r"9\.9 .*durable \(synchronous is 1\)"):
        Store.open(settings)


def test_the_facts_are_those_of_the_open_database(store: Store) -> None:
    facts = store.facts
    assert facts.synchronous == 2 and facts.foreign_keys
    assert facts.library == sqlite_module().sqlite_version
    assert facts.journal == ("wal" if sqlite_module().sqlite_version_info >= (3, 51, 3) else "delete")


def test_the_code_survives_in_both_drivers() -> None:
    for driver in {sqlite3, sqlite_module()}:
        with pytest.raises(driver.OperationalError) as caught:
            driver.connect(":memory:").execute("SELECT * FROM nothing")
        assert caught.value.sqlite_errorcode == 1
