"""Going back to an earlier generation: checked first, switched at once, noted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from annotator.actions import Actions
from annotator.api.app import create_app
from annotator.errors import ArtifactDamaged, Conflict, NotFound
from annotator.records import GenerationStatus, Image, JobStatus, Project
from annotator.settings import Settings
from annotator.store import Store, categories, deeds, generations, jobs, now_ms
from tests.annotator.generation_builder import Built, build, decide


@pytest.fixture
def built(store: Store, project: Project, add_images: Callable[..., list[Image]]) -> list[Built]:
    """Three generations, each after some answers more; the last one is current."""
    pictures = add_images(project, 8)
    made = store.write(lambda c: categories.add(c, project.id, "cat", now=now_ms()))
    found = []
    for number in range(3):
        decide(store, project, [(pictures[number].id, made.id, 1)], prefix=f"run{number}")
        found.append(build(store, project, seed=number))
    return found


@pytest.fixture
def actions(store: Store, settings: Settings) -> Actions:
    return Actions(store, settings)


def current(store: Store, project: Project) -> int:
    with store.read() as c:
        found = generations.current(c, project.id)
    assert found is not None
    return found.id


def served(actions: Actions, project: Project) -> int | None:
    with actions._store.read() as c:
        from annotator.store import images

        image = images.ids(c, project.id)[-1]
    return actions.item(project.id, image).suggested.generation_id


def test_a_chosen_generation_serves_from_the_next_question_on(
    actions: Actions, store: Store, project: Project, built: list[Built], user_id: int
) -> None:
    assert served(actions, project) == built[2].record.id
    made = actions.roll_back(project.id, built[0].record.id, user_id=user_id)
    assert (made.id, made.status) == (built[0].record.id, GenerationStatus.CURRENT)
    assert served(actions, project) == built[0].record.id
    with store.read() as c:
        assert generations.get(c, built[2].record.id).status is GenerationStatus.REJECTED
        (deed,) = deeds.latest(c, 5, project_id=project.id)
    assert (deed.user_id, deed.action) == (user_id, "use_generation")
    assert deed.detail == {"generation": built[0].record.id, "instead_of": built[2].record.id}


def test_without_a_number_it_is_the_one_before(
    actions: Actions, store: Store, project: Project, built: list[Built]
) -> None:
    assert actions.roll_back(project.id).id == built[1].record.id
    assert actions.roll_back(project.id).id == built[0].record.id
    with pytest.raises(NotFound, match="no earlier generation"):
        actions.roll_back(project.id)
    assert current(store, project) == built[0].record.id


def test_the_one_before_is_the_newest_that_is_intact(
    actions: Actions, project: Project, built: list[Built]
) -> None:
    (built[1].folder / "logits.npy").unlink()
    assert actions.roll_back(project.id).id == built[0].record.id


@pytest.mark.parametrize("name", ["manifest.json", "logits.npy", "index"])
def test_a_damaged_one_is_refused_and_nothing_changes(
    actions: Actions, store: Store, project: Project, built: list[Built], name: str
) -> None:
    path = built[0].folder / name
    path = next(iter(path.iterdir())) if path.is_dir() else path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactDamaged, match="cannot be used") as refused:
        actions.roll_back(project.id, built[0].record.id)
    assert str(store.data_dir) not in str(refused.value)
    assert current(store, project) == built[2].record.id
    with store.read() as c:
        assert deeds.latest(c, 5, project_id=project.id) == []


def test_the_current_a_removed_and_an_unknown_one_are_refused(
    actions: Actions, store: Store, project: Project, built: list[Built]
) -> None:
    store.write(lambda c: generations.mark_removed(c, built[0].record.id))
    with pytest.raises(Conflict, match="current one already"):
        actions.roll_back(project.id, built[2].record.id)
    with pytest.raises(Conflict, match="were removed"):
        actions.roll_back(project.id, built[0].record.id)
    with pytest.raises(NotFound, match="no generation 99"):
        actions.roll_back(project.id, 99)
    other = actions.create_project("other")
    with pytest.raises(NotFound, match=f"no generation {built[0].record.id}"):
        actions.roll_back(other.id, built[0].record.id)


def test_a_roll_back_starts_no_training_by_itself(
    actions: Actions, store: Store, project: Project, built: list[Built]
) -> None:
    """The answers since the older generation were tried by the rejected one's training."""
    store.write(lambda c: jobs.request(c, project.id, "retrain", wanted_seq=3, now=1))
    store.write(lambda c: jobs.claim(c, owner="w", lease_ms=10**9, now=2))
    store.write(
        lambda c: jobs.finish(
            c,
            jobs.active(c, project.id)[0].id,
            owner="w",
            status=JobStatus.DONE,
            message="",
            reached_seq=built[2].record.up_to_seq,
            now=3,
        )
    )
    actions.roll_back(project.id, built[0].record.id)
    assert actions.status(project.id).new_decisions == 0


