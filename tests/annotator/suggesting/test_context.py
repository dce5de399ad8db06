"""A picture's own answers move its other candidates, at once and back again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotator.store import categories
from annotator.suggesting import LoadedGeneration, Suggester
from annotator.suggesting.candidates import HEARD
from dsrb_core.calibration import sigmoid
from tests.annotator.generation_builder import Built, build, decide
from tests.annotator.suggesting.conftest import World

HEARS = np.array([[0, 2, 0, 0], [0, 0, 0, 0], [0, -3, 0, 0], [0, 0, 0, 0]], np.float32)
BELIEVED = np.full((20, 4), -1.0)


@pytest.fixture
def related(world: World) -> World:
    """Category 0 goes with 1, category 2 against it; all learned. No neighbour has a say."""
    cells = [world.cell(i, k, 1 if (i + k) % 2 == 0 else -1) for i in range(8) for k in range(4)]
    decide(world.store, world.project, cells)
    return world


def published(world: World, **options: object) -> Built:
    options = {"context": HEARS, "believed": BELIEVED, "neighbour_weight": 0.0, **options}
    return build(world.store, world.project, **options)  # type: ignore[arg-type]


def test_an_answer_moves_the_other_candidates_of_its_picture_by_its_surprise(related: World) -> None:
    built = published(related)
    before, elsewhere = related.probabilities(15), related.probabilities(16)
    assert {one.basis for one in related.ask(15).suggestions} == {"model+neighbours"}
    decide(related.store, related.project, [related.cell(15, 1, 1)])
    after, surprised = related.probabilities(15), 1 - float(sigmoid(np.array(-1.0)))
    logits = built.logits[15].astype(float)
    assert (
        after[0] == pytest.approx(float(sigmoid(logits[0] + 2 * surprised)), abs=1e-5)
        and after[0] > before[0]
    )
    assert (
        after[2] == pytest.approx(float(sigmoid(logits[2] - 3 * surprised)), abs=1e-5)
        and after[2] < before[2]
    )
    assert after[3] == before[3]
    assert related.probabilities(16) == elsewhere
    bases = {related.place(one.category_id): one.basis for one in related.ask(15).suggestions}
    assert bases == {0: "model+neighbours+context", 2: "model+neighbours+context", 3: "model+neighbours"}
    model = {related.place(one.category_id): one.model_probability for one in related.ask(15).suggestions}
    assert model[0] == pytest.approx(before[0]), "the model's own word is not the context's"


def test_changing_and_taking_back_an_answer_moves_them_back(related: World) -> None:
    published(related)
    before = related.probabilities(15)
    decide(related.store, related.project, [related.cell(15, 1, 1)])
    yes = related.probabilities(15)
    decide(related.store, related.project, [related.cell(15, 1, -1)])
    no = related.probabilities(15)
    assert yes[0] > before[0] > no[0] and yes[2] < before[2] < no[2]
    for silent in (2, 0):  # unsure says nothing, and neither does a cleared cell
        decide(related.store, related.project, [related.cell(15, 1, silent)])
        assert {k: p for k, p in related.probabilities(15).items() if k != 1} == {
            k: p for k, p in before.items() if k != 1
        }


def test_what_was_expected_says_next_to_nothing_and_is_not_named(related: World) -> None:
    published(related, believed=np.full((20, 4), 6.0))
    before = related.probabilities(15)
    decide(related.store, related.project, [related.cell(15, 1, 1)])
    after = related.probabilities(15)
    assert after[0] == pytest.approx(before[0], abs=HEARD / 4) and after[0] != before[0]
    assert {one.basis for one in related.ask(15).suggestions} == {"model+neighbours"}


def test_the_answers_of_an_archived_category_are_not_heard(related: World) -> None:
    published(related)
    before = related.probabilities(15)
    decide(related.store, related.project, [related.cell(15, 1, 1)])
    related.store.write(lambda c: categories.archive(c, related.categories[1].id, now=1))
    assert related.probabilities(15) == {k: p for k, p in before.items() if k != 1}


def test_context_chooses_who_is_on_the_short_list(related: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotator.suggesting.suggester.SHORTLIST", 1)
    logits = np.zeros((20, 4))
    logits[:, 0], logits[:, 3] = 0.5, 1.0
    published(related, logits=logits)
    assert [related.place(one.category_id) for one in related.ask(15, limit=1).suggestions] == [3]
    decide(related.store, related.project, [related.cell(15, 1, 1)])
    assert [related.place(one.category_id) for one in related.ask(15, limit=1).suggestions] == [0]


def test_context_speaks_without_instances_too(related: World) -> None:
    published(related, with_instances=False)
    decide(related.store, related.project, [related.cell(15, 1, 1)])
    bases = {related.place(one.category_id): one.basis for one in related.ask(15).suggestions}
    assert bases == {0: "model+context", 2: "model+context", 3: "model"}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, -1, 2, 0])), min_size=1, max_size=8))
def test_only_the_answers_of_this_moment_count_not_the_way_there(
    related: World, answers: list[tuple[int, int]]
) -> None:
    with related.store.read() as c:
        generation, _ = related.suggester.generation(c, related.project.id)
    if generation is None:
        published(related)
    for category, state in answers:
        decide(related.store, related.project, [related.cell(15, category, state)])
        related.ask(15)
    fresh = Suggester(related.store, related.settings)
    with related.store.read() as c:
        assert fresh.for_image(c, related.project.id, related.ids[15], 12) == related.ask(15)


def test_right_after_a_training_the_page_says_what_was_written(related: World) -> None:
    """What is ordered by and what is shown are one number while nothing was decided since."""
    decide(related.store, related.project, [related.cell(15, 1, 1), related.cell(16, 1, -1)])
    built = published(related, neighbour_weight=0.7)
    loaded = LoadedGeneration(related.store.data_dir, built.record)
    for image in range(8, 20):
        for category, probability in related.probabilities(image).items():
            assert probability == pytest.approx(float(loaded.probabilities()[image, category]), abs=2e-3)
