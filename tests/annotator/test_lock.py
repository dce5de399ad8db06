"""One server per data folder; after an end out of order the database is read before anything is written."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

import pytest

from annotator.errors import AnnotatorError, StoreError
from annotator.lock import only_server
from annotator.settings import Settings
from annotator.store import Store


def held(settings: Settings) -> str:
    return (settings.data_dir / "server.lock").read_text()


def test_the_second_server_is_told_process_and_machine_of_the_first(settings: Settings) -> None:
    with only_server(settings):
        words = f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(StoreError, match=rf"in use by another annotator \({words}\); stop it first"):
            only_server(settings).__enter__()
    with only_server(settings):
        pass


def test_a_folder_without_locks_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("annotator.locking.fcntl.flock", unable)
    with pytest.raises(StoreError, match=r"cannot be locked \(No locks available\).*local disk"):
        only_server(settings).__enter__()


def test_an_end_in_order_leaves_nothing_to_check(settings: Settings, store: Store) -> None:
    with only_server(settings) as lock:
        assert not lock.checked, "nobody has shown the store yet"
        assert lock.check(store) is False and lock.checked
        assert held(settings).startswith(str(os.getpid()))
    assert held(settings) == ""


def test_what_a_killed_server_left_makes_the_next_one_read_the_database(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.data_dir / "server.lock").write_text("4711 on elsewhere")
    read = []
    monkeypatch.setattr(store, "damage", lambda: read.append(1) or "")
    with only_server(settings) as lock:
        assert not lock.checked
        assert lock.check(store) is True and lock.checked
    assert read == [1] and held(settings) == ""


def test_damage_is_a_refusal_and_is_looked_for_again_at_the_next_start(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.data_dir / "server.lock").write_text("4711 on elsewhere")
    monkeypatch.setattr(store, "damage", lambda: "The database file is damaged (page 7).")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"page 7.*Restore a backup"), only_server(settings) as lock:
            lock.check(store)
    assert held(settings) != ""


def test_after_trouble_with_the_disk_the_next_start_reads_the_database(
    settings: Settings, store: Store, open_store: Callable[[Settings], Store]
) -> None:
    with only_server(settings) as lock:
        lock.check(store)
        store._writer.trouble = "The disk failed."
    assert held(settings) != ""
    again = open_store(settings)
    with only_server(settings) as lock:
        assert lock.check(again) is True
    assert held(settings) == ""


def test_a_refusal_after_the_check_is_an_end_in_order(settings: Settings, store: Store) -> None:
    with pytest.raises(AnnotatorError, match="taken"), only_server(settings) as lock:
        lock.check(store)
        raise AnnotatorError("The address is taken.")
    assert held(settings) == ""


def test_the_lock_and_a_new_data_folder_are_nobody_elses_to_read(settings: Settings) -> None:
    with only_server(settings):
        assert settings.data_dir.stat().st_mode & 0o777 == 0o700
        assert (settings.data_dir / "server.lock").stat().st_mode & 0o777 == 0o600
