"""R-38, R-47: files that do not belong together are noticed before use; nothing mixed is ever shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from annotator.actions import Actions
from annotator.records import GenerationStatus, Job, JobStatus, Project
from annotator.settings import Settings
from annotator.store import Store, categories, generations, jobs, now_ms, projects
from annotator.suggesting import Suggester
from tests.annotator.generation_builder import DIM, Built, build, decide, unit
from tests.annotator.suggesting.conftest import World


@dataclass
class Two:
    """Two generations of one project, the second one current; another project has one too."""

    world: World
    first: Built
    second: Built
    foreign: Built

    def opened(self) -> Actions:
        """A server that has just started."""
        return Actions(self.world.store, self.world.settings)


@pytest.fixture
def two(world: World, store: Store, add_images: Callable[..., object]) -> Two:
    decide(store, world.project, [world.cell(n, c, 1 - 2 * (n % 2)) for n in range(8) for c in range(3)])
    first = build(store, world.project, seed=1)
    decide(store, world.project, [world.cell(n, 0, 1) for n in range(8, 12)], prefix="more")
    second = build(store, world.project, seed=2)
    other = store.write(lambda c: projects.create(c, "other", now=now_ms()))
    pictures = add_images(other, 20, prefix="q")
    made = store.write(lambda c: categories.add(c, other.id, "cow", now=now_ms()))
    decide(store, other, [(pictures[0].id, made.id, 1)], prefix="other")  # type: ignore[index]
    return Two(world, first, second, build(store, other, seed=3))


def write_array(path: Path, array: np.ndarray) -> None:
    np.save(path, array)


def other_dim(two: Two) -> None:
    write_array(two.second.folder / "instances.npy", np.ones((20, 4, DIM * 2), np.float16))


def label_map_of_another_project(two: Two) -> None:
    shutil.copy(two.foreign.folder / "category_ids.npy", two.second.folder / "category_ids.npy")


def images_of_another_project(two: Two) -> None:
    shutil.copy(two.foreign.folder / "image_ids.npy", two.second.folder / "image_ids.npy")


def scores_of_the_generation_before(two: Two) -> None:
    shutil.copy(two.first.folder / "logits.npy", two.second.folder / "logits.npy")


def truncated_scores(two: Two) -> None:
    path = two.second.folder / "logits.npy"
    path.write_bytes(path.read_bytes()[:-7])


def missing_scores(two: Two) -> None:
    (two.second.folder / "probabilities.npy").unlink()


def one_flipped_bit(two: Two) -> None:
    path = two.second.folder / "votes.npy"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


def edited_manifest(two: Two) -> None:
    path = two.second.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["categories"][0]["positives"] = 10**6
    path.write_text(json.dumps(manifest))


def no_manifest(two: Two) -> None:
    (two.second.folder / "manifest.json").unlink()


def no_folder(two: Two) -> None:
    shutil.rmtree(two.second.folder)


def folder_of_the_generation_before(two: Two) -> None:
    """Digests are right among themselves, and the row was made to agree: only the names inside are wrong."""
    shutil.rmtree(two.second.folder)
    shutil.copytree(two.first.folder, two.second.folder)
    digest = two.first.record.manifest_sha256
    two.world.store.write(
        lambda c: (
            c.exec_driver_sql(
                "UPDATE generation SET manifest_sha256 = ? WHERE id = ?", (digest, two.second.record.id)
            ).rowcount
        )
    )


DAMAGES = [
    other_dim,
    label_map_of_another_project,
    images_of_another_project,
    scores_of_the_generation_before,
    truncated_scores,
    missing_scores,
    one_flipped_bit,
    edited_manifest,
    no_manifest,
    no_folder,
    folder_of_the_generation_before,
]


def retrainings(two: Two) -> list[Job]:
    with two.world.store.read() as c:
        return [job for job in jobs.active(c, two.world.project.id) if job.kind == "retrain"]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_generation_is_noticed_and_the_last_good_one_serves(
    two: Two, damage: Callable[[Two], None]
) -> None:
    project, image = two.world.project.id, two.world.ids[15]
    intact = shown(two, two.first)
    damage(two)
    actions = two.opened()
    found = actions.item(project, image).suggested
    assert found.generation_id == two.first.record.id
    assert [(one.category_id, one.probability) for one in found.suggestions] == intact, (
        "all of one generation"
    )
    assert f"Generation {two.second.record.id}" in found.note
    assert f"come from generation {two.first.record.id} until the next training" in found.note
    assert str(two.world.settings.data_dir) not in found.note
    status = actions.status(project)
    assert status.problem == found.note
    assert status.generation is not None and status.generation.id == two.second.record.id
    (waiting,) = retrainings(two)
    assert waiting.status is JobStatus.QUEUED
    for _ in range(3):
        actions.item(project, image)
    assert [job.id for job in retrainings(two)] == [waiting.id]


def shown(two: Two, built: Built) -> list[tuple[int, float]]:
    """What a server shows that has this generation as the current one and its own answers."""
    current = two.second.record.id
    two.world.store.write(lambda c: generations.switch(c, two.world.project.id, built.record.id))
    found = two.opened().item(two.world.project.id, two.world.ids[15]).suggested
    two.world.store.write(lambda c: generations.switch(c, two.world.project.id, current))
    assert found.generation_id == built.record.id
    return [(one.category_id, one.probability) for one in found.suggestions]


def test_a_person_may_ask_for_the_training_too(two: Two) -> None:
    """There is nothing new to learn, but the same answers are worth training on again."""
    truncated_scores(two)
    answer = two.opened().retrain(two.world.project.id)
    assert answer.job is not None


def test_a_rejected_generation_is_never_fallen_back_to(two: Two) -> None:
    two.world.store.write(lambda c: generations.switch(c, two.world.project.id, two.first.record.id))
    with two.world.store.read() as c:
        assert generations.get(c, two.second.record.id).status is GenerationStatus.REJECTED
    (two.first.folder / "logits.npy").unlink()
    found = two.opened().item(two.world.project.id, two.world.ids[15]).suggested
    assert found.generation_id is None
    assert {one.basis for one in found.suggestions} <= {"neighbours", "prior"}
    assert "similar pictures until the next training" in found.note


def test_with_every_generation_damaged_there_is_no_model_but_an_answer(two: Two) -> None:
    for built in (two.first, two.second):
        shutil.rmtree(built.folder)
    found = two.opened().item(two.world.project.id, two.world.ids[15]).suggested
    assert found.generation_id is None and found.suggestions and "until the next training" in found.note
    assert len(retrainings(two)) == 1


@pytest.mark.parametrize("how", ["of the generation before", "missing", "truncated", "of another category"])
def test_a_damaged_index_is_built_again_from_this_generation_and_the_store(two: Two, how: str) -> None:
    project, image = two.world.project.id, two.world.ids[15]
    before = evidence(two.opened(), project, image)
    assert before
    category = two.world.categories[0].id
    for side in ("positive", "negative"):
        path = two.second.folder / "index" / f"{category}.{side}.faiss"
        if how == "of the generation before":
            shutil.copy(two.first.folder / "index" / path.name, path)
        elif how == "of another category":
            shutil.copy(path.with_name(f"{two.world.categories[1].id}.{side}.faiss"), path)
        elif how == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-9])
    actions = two.opened()
    assert evidence(actions, project, image) == before
    assert actions.item(project, image).suggested.generation_id == two.second.record.id


def evidence(actions: Actions, project: int, image: int) -> list[tuple[int, float, list[tuple[int, float]]]]:
    found = actions.item(project, image).suggested
    return [
        (
            one.category_id,
            round(one.probability, 6),
            [(near.image_id, round(near.similarity, 5)) for near in one.evidence],
        )
        for one in found.suggestions
    ]


def nothing_wrong(world: World) -> None:
    """Every id that is shown is a picture of the project with a decided cell, no number is odd."""
    suggester = Suggester(world.store, world.settings)
    for image in world.ids:
        with world.store.read() as c:
            found = suggester.for_image(c, world.project.id, image, 12)
        for one in found.suggestions:
            assert 0 <= one.probability <= 1
            assert all(near.image_id in world.ids and near.image_id != image for near in one.evidence)
            assert len({near.image_id for near in one.evidence}) == len(one.evidence)
            assert all(np.isfinite(near.similarity) for near in one.evidence)


@pytest.mark.parametrize("kind", ["nan", "zero", "equal"])
def test_odd_instance_vectors_never_reach_the_page(world: World, rng: np.random.Generator, kind: str) -> None:
    decide(
        world.store, world.project, [world.cell(n, c, 1 - 2 * (n % 2)) for n in range(8) for c in range(4)]
    )

    def change(vectors: np.ndarray) -> None:
        if kind == "nan":
            vectors[3] = np.nan
        elif kind == "zero":
            vectors[3] = 0
        else:
            vectors[:] = vectors[0]

    vectors = unit(rng.normal(size=(20, 4, DIM)))
    change(vectors)
    with np.errstate(invalid="ignore"):
        built = build(world.store, world.project, files={"instances.npy": vectors.astype(np.float16)})
    for path in (built.folder / "index").iterdir():
        path.unlink()  # so that they are built again from these vectors and the store
    nothing_wrong(world)


def test_one_decided_picture_and_fewer_than_k_are_enough(world: World) -> None:
    decide(world.store, world.project, [world.cell(0, 0, 1)])
    build(world.store, world.project)
    nothing_wrong(world)
    found = world.ask(5).suggestions
    assert [near.image_id for one in found for near in one.evidence] == [world.ids[0]]


def test_a_picture_whose_answer_was_taken_back_is_no_evidence_any_more(world: World) -> None:
    decide(world.store, world.project, [world.cell(n, 0, 1) for n in range(3)])
    build(world.store, world.project)
    assert {near.image_id for one in world.ask(5).suggestions for near in one.evidence} == set(world.ids[:3])
    decide(world.store, world.project, [world.cell(1, 0, 0)], prefix="clear")
    shown = {near.image_id for one in world.ask(5).suggestions for near in one.evidence}
    assert shown == {world.ids[0], world.ids[2]}
    nothing_wrong(world)


def test_a_project_of_its_own_is_not_disturbed(two: Two, project: Project, settings: Settings) -> None:
    """Damage in one project leaves the suggestions of the other alone."""
    truncated_scores(two)
    other = two.foreign.record.project_id
    with two.world.store.read() as c:
        generation, problem = Suggester(two.world.store, settings).generation(c, other)
    assert generation is not None and generation.id == two.foreign.record.id and problem == ""
