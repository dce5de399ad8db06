"""The only door: what a person can do, on a real database with real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from annotator.actions import Actions
from annotator.errors import BadInput, DuplicateCategory, NotFound
from annotator.records import (
    Category,
    CellState,
    Image,
    JobStatus,
    NewDecision,
    Project,
)
from annotator.settings import Settings
from annotator.store import Store, categories, jobs, now_ms, workers
from tests.annotator.generation_builder import GRID, build


@pytest.fixture
def actions(store: Store, settings: Settings) -> Actions:
    return Actions(store, settings)


@pytest.fixture
def pictures(project: Project, add_images: Callable[..., list[Image]]) -> list[Image]:
    return add_images(project, 12)


@pytest.fixture
def cat(actions: Actions, project: Project) -> Category:
    return actions.add_category(project.id, "cat")


class Pen:
    """Answers with fresh operation ids."""

    def __init__(self, actions: Actions, project: Project) -> None:
        self.actions, self.project, self.count = actions, project, 0

    def __call__(self, image: Image, category: Category, state: CellState = CellState.POSITIVE) -> int:
        self.count += 1
        new = NewDecision(
            op_id=f"operation-{self.count}", image_id=image.id, category_id=category.id, state=state
        )
        _, head = self.actions.decide(self.project.id, [new])
        return head


@pytest.fixture
def answer(actions: Actions, project: Project) -> Pen:
    return Pen(actions, project)


def test_projects_come_with_their_number_of_pictures(actions: Actions, pictures: list[Image]) -> None:
    actions.create_project("empty")
    assert [(one.name, size) for one, size in actions.project_sizes()] == [("holiday", 12), ("empty", 0)]
    assert [one.name for one in actions.projects()] == ["holiday", "empty"]


def test_a_category_of_the_same_name_is_refused(actions: Actions, project: Project, cat: Category) -> None:
    with pytest.raises(DuplicateCategory):
        actions.add_category(project.id, " CAT ")


def test_categories_carry_their_counts(
    actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    dog = actions.add_category(project.id, "dog")
    states = (CellState.POSITIVE, CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE)
    for image, state in zip(pictures, states, strict=False):
        answer(image, cat, state)
    found = {view.category.id: view.count for view in actions.categories(project.id)}
    assert (found[cat.id].positive, found[cat.id].negative, found[cat.id].unsure) == (2, 1, 1)
    assert (found[dog.id].positive, found[dog.id].negative, found[dog.id].unsure) == (0, 0, 0)


def test_an_item_shows_what_is_decided_and_suggests_the_rest(
    actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    dog = actions.add_category(project.id, "dog")
    answer(pictures[0], cat)
    answer(pictures[0], dog)
    answer(pictures[1], cat, CellState.UNSURE)
    found = actions.item(project.id, pictures[1].id)
    assert [(cell.category_id, cell.state) for cell in found.cells] == [(cat.id, CellState.UNSURE)]
    assert [one.category_id for one in found.suggested.suggestions] == [dog.id]
    assert found.image.id == pictures[1].id


def test_an_image_of_another_project_is_not_found(actions: Actions, pictures: list[Image]) -> None:
    other = actions.create_project("other")
    with pytest.raises(NotFound, match=f"There is no image {pictures[0].id}."):
        actions.item(other.id, pictures[0].id)
    with pytest.raises(NotFound):
        actions.item(other.id, 999)
    with pytest.raises(NotFound):
        actions.item(999, pictures[0].id)


def test_status_counts_add_up_to_all_cells(
    actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    dog = actions.add_category(project.id, "dog")
    gone = actions.add_category(project.id, "gone")
    answer(pictures[0], cat)
    answer(pictures[0], dog, CellState.NEGATIVE)
    answer(pictures[1], dog, CellState.UNSURE)
    answer(pictures[2], gone)
    actions._store.write(lambda c: categories.archive(c, gone.id, now=now_ms()))
    counts = actions.status(project.id).counts
    assert (counts.positive, counts.negative, counts.unsure) == (1, 1, 1)
    assert counts.images == 12
    assert counts.positive + counts.negative + counts.unsure + counts.unknown == 12 * 2


def test_status_counts_down_to_the_next_training(
    store: Store,
    settings: Settings,
    project: Project,
    pictures: list[Image],
) -> None:
    actions = Actions(store, settings.model_copy(update={"retrain_every": 3}))
    cat = actions.add_category(project.id, "cat")
    answer = Pen(actions, project)
    assert actions.status(project.id).trains_after == 3
    for image in pictures[:4]:
        answer(image, cat)
    found = actions.status(project.id)
    assert (found.new_decisions, found.trains_after) == (4, 0)
    built = build(store, project)
    found = actions.status(project.id)
    assert (found.new_decisions, found.trains_after) == (0, 3)
    assert found.generation is not None and found.generation.id == built.record.id
    answer(pictures[4], cat)
    assert actions.status(project.id).new_decisions == 1


def test_a_finished_job_moves_the_watermark_even_when_it_made_no_generation(
    store: Store, actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    head = answer(pictures[0], cat)
    actions.request_retrain(project.id)
    job = store.write(lambda c: jobs.claim(c, owner="w", lease_ms=1000, now=now_ms()))
    assert job is not None
    store.write(
        lambda c: jobs.finish(
            c, job.id, owner="w", status=JobStatus.FAILED, message="m", reached_seq=head, now=now_ms()
        )
    )
    assert actions.status(project.id).new_decisions == 0


def test_a_worker_is_alive_while_its_beat_is_young(store: Store, actions: Actions, project: Project) -> None:
    assert actions.status(project.id).worker.alive is False
    assert actions.status(project.id).worker.seen_ms_ago is None
    store.write(lambda c: workers.beat(c, "w", doing="training", now=now_ms()))
    found = actions.status(project.id).worker
    assert found.alive and found.doing == "training"
    store.write(lambda c: workers.beat(c, "w", doing="training", now=now_ms() - 11_000))
    found = actions.status(project.id).worker
    assert not found.alive and found.seen_ms_ago is not None and found.seen_ms_ago >= 11_000


def test_a_dead_worker_is_not_alive_because_the_clock_was_set_back(
    store: Store, actions: Actions, project: Project
) -> None:
    store.write(lambda c: workers.beat(c, "dead", doing="training", now=now_ms() + 3_600_000))
    found = actions.status(project.id).worker
    assert (found.alive, found.seen_ms_ago, found.doing) == (False, None, "")
    store.write(lambda c: workers.beat(c, "young", doing="idle", now=now_ms()))
    found = actions.status(project.id).worker
    assert found.alive and found.doing == "idle"


def test_status_shows_the_running_job_else_the_waiting_one_else_the_last(
    store: Store, actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    assert actions.status(project.id).job is None
    answer(pictures[0], cat)
    first, _ = actions.request_retrain(project.id)
    assert first is not None

    def shown() -> tuple[int, JobStatus]:
        job = actions.status(project.id).job
        assert job is not None
        return job.id, job.status

    assert shown() == (first.id, JobStatus.QUEUED)
    store.write(lambda c: jobs.claim(c, owner="w", lease_ms=60_000, now=now_ms()))
    answer(pictures[1], cat)
    second, _ = actions.request_retrain(project.id)
    assert second is not None and second.id != first.id
    assert shown() == (first.id, JobStatus.RUNNING)
    store.write(
        lambda c: jobs.finish(c, first.id, owner="w", status=JobStatus.DONE, message="m", now=now_ms())
    )
    assert shown() == (second.id, JobStatus.QUEUED)
    actions.cancel(project.id)
    assert shown() == (second.id, JobStatus.CANCELLED)


def test_training_is_refused_in_a_sentence_while_there_is_nothing_to_learn(
    actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    job, message = actions.request_retrain(project.id)
    assert job is None and message.startswith("Nothing is labelled yet")
    answer(pictures[0], cat, CellState.UNSURE)
    assert actions.request_retrain(project.id)[1].startswith("Nothing is labelled yet")
    answer(pictures[0], cat, CellState.NEGATIVE)
    job, message = actions.request_retrain(project.id)
    assert job is None and message.startswith("There is no yes yet")


def test_pressing_train_five_times_leaves_one_waiting_and_then_one_running_and_one_waiting(
    store: Store, actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    answer(pictures[0], cat)
    answers = [actions.retrain(project.id) for _ in range(5)]
    assert [one.created for one in answers] == [True, False, False, False, False]
    assert len({one.job.id for one in answers if one.job}) == 1
    assert "queued" in answers[0].message
    assert "already waiting" in answers[1].message
    store.write(lambda c: jobs.claim(c, owner="w", lease_ms=60_000, now=now_ms()))
    running = [actions.retrain(project.id) for _ in range(5)]
    assert {one.message for one in running} == {"Training already runs on everything decided so far."}
    assert not any(one.created for one in running)
    answer(pictures[1], cat)
    follow = [actions.retrain(project.id) for _ in range(5)]
    assert [one.created for one in follow] == [True, False, False, False, False]
    assert "right after" in follow[0].message
    with store.read() as c:
        states = sorted(job.status.value for job in jobs.active(c, project.id))
    assert states == ["queued", "running"]


def test_training_again_on_the_same_answers_is_refused(
    store: Store, actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    answer(pictures[0], cat)
    built = build(store, project)
    job, message = actions.request_retrain(project.id)
    assert job is None
    assert (
        message == f"Nothing was decided since generation {built.record.id}; there is nothing new to learn."
    )
    answer(pictures[1], cat)
    assert actions.request_retrain(project.id)[0] is not None


def test_new_pictures_or_a_damaged_generation_are_reason_enough_to_train_again(
    store: Store,
    actions: Actions,
    project: Project,
    cat: Category,
    pictures: list[Image],
    answer: Pen,
    add_images: Callable[..., list[Image]],
) -> None:
    answer(pictures[0], cat)
    built = build(store, project)
    (built.folder / "logits.npy").unlink()
    assert actions.request_retrain(project.id)[0] is not None
    actions.cancel(project.id)
    build(store, project)
    assert actions.request_retrain(project.id)[0] is None
    add_images(project, 1, start=50)
    assert actions.request_retrain(project.id)[0] is not None


def test_cancelling_says_what_it_did(
    store: Store, actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    assert actions.cancel(project.id) == "No training is running or waiting."
    answer(pictures[0], cat)
    actions.request_retrain(project.id)
    assert actions.cancel(project.id) == "The waiting training is cancelled."
    job, _ = actions.request_retrain(project.id)
    assert job is not None
    store.write(lambda c: jobs.claim(c, owner="w", lease_ms=60_000, now=now_ms()))
    assert "stops at its next step" in actions.cancel(project.id)
    shown = actions.status(project.id).job
    assert shown is not None and shown.cancel_requested
    # Whoever changes their mind gets a new training, not the one that is ending.
    again, _ = actions.request_retrain(project.id)
    assert again is not None and again.id != job.id


def test_attention_comes_as_rows_of_the_grid(
    store: Store, actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    answer(pictures[0], cat)
    built = build(store, project)
    found = actions.attention(project.id, pictures[3].id, cat.id)
    assert found.grid == GRID
    assert found.values == tuple(built.attention[3, 0].tolist())
    assert found.generation_id == built.record.id
    assert [one.id for one in actions.generations(project.id)] == [built.record.id]


def test_a_late_answer_for_an_archived_category_is_stored(
    store: Store, actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    store.write(lambda c: categories.archive(c, cat.id, now=now_ms()))
    assert answer(pictures[0], cat) > 0


def test_an_import_asks_the_worker_for_features_once_and_only_when_something_is_new(
    store: Store, actions: Actions, project: Project, tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    folder = tmp_path / "in"
    for seed in range(3):
        make_picture(folder / f"{seed}.jpg", seed=seed)
    seen: list[int] = []
    report = actions.import_folder(project.id, folder, lambda done, total, name: seen.append(done))
    assert report.added == 3 and seen
    with store.read() as c:
        (job,) = jobs.active(c, project.id)
    assert job.kind == "features"
    store.write(lambda c: jobs.cancel(c, job.id, now=now_ms()))
    assert actions.import_files(project.id, sorted(folder.iterdir())).duplicates == 3
    with store.read() as c:
        assert jobs.active(c, project.id) == []


def test_labels_come_in_and_go_out_through_the_same_door(
    actions: Actions, project: Project, pictures: list[Image], tmp_path: Path
) -> None:
    source = tmp_path / "labels.csv"
    source.write_text("file_name,cat,dog\np0.jpg,1,0\np1.jpg,,1\n", encoding="utf-8")
    assert actions.import_labels(project.id, source).cells == 3
    assert actions.export_csv(project.id, tmp_path / "out.csv").cells == 3
    assert actions.export_coco(project.id, tmp_path / "out.json").cells == 3
    assert len(json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["images"]) == 12
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[1] == "p0.jpg,1,0"
    assert actions.status(project.id).counts.decided_images == 2


def test_the_deck_says_how_it_was_ordered(
    store: Store, actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    assert actions.deck(project.id, 5).strategy == "interleaved"
    assert len(actions.deck(project.id, 5).ids) == 5
    answer(pictures[0], cat)
    build(store, project, logits=np.zeros((12, 1)))
    assert actions.deck(project.id).strategy == "value"
    assert actions.deck(project.id, strategy="uncertain").strategy == "uncertain"
    only = actions.deck(project.id, category_id=cat.id)
    assert {question.category_id for question in only.questions} == {cat.id}
    with pytest.raises(NotFound):
        actions.deck(999)
    with pytest.raises(BadInput, match="no order"):
        actions.deck(project.id, strategy="best")


def test_a_grid_asks_one_category_over_many_pictures(
    actions: Actions, project: Project, cat: Category, pictures: list[Image], answer: Pen
) -> None:
    assert len(actions.grid(project.id, cat.id).cells) == 12
    answer(pictures[3], cat)
    found = actions.grid(project.id, cat.id, 5)
    assert len(found.cells) == 5 and found.category_id == cat.id
    assert pictures[3].id not in {cell.image_id for cell in found.cells}
    with pytest.raises(NotFound):
        actions.grid(999, cat.id)
    with pytest.raises(NotFound, match="no active category 999"):
        actions.grid(project.id, 999)
