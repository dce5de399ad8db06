"""`annotator generations`: what there is, and going back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from annotator.records import Image, Project
from annotator.store import Store, categories, generations, now_ms
from tests.annotator.generation_builder import Built, build, decide
from tests.annotator.terminal import Run, commands


@pytest.fixture
def run(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command on the test's data folder; its exit code and everything it said."""
    return commands(store.data_dir, monkeypatch, capsys, before=["generations"])


@pytest.fixture
def built(store: Store, project: Project, add_images: Callable[..., list[Image]]) -> list[Built]:
    pictures = add_images(project, 4)
    made = store.write(lambda c: categories.add(c, project.id, "cat", now=now_ms()))
    decide(store, project, [(pictures[0].id, made.id, 1)])
    return [build(store, project, seed=1), build(store, project, seed=2)]


def current(store: Store, project: Project) -> int | None:
    with store.read() as c:
        found = generations.current(c, project.id)
    return None if found is None else found.id


def test_the_list_says_state_and_figure_newest_first(run: Run, project: Project, built: list[Built]) -> None:
    code, said = run("--project", project.name)
    lines = [line.split() for line in said.splitlines()]
    assert code == 0
    assert [(line[0], line[1]) for line in lines] == [
        (str(built[1].record.id), "current"),
        (str(built[0].record.id), "retired"),
    ]
    assert "mAP 50.0%" in said


def test_going_back_and_on_again(run: Run, store: Store, project: Project, built: list[Built]) -> None:
    first, second = (one.record.id for one in built)
    code, said = run("--project", project.name, "--back")
    assert code == 0 and f"come from generation {first} now" in said
    assert current(store, project) == first
    code, said = run("--project", project.name, "--use", second)
    assert code == 0 and current(store, project) == second


def test_a_refusal_is_one_sentence_and_exit_code_1(
    run: Run, store: Store, project: Project, built: list[Built]
) -> None:
    second = built[1].record.id
    (built[0].folder / "logits.npy").unlink()
    for arguments, sentence in (
        (("--use", second), "current one already"),
        (("--use", 99), "no generation 99"),
        (("--use", built[0].record.id), "cannot be used"),
        (("--back",), "no earlier generation"),
    ):
        code, said = run("--project", project.name, *arguments)
        assert code == 1 and sentence in said and "Traceback" not in said
    assert run("--project", project.name, "--use", 1, "--back")[0] == 2
    assert current(store, project) == second


def test_without_a_generation_it_says_what_to_do(run: Run, project: Project, tmp_path: Path) -> None:
    code, said = run("--project", project.name)
    assert code == 0 and "train first" in said
