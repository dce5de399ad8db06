"""Suggestions from a generation: real files, real indexes, current states."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from annotator.errors import ArtifactDamaged, NotFound
from annotator.records import CellState
from annotator.store import categories
from annotator.suggesting import LoadedGeneration, Suggester
from annotator.suggesting.neighbours import CategoryIndexes
from dsrb_core.calibration import neighbour_logit
from tests.annotator.generation_builder import DIM, GRID, build, decide, unit
from tests.annotator.suggesting.conftest import World


@pytest.fixture
def labelled(world: World) -> World:
    """Ten pictures decided for categories 0 and 1; category 2 has one yes; category 3 nothing."""
    cells = [world.cell(i, k, 1 if (i + k) % 2 == 0 else -1) for i in range(10) for k in (0, 1)]
    decide(world.store, world.project, [*cells, world.cell(0, 2, 1)])
    return world


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


def test_probability_is_the_combiner_over_model_and_current_neighbours(labelled: World) -> None:
    built = build(labelled.store, labelled.project)
    suggestion = next(s for s in labelled.ask(15).suggestions if labelled.place(s.category_id) == 0)
    own = built.instances[15, 0].astype(np.float32)
    similar = built.instances[:10, 0].astype(np.float32) @ own
    states = np.array([1 if i % 2 == 0 else -1 for i in range(10)])
    vote = neighbour_logit(similar, states, prior=built.combiner.prior[0], temperature=0.1, strength=1.0)
    expected = built.combiner.probability(0, float(built.logits[15, 0]), vote)
    assert suggestion.probability == pytest.approx(float(expected), abs=1e-5)
    assert suggestion.neighbour_logit == pytest.approx(vote, abs=1e-4)
    assert suggestion.model_probability == pytest.approx(
        float(built.combiner.probability(0, float(built.logits[15, 0]))), abs=1e-6
    )
    assert suggestion.basis == "model+neighbours"
    assert suggestion.known == 10


def test_the_list_is_ranked_and_carries_the_generation(labelled: World) -> None:
    built = build(labelled.store, labelled.project)
    answer = labelled.ask(15)
    found = [one.probability for one in answer.suggestions]
    assert found == sorted(found, reverse=True)
    assert answer.generation_id == built.record.id
    assert answer.note == ""
    assert {labelled.place(one.category_id) for one in answer.suggestions} == {0, 1, 2}


def test_evidence_is_the_nearest_of_both_states_as_this_category(labelled: World) -> None:
    built = build(labelled.store, labelled.project)
    for suggestion in labelled.ask(15).suggestions:
        column = labelled.place(suggestion.category_id)
        own = built.instances[15, column].astype(np.float32)
        similar = built.instances[:, column].astype(np.float32) @ own
        for state in (CellState.POSITIVE, CellState.NEGATIVE):
            decided = np.nonzero(built.frozen.labels[:, column] == int(state))[0]
            expected = decided[np.argsort(-similar[decided])][:3]
            shown = [one for one in suggestion.evidence if one.state is state]
            assert [one.image_id for one in shown] == [labelled.ids[i] for i in expected]
            assert [one.similarity for one in shown] == pytest.approx(similar[expected].tolist(), abs=1e-3)


def test_rare_positives_are_found_behind_many_nearer_negatives(world: World) -> None:
    cells = [world.cell(i, 0, -1) for i in range(15)] + [world.cell(15, 0, 1), world.cell(16, 0, 1)]
    decide(world.store, world.project, cells)
    instances = np.zeros((20, 4, DIM))
    instances[:, :, 0] = 1
    instances[15:17, :, 0], instances[15:17, :, 1] = -1, 0.1
    build(world.store, world.project, instances=instances)
    (suggestion,) = world.ask(19).suggestions
    yes = {one.image_id for one in suggestion.evidence if one.state is CellState.POSITIVE}
    assert yes == {world.ids[15], world.ids[16]}


def test_new_decisions_join_their_category_at_once(labelled: World) -> None:
    same = np.random.default_rng(1).normal(size=(20, 4, DIM))
    same[12] = same[15]  # picture 12 looks exactly like picture 15 as every category
    build(labelled.store, labelled.project, instances=same)
    before = labelled.probabilities(15)[0]
    decide(labelled.store, labelled.project, [labelled.cell(12, 0, 1)])
    after = labelled.ask(15)
    suggestion = next(s for s in after.suggestions if labelled.place(s.category_id) == 0)
    assert suggestion.probability > before + 0.05
    assert suggestion.evidence[0].image_id == labelled.ids[12]
    assert suggestion.evidence[0].similarity == pytest.approx(1.0, abs=1e-3)
    decide(labelled.store, labelled.project, [labelled.cell(12, 0, -1)])
    assert labelled.probabilities(15)[0] < before
    decide(labelled.store, labelled.project, [labelled.cell(12, 0, 0)])
    assert labelled.probabilities(15)[0] == pytest.approx(before, abs=1e-6)


def test_neighbours_speak_with_their_state_of_now_not_of_the_snapshot(labelled: World) -> None:
    build(labelled.store, labelled.project)
    asked = labelled.ask(15)
    assert asked.suggestions
    decide(labelled.store, labelled.project, [labelled.cell(i, 0, -1) for i in range(0, 9, 2)])
    decide(labelled.store, labelled.project, [labelled.cell(9, 0, 2), labelled.cell(14, 0, 1)])
    suggestion = next(s for s in labelled.ask(15).suggestions if labelled.place(s.category_id) == 0)
    states = {labelled.ids.index(one.image_id): one.state for one in suggestion.evidence}
    assert states.pop(14) is CellState.POSITIVE
    assert set(states.values()) == {CellState.NEGATIVE}
    assert 9 not in states


@pytest.mark.parametrize("fresh", [False, True])
def test_changes_made_before_the_index_is_loaded_count_as_well(labelled: World, fresh: bool) -> None:
    build(labelled.store, labelled.project)
    if not fresh:
        labelled.ask(15)
    decide(labelled.store, labelled.project, [labelled.cell(0, 0, 0), labelled.cell(11, 0, 1)])
    suggestion = next(s for s in labelled.ask(15).suggestions if labelled.place(s.category_id) == 0)
    shown = {labelled.ids.index(one.image_id) for one in suggestion.evidence}
    assert 0 not in shown
    assert suggestion.known == 10


def test_the_image_itself_is_never_its_own_neighbour(labelled: World) -> None:
    build(labelled.store, labelled.project)
    for suggestion in labelled.ask(0).suggestions:
        assert labelled.ids[0] not in {one.image_id for one in suggestion.evidence}
    decide(labelled.store, labelled.project, [labelled.cell(0, 0, 0)])
    suggestion = next(s for s in labelled.ask(0).suggestions if labelled.place(s.category_id) == 0)
    assert labelled.ids[0] not in {one.image_id for one in suggestion.evidence}


def test_categories_are_found_by_id_when_one_is_archived_or_moved(labelled: World) -> None:
    build(labelled.store, labelled.project)
    before = labelled.probabilities(15)
    labelled.store.write(lambda c: categories.archive(c, labelled.categories[0].id, now=1))
    after = labelled.probabilities(15)
    assert after == {k: p for k, p in before.items() if k != 0}


def test_a_new_generation_replaces_the_old_one_on_the_next_question(labelled: World) -> None:
    first = build(labelled.store, labelled.project, seed=1)
    old = labelled.ask(15)
    second = build(labelled.store, labelled.project, seed=2)
    new = labelled.ask(15)
    assert (old.generation_id, new.generation_id) == (first.record.id, second.record.id)
    assert [s.probability for s in old.suggestions] != [s.probability for s in new.suggestions]
    with labelled.store.read() as c:
        fresh = type(labelled.suggester)(labelled.store, labelled.settings)
        assert fresh.for_image(c, labelled.project.id, labelled.ids[15], 12) == new


@pytest.mark.parametrize(
    "name", ["manifest.json", "logits.npy", "combiner.json", "image_ids.npy", "instances.npy"]
)
@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_a_damaged_generation_is_named_logged_once_and_not_used(
    labelled: World, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    built = build(labelled.store, labelled.project)
    if how == "flipped":
        damage(built.folder / name)
    else:
        (built.folder / name).unlink()
    with caplog.at_level(logging.ERROR):
        answers = [labelled.ask(15), labelled.ask(16)]
    for answer in answers:
        assert name in answer.note and "similar pictures" in answer.note
        assert {one.basis for one in answer.suggestions} == {"prior"}
        assert answer.generation_id is None
    assert caplog.text.count(name) == 1
    build(labelled.store, labelled.project)
    assert labelled.ask(15).suggestions[0].basis == "model+neighbours"
    assert labelled.ask(15).note == ""


@pytest.mark.parametrize("state", ["positive", "negative"])
@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_a_damaged_index_is_built_again_from_the_store_and_logged_once(
    labelled: World, caplog: pytest.LogCaptureFixture, state: str, how: str
) -> None:
    built = build(labelled.store, labelled.project)
    sound = labelled.ask(15)
    labelled.suggester = Suggester(labelled.store, labelled.settings)
    path = built.folder / "index" / f"{labelled.categories[0].id}.{state}.faiss"
    if how == "flipped":
        damage(path)
    else:
        path.unlink()
    with caplog.at_level(logging.ERROR):
        assert labelled.ask(15) == sound
        labelled.ask(16)
    assert caplog.text.count(f"index/{path.name}") == 1
    assert "built again" in caplog.text
    # What was built again follows the answers like any other.
    decide(labelled.store, labelled.project, [labelled.cell(0, 0, -1), labelled.cell(12, 0, 1)])
    suggestion = next(s for s in labelled.ask(15).suggestions if labelled.place(s.category_id) == 0)
    fresh = Suggester(labelled.store, labelled.settings)
    with labelled.store.read() as c:
        assert fresh.for_image(c, labelled.project.id, labelled.ids[15], 12) == labelled.ask(15)
    assert {one.image_id: one.state for one in suggestion.evidence}.get(
        labelled.ids[0], CellState.NEGATIVE
    ) is CellState.NEGATIVE


def test_a_generation_of_an_older_version_is_named_and_not_used(
    labelled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("annotator.artifacts.FORMAT", 1)
        built = build(labelled.store, labelled.project)
    answer = labelled.ask(15)
    assert f"Generation {built.record.id} was written by an older version" in answer.note
    assert "the next training replaces it" in answer.note
    assert answer.generation_id is None and {one.basis for one in answer.suggestions} == {"prior"}
    build(labelled.store, labelled.project)
    assert labelled.ask(15).note == ""


def test_without_instance_features_the_model_speaks_alone_and_says_so(labelled: World) -> None:
    built = build(labelled.store, labelled.project, with_instances=False)
    suggestion = labelled.ask(15).suggestions[0]
    column = labelled.place(suggestion.category_id)
    assert suggestion.basis == "model"
    assert suggestion.evidence == ()
    assert suggestion.probability == pytest.approx(
        float(built.combiner.probability(column, float(built.logits[15, column]))), abs=1e-6
    )


def test_attention_is_the_stored_map_and_refusals_say_why(labelled: World) -> None:
    def attention(image_id: int, category: int) -> tuple[int, np.ndarray]:
        with labelled.store.read() as c:
            return labelled.suggester.attention(
                c, labelled.project.id, image_id, labelled.categories[category].id
            )

    with pytest.raises(NotFound, match="no trained generation yet"):
        attention(labelled.ids[3], 1)
    built = build(labelled.store, labelled.project)
    number, values = attention(labelled.ids[3], 1)
    assert number == built.record.id
    assert (values == built.attention[3, 1].reshape(GRID)).all()
    with pytest.raises(NotFound, match="not learned category"):
        attention(labelled.ids[3], 3)
    with pytest.raises(NotFound, match="came after generation"):
        attention(labelled.ids[-1] + 1, 1)
    build(labelled.store, labelled.project, with_instances=False)
    with pytest.raises(NotFound, match="size limit"):
        attention(labelled.ids[3], 1)


def test_rows_are_found_by_id_and_strangers_have_none(labelled: World) -> None:
    built = build(labelled.store, labelled.project)
    loaded = LoadedGeneration(labelled.store.data_dir, built.record)
    ids = [labelled.ids[4], 10_000, 0, labelled.ids[-1]]
    assert loaded.rows(np.array(ids)).tolist() == [4, -1, -1, 19]
    assert [loaded.row(i) for i in ids] == [4, None, None, 19]
    assert loaded.column(labelled.categories[3].id) is None


@pytest.mark.parametrize("name", ["logits", "probabilities", "votes", "instances", "believed", "context"])
def test_arrays_of_another_shape_are_refused(labelled: World, name: str) -> None:
    wrong = {f"{name}.npy": np.zeros((19, 4), np.float16)}
    built = build(labelled.store, labelled.project, context=np.zeros((4, 4)), files=wrong)
    with pytest.raises(ArtifactDamaged, match=rf"{name}\.npy has shape \(19, 4\)"):
        LoadedGeneration(labelled.store.data_dir, built.record)


def test_context_without_what_was_believed_is_refused(labelled: World) -> None:
    built = build(labelled.store, labelled.project, files={"context.npy": np.zeros((4, 4), np.float32)})
    with pytest.raises(ArtifactDamaged, match=r"of context\.npy and believed\.npy one is missing"):
        LoadedGeneration(labelled.store.data_dir, built.record)


def test_the_arrays_are_offered_as_they_were_written(labelled: World) -> None:
    built = build(labelled.store, labelled.project)
    loaded = LoadedGeneration(labelled.store.data_dir, built.record)
    assert isinstance(loaded.probabilities(), np.memmap) and isinstance(loaded.logits(), np.memmap)
    assert np.array_equal(loaded.probabilities(), built.probabilities)
    assert np.array_equal(loaded.votes(), built.votes)
    assert np.array_equal(loaded.logits(), built.logits)
    bare = build(labelled.store, labelled.project, with_instances=False)
    assert LoadedGeneration(labelled.store.data_dir, bare.record).votes() is None


def test_only_so_many_indexes_stay_in_memory(labelled: World) -> None:
    built = build(labelled.store, labelled.project)
    loaded = LoadedGeneration(labelled.store.data_dir, built.record)
    with labelled.store.read() as c:
        indexes = CategoryIndexes(loaded, labelled.suggester.states(c, labelled.project.id), limit=2)
    for column in (0, 1, 2, 0):
        assert indexes.of(labelled.categories[column].id, column) is not None
    assert len(indexes._loaded) == 2


def test_questions_and_answers_from_many_threads_agree_in_the_end(labelled: World) -> None:
    build(labelled.store, labelled.project)
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(15):
                image, category = int(rng.integers(10, 20)), int(rng.integers(0, 3))
                cell = labelled.cell(image, category, int(rng.choice([1, -1, 2, 0])))
                decide(labelled.store, labelled.project, [cell], prefix=f"t{seed}-{rng.integers(1 << 40)}")
                labelled.ask(int(rng.integers(0, 20)))
        except BaseException as error:  # noqa: BLE001  handed to the test
            failed.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    fresh = type(labelled.suggester)(labelled.store, labelled.settings)
    with labelled.store.read() as c:
        for image in labelled.ids:
            expected = fresh.for_image(c, labelled.project.id, image, 12)
            found = labelled.suggester.for_image(c, labelled.project.id, image, 12)
            assert [s.category_id for s in found.suggestions] == [s.category_id for s in expected.suggestions]
            for one, two in zip(found.suggestions, expected.suggestions, strict=True):
                assert one.probability == pytest.approx(two.probability, abs=1e-6)
                assert set(one.evidence) == set(two.evidence)


def test_unit_vectors_are_unit() -> None:
    assert np.linalg.norm(unit(np.ones((3, 4))), axis=-1) == pytest.approx(1.0)


def test_asking_takes_milliseconds_even_while_answers_come_in(labelled: World) -> None:
    build(labelled.store, labelled.project)
    labelled.ask(15)
    took = []
    for number in range(40):
        decide(
            labelled.store,
            labelled.project,
            [labelled.cell(10 + number % 5, number % 3, 1)],
            prefix=f"n{number:05d}",
        )
        start = time.perf_counter()
        labelled.ask(15)
        took.append(time.perf_counter() - start)
    assert np.median(took) < 0.05
