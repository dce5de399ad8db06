"""What the buttons do, without a browser."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from annotator.actions import Actions
from annotator.records import CellState, NewDecision, Project
from annotator.settings import Settings
from annotator.ui.door import Act, Door, Here, Server
from annotator.ui.export_tab import export_page
from annotator.ui.import_tab import create_project, import_folder, import_labels, import_uploads, open_demo
from annotator.ui.learn_tab import cancel, learn_page, retrain
from annotator.ui.projects import choices, choose
from tests.annotator.ui.asking import sent_by


class Heard:
    """Collects progress."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int | None, str]] = []

    def __call__(self, done: int, total: int | None, name: str) -> None:
        self.calls.append((done, total, name))


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_a_project_is_made_and_its_name_cannot_be_taken_twice(actions: Actions, server: Server) -> None:
    made = create_project(lambda: server, "Street")
    assert made.project_id == actions.projects()[0].id
    again = create_project(lambda: server, "Street")
    assert again.project_id is None
    assert "Not done." in again.message and "Street" in again.message
    assert len(actions.projects()) == 1


def test_a_folder_is_imported_with_progress_and_every_refusal_listed(
    actions: Actions,
    here: Here,
    project: Project,
    make_picture: Callable[..., Path],
    tmp_path: Path,
    heard: Heard,
) -> None:
    for number in range(3):
        make_picture(tmp_path / "in" / f"p{number}.jpg", seed=number)
    (tmp_path / "in" / "notes.txt").write_text("hello", encoding="utf-8")
    outcome = import_folder(lambda: here, f" {tmp_path / 'in'} ", heard)
    assert "Pictures added" in outcome.message
    assert [name for name, _ in outcome.refused] == ["notes.txt"]
    assert actions.status(project.id).counts.images == 3
    assert heard.calls


@pytest.mark.parametrize("folder", ["", "   ", "/no/such/folder"])
def test_a_wrong_folder_is_one_sentence(here: Here, folder: str, heard: Heard) -> None:
    outcome = import_folder(lambda: here, folder, heard)
    assert outcome.message.startswith('<div class="trouble"')
    assert outcome.refused == ()


def test_without_a_project_the_page_says_what_to_do(
    door: Door, owner: int, actions: Actions, tmp_path: Path, heard: Heard
) -> None:
    def nowhere() -> Here:
        return door.enter(sent_by(owner), Act.LOOK, None)

    for message in (
        import_folder(nowhere, str(tmp_path), heard).message,
        retrain(nowhere),
        cancel(nowhere),
        export_page(door, sent_by(owner), None),
        learn_page(nowhere, tmp_path).status,
    ):
        assert "make one on the Import tab" in message
    invited = actions.inviting.accept(actions.inviting.invite_admin(owner).secret, "Ann", "0123456789")
    actions.accounts.disable(owner, invited)
    assert "disabled" in export_page(door, sent_by(invited), None)


def test_pictures_and_archives_are_uploaded_together(
    actions: Actions,
    here: Here,
    project: Project,
    make_picture: Callable[..., Path],
    tmp_path: Path,
    heard: Heard,
) -> None:
    loose = make_picture(tmp_path / "loose.jpg", seed=1)
    packed = make_picture(tmp_path / "packed.png", seed=2)
    archive = tmp_path / "more.ZIP"
    with zipfile.ZipFile(archive, "w") as target:
        target.write(packed, "inner/packed.png")
        target.write(loose, "inner/loose again.jpg")
    import_uploads(lambda: here, [str(archive), str(loose)], heard)
    assert actions.status(project.id).counts.images == 2
    assert "Choose pictures" in import_uploads(lambda: here, None, heard).message


def test_an_archive_that_cannot_be_read_is_one_line_and_costs_the_others_nothing(
    actions: Actions,
    here: Here,
    project: Project,
    make_picture: Callable[..., Path],
    tmp_path: Path,
    heard: Heard,
) -> None:
    loose = make_picture(tmp_path / "loose.jpg", seed=1)
    good, broken = tmp_path / "good.zip", tmp_path / "broken.zip"
    with zipfile.ZipFile(good, "w") as target:
        target.write(make_picture(tmp_path / "packed.png", seed=2), "packed.png")
    broken.write_bytes(good.read_bytes()[:100])
    outcome = import_uploads(lambda: here, [str(good), str(broken), str(loose)], heard)
    assert actions.status(project.id).counts.images == 2
    assert "Not done" not in outcome.message and "Pictures added</th><td>2<" in outcome.message
    ((name, reason),) = outcome.refused
    assert name == "broken.zip" and "not a readable ZIP archive" in reason
    alone = import_uploads(lambda: here, [str(broken)], heard)
    assert [name for name, _ in alone.refused] == ["broken.zip"]


