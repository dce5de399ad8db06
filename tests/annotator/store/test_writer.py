"""What is acknowledged is stored; what fails harms nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import IntegrityError

from annotator.errors import BadInput, DiskFull, StoreError
from annotator.records import CellState, NewDecision, Project
from annotator.settings import Settings
from annotator.store import Store, categories, decisions, images, now_ms, projects, users
from db.engine import make_engine


def test_a_write_is_visible_to_readers_once_it_returns(store: Store) -> None:
    made = store.write(lambda c: projects.create(c, "a", now=1))
    with store.read() as c:
        assert projects.get(c, made.id) == made


def test_what_a_reader_writes_is_rolled_back(store: Store, project: Project) -> None:
    with store.read() as c:
        categories.add(c, project.id, "dog", now=1)
    with store.read() as c:
        assert categories.list_active(c, project.id) == []


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups stay open long enough for a slow machine to fill them."""
    monkeypatch.setattr("annotator.store.writer.MAX_GROUP_SECONDS", 60.0)


def test_many_threads_get_their_own_answers_in_few_transactions(store: Store) -> None:
    commits = []
    event.listen(store._engine, "commit", lambda _: commits.append(1))

    def one(number: int) -> tuple[int, str]:
        return number, store.write(lambda c: projects.create(c, f"project {number}", now=number)).name

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(one, range(400)))
    assert answers == [(number, f"project {number}") for number in range(400)]
    assert len(commits) < 400
    with store.read() as c:
        assert len(projects.list_all(c)) == 400


def test_the_error_of_one_request_harms_no_other_in_the_same_transaction(store: Store, patient: None) -> None:
    started, go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        started.set()
        go.wait(10)

    def half(c: Connection) -> None:
        projects.create(c, "half", now=1)
        raise BadInput("no")

    def break_a_constraint(c: Connection) -> None:
        c.exec_driver_sql("INSERT INTO label VALUES (1, 1, 1, 'human', 1, 1, 1, NULL, NULL)")

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(store.write, hold)
        assert started.wait(10)
        jobs = [
            pool.submit(store.write, work)
            for work in (half, lambda c: projects.create(c, "whole", now=1), break_a_constraint)
        ]
        while store._writer._queue.qsize() < 3:
            time.sleep(0.001)
        go.set()
        first.result(10)
        errors = [job.exception(10) for job in jobs]
    assert isinstance(errors[0], BadInput)
    assert errors[1] is None
    assert isinstance(errors[2], StoreError | IntegrityError)
    with store.read() as c:
        assert [project.name for project in projects.list_all(c)] == ["whole"]


def test_nothing_is_answered_before_commit_has_returned(store: Store) -> None:
    order: list[str] = []
    event.listen(store._engine, "commit", lambda _: order.append("commit"))
    store.write(lambda c: projects.create(c, "a", now=1))
    order.append("answer")
    assert order == ["commit", "answer"]


def test_a_commit_that_fails_acknowledges_nothing(store: Store) -> None:
    def deferred_violation(c: Connection) -> str:
        c.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        c.exec_driver_sql(
            "INSERT INTO category (project_id, name, name_key, position, created_at)"
            " VALUES (99, 'a', 'a', 0, 0)"
        )
        return "stored"

    with pytest.raises(StoreError, match=r"FOREIGN KEY constraint failed.*nothing of this request was saved"):
        store.write(deferred_violation)
    assert store.write(lambda c: projects.create(c, "after", now=1)).name == "after"


def test_a_full_disk_is_a_sentence_and_stores_nothing(store: Store, project: Project) -> None:
    def fill(c: Connection) -> None:
        pages = c.exec_driver_sql("PRAGMA page_count").scalar_one()
        c.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        for number in range(2_000):
            categories.add(c, project.id, f"category {number} {'x' * 150}", now=1)

    with pytest.raises(DiskFull, match="disk is full: nothing of this request was saved"):
        store.write(fill)
    with store.read() as c:
        assert categories.list_active(c, project.id) == []
    store.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000").scalar_one())
    assert store.write(lambda c: categories.add(c, project.id, "dog", now=1)).name == "dog"


def test_a_transaction_that_sqlite_drops_fails_for_everybody_in_it(store: Store, patient: None) -> None:
    started, go = threading.Event(), threading.Event()

    def innocent(c: Connection) -> None:
        projects.create(c, "innocent", now=1)
        started.set()
        go.wait(10)

    def drop(c: Connection) -> None:
        c.exec_driver_sql("ROLLBACK")  # what SQLite does by itself on some I/O errors
        c.exec_driver_sql("INSERT INTO no_such_table VALUES (1)")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.write, innocent)
        assert started.wait(10)
        second = pool.submit(store.write, drop)
        while store._writer._queue.qsize() < 1:
            time.sleep(0.001)
        go.set()
        assert isinstance(first.exception(10), StoreError)
        assert "no_such_table" in str(second.exception(10))
    with store.read() as c:
        assert projects.list_all(c) == []
    assert store.write(lambda c: projects.create(c, "after", now=1)).name == "after"


