"""R-41: whatever is missing for a training, it ends with a sentence or a generation, never with a trace."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from annotator.records import CellState, JobStatus, NewDecision
from annotator.store import categories, images
from annotator.store.clock import now_ms
from annotator.suggesting import Suggester
from annotator.worker.loop import Worker
from tests.annotator.worker.drawn import CATEGORIES, Scenes
from tests.annotator.worker.driving import ANSWERED, current, decide, drain, first_training, last, retrain

YES, NO, UNSURE = CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE
NAMES = [f"{number:03d}.jpg" for number in range(40)]


def train(scenes: Scenes, worker: Worker) -> JobStatus:
    retrain(scenes)
    drain(worker)
    job = last(scenes)
    assert job.message and "Traceback" not in job.message and "Error" not in job.message
    return job.status


def all_yes(scenes: Scenes) -> None:
    decide(scenes, NAMES[:10], "red ball", YES)


def one_picture(scenes: Scenes) -> None:
    decide(scenes, NAMES[:1], "red ball", YES)
    decide(scenes, NAMES[:1], "blue box", NO)


def one_yes_in_every_category(scenes: Scenes) -> None:
    for place, name in enumerate(CATEGORIES):
        decide(scenes, NAMES[place : place + 1], name, YES)


def almost_everything_unknown(scenes: Scenes) -> None:
    decide(scenes, NAMES[:1], "red ball", YES)
    decide(scenes, NAMES[1:2], "red ball", NO)


def contradictory_people(scenes: Scenes) -> None:
    """Everybody says the opposite of the one before; the last word of each cell is drawn."""
    rng = np.random.default_rng(0)
    for name in CATEGORIES:
        for picture in NAMES[:12]:
            for state in (YES, NO)[:: 1 if rng.random() < 0.5 else -1]:
                decide(scenes, [picture], name, state)


def mostly_unsure(scenes: Scenes) -> None:
    decide(scenes, NAMES[:20], "red ball", UNSURE)
    decide(scenes, NAMES[20:22], "red ball", YES)


@pytest.mark.parametrize(
    "answers",
    [
        all_yes,
        one_picture,
        one_yes_in_every_category,
        almost_everything_unknown,
        contradictory_people,
        mostly_unsure,
    ],
    ids=lambda answers: answers.__name__,
)
def test_little_is_enough_for_a_generation_whose_numbers_are_sound(
    scenes: Scenes, worker: Worker, answers: Callable[[Scenes], None]
) -> None:
    answers(scenes)
    assert train(scenes, worker) is JobStatus.DONE, last(scenes).message
    made = current(scenes)
    assert made is not None
    folder = scenes.settings.data_dir / made.folder
    for path in folder.glob("*.npy"):
        array = np.load(path)
        assert array.dtype.kind != "f" or np.isfinite(array).all(), path.name
    json.dumps(made.metrics, allow_nan=False)
    suggester = Suggester(scenes.store, scenes.settings)
    with scenes.store.read() as c:
        for image in images.ids(c, scenes.project.id):
            found = suggester.for_image(c, scenes.project.id, image, 12)
            assert all(0 <= one.probability <= 1 for one in found.suggestions)


def test_a_category_without_a_yes_gets_no_suggestion_and_is_not_measured(
    scenes: Scenes, worker: Worker
) -> None:
    scenes.answer(ANSWERED, ("red ball",))
    decide(scenes, NAMES[:10], "blue box", NO)
    assert train(scenes, worker) is JobStatus.DONE
    without = {scenes.category_ids()[name] for name in ("blue box", "green bar")}
    suggester = Suggester(scenes.store, scenes.settings)
    with scenes.store.read() as c:
        unanswered = images.name_map(c, scenes.project.id)[NAMES[-1]]
        found = suggester.for_image(c, scenes.project.id, unanswered, 12)
    assert without.isdisjoint({one.category_id for one in found.suggestions})


@pytest.mark.parametrize(
    ("state", "sentence"), [(UNSURE, "Nothing is decided yet"), (CellState.UNKNOWN, "Nothing is decided yet")]
)
def test_answers_that_say_nothing_end_in_a_sentence(
    scenes: Scenes, worker: Worker, state: CellState, sentence: str
) -> None:
    decide(scenes, NAMES[:5], "red ball", YES)
    decide(scenes, NAMES[:5], "red ball", state)
    assert train(scenes, worker) is JobStatus.FAILED
    assert sentence in last(scenes).message and current(scenes) is None


def test_taking_every_answer_back_keeps_the_generation_that_serves(scenes: Scenes, worker: Worker) -> None:
    before = first_training(scenes, worker)
    for name in CATEGORIES:
        decide(scenes, ANSWERED, name, CellState.UNKNOWN)
    assert train(scenes, worker) is JobStatus.FAILED
    assert current(scenes) == before


def test_hundreds_of_categories_with_one_yes_each(scenes: Scenes, worker: Worker) -> None:
    count = 200
    names = [f"rare {number}" for number in range(count)]
    scenes.store.write(lambda c: categories.ensure(c, scenes.project.id, names, now=now_ms()))
    with scenes.store.read() as c:
        ids = images.ids(c, scenes.project.id)
    columns = scenes.category_ids()
    scenes.decide(
        [
            NewDecision(
                op_id=f"rare-{place}-0", image_id=ids[place % 40], category_id=columns[name], state=YES
            )
            for place, name in enumerate(names)
        ]
    )
    assert train(scenes, worker) is JobStatus.DONE, last(scenes).message
    assert "and others" in last(scenes).message and len(last(scenes).message) < 400
