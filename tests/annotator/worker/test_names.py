"""The worker keeps vectors of the categories' names for the web side."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from annotator.records import Project
from annotator.settings import Settings
from annotator.store import Store, categories, now_ms
from annotator.suggesting.names import names_file, read_names
from annotator.worker import names as module
from annotator.worker.loop import Worker
from annotator.worker.names import Names, source_of_names


@pytest.fixture
def glove(tmp_path: Path, settings: Settings) -> Settings:
    path = tmp_path / "words.txt"
    path.write_text("cat 1 0\ndog 0 1\nhot 1 1\n", encoding="utf-8")
    return settings.model_copy(update={"category_vectors": f"glove:{path}"})


def add(store: Store, project: Project, name: str) -> int:
    return store.write(lambda c: categories.add(c, project.id, name, now=now_ms())).id


def test_vectors_follow_the_names(store: Store, project: Project, glove: Settings) -> None:
    cat, odd = add(store, project, "cat"), add(store, project, "zyzzyva")
    names = Names(store, glove)
    path = names_file(store.data_dir, project.id)
    assert names.refresh()
    found = read_names(path)
    assert found is not None and found.names == {cat: "cat", odd: "zyzzyva"}
    assert list(found.vectors) == [cat] and found.vectors[cat].tolist() == [1, 0]
    assert not names.refresh()  # nothing has changed
    store.write(lambda c: categories.rename(c, odd, "hot dog"))
    assert names.refresh() and not names.refresh()
    again = read_names(path)
    assert again is not None and again.vectors[odd].tolist() == [0.5, 1]
    store.write(lambda c: categories.archive(c, cat, now=now_ms()))
    assert names.refresh()
    last = read_names(path)
    assert last is not None and last.names == {odd: "hot dog"}


def test_a_damaged_file_and_another_source_are_written_anew(
    store: Store, project: Project, glove: Settings, tmp_path: Path
) -> None:
    cat = add(store, project, "cat")
    path = names_file(store.data_dir, project.id)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    assert Names(store, glove).refresh()
    other = tmp_path / "other.txt"
    other.write_text("cat 5 6 7\n", encoding="utf-8")
    moved = glove.model_copy(update={"category_vectors": f"glove:{other}"})
    assert Names(store, moved).refresh()
    found = read_names(path)
    assert found is not None and found.vectors[cat].tolist() == [5, 6, 7]


def test_an_idle_worker_does_it(store: Store, project: Project, glove: Settings) -> None:
    add(store, project, "cat")
    worker = Worker(store, glove)
    assert worker.step() and not worker.step()
    assert names_file(store.data_dir, project.id).is_file()


def test_without_a_source_nothing_is_written(
    store: Store, project: Project, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, project, "cat")
    monkeypatch.setattr(module, "text_installed", lambda: False)
    assert source_of_names(settings) == "learned"
    assert not Names(store, settings).refresh()
    monkeypatch.setattr(module, "text_installed", lambda: True)
    assert source_of_names(settings) == "text"


def test_a_text_model_that_cannot_be_used_is_told_once(
    store: Store,
    project: Project,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    add(store, project, "cat")
    monkeypatch.setattr(module, "text_installed", lambda: True)

    def broken(source: str, names: list[str]) -> None:
        raise RuntimeError("The weights of the text model are not the expected ones.")

    monkeypatch.setattr(module, "category_vectors", broken)
    names = Names(store, settings)
    with caplog.at_level(logging.WARNING):
        assert not names.refresh() and not names.refresh()
    assert [record.message for record in caplog.records] == [
        "Nothing is guessed from names: The weights of the text model are not the expected ones."
    ]
    assert not names_file(store.data_dir, project.id).exists()
