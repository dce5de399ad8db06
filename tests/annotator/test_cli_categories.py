"""`annotator categories`: what there is, and merging one into another after saying what it does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from annotator.records import Category, Image, Project
from annotator.store import Store, categories, decisions, now_ms
from tests.annotator.generation_builder import decide
from tests.annotator.terminal import Run, commands


@pytest.fixture
def run(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command on the test's data folder; its exit code and everything it said."""
    return commands(
        store.data_dir, monkeypatch, capsys, before=["categories"], after=["--project", "holiday"]
    )


@pytest.fixture
def named(store: Store, project: Project, add_images: Callable[..., list[Image]]) -> list[Category]:
    found = add_images(project, 3)
    made = store.write(lambda c: categories.ensure(c, project.id, ["dog", "hound"], now=now_ms())[0])
    dog, hound = (one.id for one in made)
    cells = [(found[0].id, hound, 1), (found[1].id, hound, -1), (found[1].id, dog, 1), (found[2].id, dog, 2)]
    decide(store, project, cells)
    return made


def counts(store: Store, project: Project) -> list[tuple[int, int, int]]:
    with store.read() as c:
        return [(one.positive, one.negative, one.unsure) for one in decisions.counts(c, project.id)]


def test_the_list_says_how_much_was_answered(run: Run, named: list[Category]) -> None:
    code, said = run("list")
    assert code == 0
    assert said.splitlines() == ["dog: 1 yes, 0 no, 1 unsure", "hound: 1 yes, 1 no, 0 unsure"]


def test_merging_says_what_it_will_do_asks_and_does_it(
    run: Run, store: Store, project: Project, named: list[Category], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.confirm", lambda _: False)
    code, said = run("merge", "hound", "dog")
    assert (code, counts(store, project)) == (0, [(1, 0, 1), (1, 1, 0)])
    assert "1 answer of" in said and "p1.jpg: hound negative, dog positive" in said
    assert "Nothing was changed." in said
    monkeypatch.setattr("typer.confirm", lambda _: True)
    code, said = run("merge", "HOUND", "dog")
    assert (code, counts(store, project)) == (0, [(2, 0, 1)])
    assert "merged into" in said and "1 answer taken over" in said
    assert "hound: archived" in run("list")[1]
    monkeypatch.delattr("typer.confirm")
    code, said = run("merge", "hound", "dog", "--yes")
    assert code == 0 and "already" in said, "nobody is asked about nothing"


def test_a_name_that_is_not_there_is_one_sentence(run: Run, named: list[Category]) -> None:
    code, said = run("merge", "wolf", "dog", "--yes")
    assert (code, said.strip()) == (
        1, "annotator: There is no category 'wolf'; there is: 'dog', 'hound'.",
    )  # fmt: skip
    code, said = run("merge", "dog", "dog", "--yes")
    assert code == 1 and "into itself" in said
