"""Writes awaited in an event loop keep every promise of the writer."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import closing, nullcontext
from typing import Any

import pytest
from sqlalchemy import Connection, event

from annotator.errors import BadInput, StoreBusy, StoreError, StoreStopping
from annotator.records import Project
from annotator.settings import Settings
from annotator.store import Store, projects
from db.engine import sqlite_module
from tests.running import run


def named(name: str) -> Any:
    return lambda c: projects.create(c, name, now=1)


def names(store: Store) -> list[str]:
    with store.read() as c:
        return sorted(project.name for project in projects.list_all(c))


def test_everybody_gets_his_own_answer_or_error_in_few_transactions(store: Store) -> None:
    commits = []
    event.listen(store._engine, "commit", lambda _: commits.append(1))

    async def all_at_once() -> list[Project | BaseException]:
        asked = [named(f"project {number // 2}") for number in range(200)]  # every name twice
        return await asyncio.gather(*(store.written(work) for work in asked), return_exceptions=True)

    answers = run(all_at_once())
    assert [one.name for one in answers[::2] if isinstance(one, Project)] == [
        f"project {n}" for n in range(100)
    ]
    assert all("already a project" in str(one) for one in answers[1::2])
    assert len(commits) < 100
    assert len(names(store)) == 100


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_answered_before_commit_has_returned(
    store: Store, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    order: list[str] = []
    dialect = store._engine.dialect
    commit = dialect.do_commit

    def slow(connection: Any) -> None:
        time.sleep(0.05)
        order.append("commit")
        if fails:
            raise sqlite_module().OperationalError("database or disk is full")
        commit(connection)

    monkeypatch.setattr(dialect, "do_commit", slow)

    async def one() -> None:
        with pytest.raises(StoreError) if fails else nullcontext():
            await store.written(named("a"))
        order.append("answer")

    run(one())
    assert order == ["commit", "answer"]
    assert names(store) == ([] if fails else ["a"])


def test_a_thread_may_write_meanwhile_and_no_thread_is_needed_to_wait(store: Store) -> None:
    go = threading.Event()

    def slow(c: Connection) -> str:
        go.wait(30)
        return projects.create(c, "slow", now=1).name

    async def one() -> tuple[int, str]:
        before = threading.active_count()
        waiting = [asyncio.create_task(store.written(slow))]
        waiting += [asyncio.create_task(store.written(lambda c: "x")) for _ in range(50)]
        await asyncio.sleep(0.05)
        grown = threading.active_count() - before
        go.set()
        return grown, (await asyncio.gather(*waiting))[0]

    assert run(one()) == (0, "slow")


def test_a_stuck_transaction_elsewhere_makes_it_busy_and_it_is_not_performed_later(
    store: Store, settings: Settings
) -> None:
    with closing(sqlite_module().connect(str(settings.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="nothing of this request was saved"):
            run(store.written(named("never"), patience_s=0.2))
        other.execute("ROLLBACK")
    assert run(store.written(named("after"), patience_s=30)).name == "after"
    assert names(store) == ["after"]


def test_one_that_was_begun_is_answered_with_what_became_of_it(store: Store) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(c: Connection) -> Project:
        begun.set()
        go.wait(30)
        return projects.create(c, "slow", now=1)

    async def one() -> Project:
        asked = asyncio.create_task(store.written(slow, patience_s=0.05))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)  # its patience is over, but it is under way: "busy" would be a lie
        go.set()
        return await asked

    assert run(one()).name == "slow"


def test_a_loop_that_ends_before_its_answer_harms_nobody(store: Store) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(c: Connection) -> None:
        begun.set()
        go.wait(30)
        projects.create(c, "slow", now=1)

    async def leave() -> None:
        asked = asyncio.create_task(store.written(slow))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        asked.cancel()

    run(leave())
    go.set()
    store.write(named("next"))
    assert names(store) == ["next", "slow"]


def test_a_store_that_stops_says_so(store: Store) -> None:
    store.refuse_new()
    with pytest.raises(StoreStopping):
        run(store.written(named("late")))


def test_an_error_of_the_work_is_the_callers(store: Store) -> None:
    with pytest.raises(BadInput):
        run(store.written(named("")))
    assert names(store) == []
