"""`annotator purge`: what can be removed for good, a typed name, and exports of archived projects before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from annotator.records import Category, Image, Project
from annotator.store import Store, categories, now_ms, projects
from tests.annotator.generation_builder import decide
from tests.annotator.terminal import Run, commands

DAY = 24 * 3600 * 1000


@pytest.fixture
def run(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command on the test's data folder; its exit code and everything it said."""
    return commands(store.data_dir, monkeypatch, capsys)


@pytest.fixture
def cat(store: Store, project: Project, user_id: int, add_images: Callable[..., list[Image]]) -> Category:
    """A category of the project with one answer; `user_id` makes the owner of this machine."""
    found = add_images(project, 3)
    made = store.write(lambda c: categories.add(c, project.id, "cat", now=now_ms()))
    decide(store, project, [(found[0].id, made.id, 1)])
    return made


def put_away(store: Store, project: Project, days: int) -> None:
    store.write(lambda c: projects.set_archived(c, project.id, now_ms() - days * DAY))


def test_the_list_says_what_can_be_removed_and_from_when_on(
    run: Run, store: Store, project: Project, cat: Category
) -> None:
    assert run("purge") == (0, "No project is archived.\n")
    put_away(store, project, 1)
    assert "holiday: can be restored; can be removed for good from 20" in run("purge")[1]
    put_away(store, project, 30)
    assert run("purge")[1] == "holiday: can be removed for good\n"


def test_a_project_is_removed_when_its_name_is_typed_exactly(
    run: Run,
    store: Store,
    project: Project,
    cat: Category,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_away(store, project, 31)
    monkeypatch.setattr("typer.prompt", lambda _: "Holiday")
    code, said = run("purge", "holiday")
    assert code == 1 and "type the name of the project exactly" in said
    assert "annotator export answers.json --project holiday" in said, "an export is offered before"
    file = tmp_path / "answers.json"
    assert run("export", file, "--project", "holiday")[0] == 0
    assert len(json.loads(file.read_text())["annotations"]) == 1
    monkeypatch.setattr("typer.prompt", lambda _: "holiday")
    code, said = run("purge", "holiday")
    assert code == 0 and "holiday is removed for good; pictures: 3, answers: 1." in said
    code, said = run("purge", "holiday")
    assert code == 1 and "There is no archived project 'holiday'; archived is: none." in said


def test_a_script_gives_the_name_twice_and_a_project_in_use_or_restorable_stays(
    run: Run, store: Store, project: Project, cat: Category
) -> None:
    code, said = run("purge", "holiday", "--confirm", "holiday")
    assert code == 1 and "no archived project" in said
    put_away(store, project, 12)
    code, said = run("purge", "holiday", "--confirm", "holiday")
    assert code == 1 and "can be restored for 18 more days" in said
    put_away(store, project, 31)
    code, said = run("purge", "holiday", "--confirm", "day")
    assert code == 1 and "exactly" in said
    assert run("purge", "holiday", "--confirm", "holiday")[0] == 0