def test_labels_are_imported_or_the_line_is_named(
    actions: Actions,
    here: Here,
    project: Project,
    make_picture: Callable[..., Path],
    tmp_path: Path,
    heard: Heard,
) -> None:
    actions.import_files(project.id, [make_picture(tmp_path / "a.jpg")])
    table = tmp_path / "labels.csv"
    table.write_text("file_name,dog,cat\na.jpg,1,0\n", encoding="utf-8")
    assert "Cells answered" in import_labels(lambda: here, str(table), heard).message
    counts = actions.status(project.id).counts
    assert (counts.positive, counts.negative) == (1, 1)
    table.write_text("file_name,dog\na.jpg,maybe\n", encoding="utf-8")
    assert "maybe" in import_labels(lambda: here, str(table), heard).message
    assert "Choose a CSV" in import_labels(lambda: here, None, heard).message


def test_the_demo_opens_once_and_again(
    actions: Actions, server: Server, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "annotator.demo.render_demo.__kwdefaults__", {"count": 4, "seed": 0, "on_progress": None}
    )
    first = open_demo(lambda: server, tmp_path / "demo", heard)
    second = open_demo(lambda: server, tmp_path / "demo", heard)
    assert first.project_id is not None
    assert first.project_id == second.project_id
    assert actions.status(first.project_id).counts.images == 4


def answer(actions: Actions, project: Project, make_picture: Callable[..., Path], folder: Path) -> None:
    actions.import_files(project.id, [make_picture(folder / "a.jpg")])
    category = actions.add_category(project.id, "dog")
    image = actions.deck(project.id).ids[0]
    decision = NewDecision(
        op_id="first-answer", image_id=image, category_id=category.id, state=CellState.POSITIVE
    )
    actions.decide(project.id, [decision])


def test_retrain_and_cancel_answer_in_sentences(
    actions: Actions, here: Here, project: Project, make_picture: Callable[..., Path], tmp_path: Path
) -> None:
    assert "Nothing is labelled yet" in retrain(lambda: here)
    answer(actions, project, make_picture, tmp_path)
    assert "queued" in retrain(lambda: here)
    shown = learn_page(lambda: here, tmp_path)
    assert shown.busy and "waiting for the worker" in shown.status
    assert "cancelled" in cancel(lambda: here)
    assert learn_page(lambda: here, tmp_path) != shown
    assert "no project" in retrain(lambda: Here(actions, here.user_id, 999)).lower()


def test_the_learn_page_lists_known_cells_of_every_category(
    actions: Actions,
    here: Here,
    project: Project,
    settings: Settings,
    make_picture: Callable[..., Path],
    tmp_path: Path,
) -> None:
    answer(actions, project, make_picture, tmp_path)
    page = learn_page(lambda: here, settings.data_dir)
    assert page.categories == (("dog", 1, 0, 0, "–", "–", "–", "–", "–"),)
    assert page == learn_page(lambda: here, settings.data_dir)
    refused = learn_page(lambda: here, settings.data_dir, precision=200)
    assert "The wanted precision must lie between 1 and 99.9 %, not 200." in refused.status


def test_the_export_page_links_both_downloads_with_the_totals(
    actions: Actions,
    door: Door,
    owner: int,
    project: Project,
    make_picture: Callable[..., Path],
    tmp_path: Path,
) -> None:
    answer(actions, project, make_picture, tmp_path)
    html = export_page(door, sent_by(owner), project.id)
    assert f'href="/api/projects/{project.id}/export/coco"' in html
    assert f'href="/api/projects/{project.id}/export/csv"' in html
    assert "1 yes · 0 no · 0 unsure · 0 not asked" in html


def test_the_wanted_project_is_chosen_only_when_it_exists(actions: Actions, project: Project) -> None:
    other = actions.create_project("another")
    projects = actions.projects()
    assert dict(choices(projects)) == {project.name: project.id, "another": other.id}
    assert choose(projects, float(other.id)) == other.id
    assert choose(projects, 999) == choose(projects, None) == projects[0].id
    assert choose([], 1) is None