def test_a_thousand_presses_make_one_running_and_one_waiting_job(
    actions: Actions, store: Store, project: Project, built: list[Built]
) -> None:
    """A-40: whoever presses again gets the job that is there."""
    answer_one(store, project, built, 5)
    first = {answer.job.id for answer in press(actions, project, 500) if answer.job}
    assert len(first) == 1
    store.write(lambda c: jobs.claim(c, owner="w", lease_ms=10**9, now=now_ms()))
    assert {answer.job.id for answer in press(actions, project, 250) if answer.job} == first
    answer_one(store, project, built, 6)
    second = {answer.job.id for answer in press(actions, project, 250) if answer.job}
    assert len(second) == 1 and second != first
    with store.read() as c:
        active = jobs.active(c, project.id)
    assert [(job.id, job.status) for job in active] == [
        (first.pop(), JobStatus.RUNNING),
        (second.pop(), JobStatus.QUEUED),
    ]


def answer_one(store: Store, project: Project, built: list[Built], row: int) -> None:
    frozen = built[0].frozen
    decide(store, project, [(int(frozen.image_ids[row]), int(frozen.category_ids[0]), 1)], prefix=f"row{row}")


def press(actions: Actions, project: Project, times: int):  # type: ignore[no-untyped-def]
    return [actions.retrain(project.id) for _ in range(times)]


def test_pressing_wakes_a_training_that_rests_after_a_crash(
    actions: Actions, store: Store, project: Project, built: list[Built]
) -> None:
    answer_one(store, project, built, 5)
    job = actions.retrain(project.id).job
    assert job is not None
    store.write(lambda c: jobs.claim(c, owner="w", lease_ms=10**9, now=now_ms()))
    store.write(lambda c: jobs.rest_after_crash(c, pauses_ms=(10**6,), now=now_ms()))
    assert store.write(lambda c: jobs.claim(c, owner="v", lease_ms=1, now=now_ms())) is None
    answer = actions.retrain(project.id)
    assert answer.job is not None and answer.job.id == job.id and "tried again now" in answer.message
    assert store.write(lambda c: jobs.claim(c, owner="v", lease_ms=1, now=now_ms())) is not None


def test_the_routes_list_and_switch(
    store: Store, settings: Settings, project: Project, built: list[Built]
) -> None:
    ids = [one.record.id for one in built]
    with TestClient(create_app(store, settings), base_url="http://localhost:7860") as client:
        home = f"/api/projects/{project.id}/generations"
        listed = client.get(home).json()
        assert [(one["id"], one["status"]) for one in listed] == [
            (ids[2], "current"),
            (ids[1], "retired"),
            (ids[0], "retired"),
        ]
        used = client.post(f"{home}/{ids[0]}/use")
        assert (used.status_code, used.json()["id"], used.json()["status"]) == (200, ids[0], "current")
        assert client.post(f"{home}/{ids[0]}/use").status_code == 409
        assert client.post(f"{home}/99/use").status_code == 404
        (built[1].folder / "logits.npy").unlink()
        refused = client.post(f"{home}/{ids[1]}/use")
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "artifact_damaged"
    assert current(store, project) == ids[0]