def test_writing_inside_a_write_is_refused_instead_of_waiting_for_ever(store: Store) -> None:
    with pytest.raises(RuntimeError, match="inside a write"):
        store.write(lambda _: store.write(lambda c: projects.create(c, "a", now=1)))


def test_close_finishes_what_was_accepted_and_refuses_the_rest(
    settings: Settings, open_store: Callable[[Settings], Store]
) -> None:
    store = open_store(settings)
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(store.write, lambda c, n=number: projects.create(c, f"p{n}", now=1))
            for number in range(50)
        ]
        store.close()
        outcomes = [job.exception(10) for job in jobs]
    assert all(error is None or "closed" in str(error) for error in outcomes)
    with pytest.raises(StoreError, match="closed"):
        store.write(lambda c: None)
    with open_store(settings).read() as c:
        assert len(projects.list_all(c)) == outcomes.count(None)


def test_opening_nothing_or_a_stranger_is_a_sentence(settings: Settings) -> None:
    with pytest.raises(StoreError, match=r"There is no database at .* run `annotator migrate`"):
        Store.open(settings)
    settings.data_dir.mkdir()
    settings.database.write_bytes(b"certainly not a database, but long enough to be looked at" * 30)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(settings)
    settings.database.unlink()
    make_engine(settings.database).connect().close()
    with pytest.raises(StoreError, match="has schema None"):
        Store.open(settings)


def test_opening_a_newer_database_is_a_sentence(
    settings: Settings, open_store: Callable[[Settings], Store]
) -> None:
    store = open_store(settings)
    store.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'").rowcount)
    with pytest.raises(StoreError, match="newer than this program"):
        Store.open(settings)


VICTIM = """
import sys, threading
from annotator.records import CellState, NewDecision
from annotator.settings import Settings
from annotator.store import Store, decisions
store = Store.open(Settings(data_dir=sys.argv[1]))
out = threading.Lock()
def work(thread):
    for number in range(100_000):
        op = f"{thread}-{number}"
        new = NewDecision(op_id=op, image_id=1 + number % 50, category_id=1, state=CellState.POSITIVE)
        store.write(lambda c: decisions.record(c, 1, [new], user_id=1, now=number))
        with out:
            sys.stdout.write(op + "\\n"); sys.stdout.flush()
for thread in range(8):
    threading.Thread(target=work, args=(thread,)).start()
"""


def test_a_killed_process_loses_no_acknowledged_decision(
    settings: Settings,
    open_store: Callable[[Settings], Store],
    add_images: Callable[..., object],
    store: Store,
    project: Project,
) -> None:
    add_images(project, 50)
    store.write(lambda c: (users.owner(c, now=1), categories.add(c, project.id, "dog", now=1)))
    store.close()
    acknowledged: list[str] = []
    for _ in range(2):
        victim = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(settings.data_dir)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert victim.stdout is not None
        acknowledged += [victim.stdout.readline().strip() for _ in range(150)]
        os.kill(victim.pid, signal.SIGKILL)
        acknowledged += [line.strip() for line in victim.stdout if line.endswith("\n")]
        victim.stdout.close()
        victim.wait(10)
    again = open_store(settings)
    with again.read() as c:
        stored = set(c.exec_driver_sql("SELECT op_id FROM decision").scalars())
        assert c.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        matching = "SELECT count(*) FROM label JOIN decision USING (seq) WHERE label.state = decision.state"
        labels = c.exec_driver_sql("SELECT count(*) FROM label").scalar_one()
        assert c.exec_driver_sql(matching).scalar_one() == labels
        assert decisions.counts(c, project.id)[0].positive == labels
    assert len(acknowledged) >= 300
    assert set(acknowledged) <= stored


def test_replaying_after_a_kill_doubles_nothing(
    store: Store, project: Project, user_id: int, add_images: Callable[..., list[images.Image]]
) -> None:
    image = add_images(project, 1)[0]
    category = store.write(lambda c: categories.add(c, project.id, "dog", now=1))
    new = NewDecision(op_id="x", image_id=image.id, category_id=category.id, state=CellState.NEGATIVE)

    def send(_: int) -> bool:
        answer = store.write(lambda c: decisions.record(c, project.id, [new], user_id=user_id, now=now_ms()))
        return answer[0].stored

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, range(40))) == 1
    with store.read() as c:
        assert decisions.counts(c, project.id)[0].negative == 1
        assert decisions.count_since(c, project.id, 0) == 1
