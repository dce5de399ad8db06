from __future__ import annotations

from dataclasses import replace

import pytest

from annotator.actions import Actions
from annotator.records import CellState, JobStatus, NewDecision
from annotator.settings import Settings
from annotator.snapshotting import freeze
from annotator.store import Store, images, jobs, users
from annotator.store.clock import now_ms
from annotator.worker.triggers import Triggers
from tests.annotator.worker.drawn import Scenes


@pytest.fixture
def eager(settings: Settings) -> Settings:
    return settings.model_copy(update={"retrain_every": 6, "retrain_minutes": 5.0})


def kinds(triggers: Triggers, now: int | None = None) -> list[str]:
    return [job.kind for job in triggers.fire(now)]


def end(store: Store, kind: str, project_id: int, *, reached: int) -> None:
    """Claim and finish jobs until the one of this kind is done."""

    def work(c):  # type: ignore[no-untyped-def]
        while job := jobs.claim(c, owner="w", lease_ms=1000, now=now_ms()):
            jobs.finish(
                c, job.id, owner="w", status=JobStatus.DONE, message="", reached_seq=reached, now=now_ms()
            )

    store.write(work)


def test_new_pictures_ask_for_features_once(scenes: Scenes, eager: Settings) -> None:
    end(scenes.store, "features", scenes.project.id, reached=0)
    triggers = Triggers(scenes.store, eager)
    assert kinds(triggers) == ["features"]
    end(scenes.store, "features", scenes.project.id, reached=0)
    assert kinds(triggers) == []


def test_a_project_that_was_put_away_and_is_back_asks_for_the_features_that_were_cancelled(
    scenes: Scenes, eager: Settings
) -> None:
    owner = scenes.store.write(lambda c: users.owner(c, now=1))
    triggers, membership = Triggers(scenes.store, eager), Actions(scenes.store, eager).membership
    triggers.fire()
    membership.archive(owner, scenes.project.id, scenes.project.name)
    assert kinds(triggers) == []
    membership.restore(owner, scenes.project.id)
    assert kinds(triggers) == ["features"]


def test_training_starts_with_the_nth_new_decision_and_not_before(scenes: Scenes, eager: Settings) -> None:
    triggers = Triggers(scenes.store, eager)
    triggers.fire()
    scenes.answer(["000.jpg"], ("red ball", "blue box", "green bar"))
    scenes.decide([positive(scenes, "001.jpg", "red ball")])
    assert "retrain" not in kinds(triggers)
    scenes.answer(["002.jpg"], ("red ball", "blue box"))
    assert "retrain" in kinds(triggers)
    assert "retrain" not in kinds(triggers), "a second firing doubles nothing"


def positive(scenes: Scenes, name: str, category: str) -> NewDecision:
    with scenes.store.read() as c:
        image_id = images.name_map(c, scenes.project.id)[name]
    return NewDecision(
        op_id=f"yes-{name}-{category}",
        image_id=image_id,
        category_id=scenes.category_ids()[category],
        state=CellState.POSITIVE,
    )


def test_one_new_decision_is_enough_after_the_minutes(scenes: Scenes, eager: Settings) -> None:
    triggers = Triggers(scenes.store, eager)
    triggers.fire()
    scenes.decide([positive(scenes, "000.jpg", "red ball")])
    assert "retrain" not in kinds(triggers)
    assert "retrain" in kinds(triggers, now_ms() + 6 * 60_000)


def test_nothing_new_starts_nothing_however_long_it_waits(scenes: Scenes, eager: Settings) -> None:
    triggers = Triggers(scenes.store, eager)
    triggers.fire()
    seq_after = scenes.answer([f"{n:03d}.jpg" for n in range(4)])
    assert "retrain" in kinds(triggers)
    end(scenes.store, "retrain", scenes.project.id, reached=seq_after)
    assert kinds(triggers, now_ms() + 10**9) == []


def test_only_negatives_start_no_training_by_themselves(scenes: Scenes, eager: Settings) -> None:
    triggers = Triggers(scenes.store, eager)
    triggers.fire()
    absent = [(n, k) for n, drawn in scenes.truth.items() for k in scenes.category_ids() if k not in drawn]
    for name, category in absent[:8]:
        scenes.answer([name], (category,))
    assert "retrain" not in kinds(triggers, now_ms() + 10**9)


def test_an_answer_that_was_taken_back_is_not_trained_on_for_ever(scenes: Scenes, eager: Settings) -> None:
    """What the project holds is then what it held before, but everything up to now has been looked at."""
    triggers = Triggers(scenes.store, eager)
    triggers.fire()
    scenes.answer([f"{n:03d}.jpg" for n in range(4)])
    end(scenes.store, "retrain", scenes.project.id, reached=frozen_at(scenes))
    yes = positive(scenes, "009.jpg", "red ball")
    scenes.decide([yes])
    scenes.decide([replace(yes, op_id="undo", state=CellState.UNKNOWN, undo_of=yes.op_id)])
    later = now_ms() + 10**9
    assert "retrain" in kinds(triggers, later)
    end(scenes.store, "retrain", scenes.project.id, reached=frozen_at(scenes))
    assert kinds(triggers, 2 * later) == []


def frozen_at(scenes: Scenes) -> int:
    """What a training of now says it has reached."""
    return freeze(scenes.store, scenes.project.id).snapshot.up_to_seq


def test_a_training_that_ended_in_the_future_of_a_wrong_clock_does_not_stop_the_next(
    scenes: Scenes, eager: Settings
) -> None:
    triggers = Triggers(scenes.store, eager)
    triggers.fire()
    seq = scenes.answer(["000.jpg"])
    scenes.store.write(lambda c: jobs.request(c, scenes.project.id, "retrain", wanted_seq=seq, now=now_ms()))
    end(scenes.store, "retrain", scenes.project.id, reached=seq)
    scenes.decide([positive(scenes, "001.jpg", "red ball")])
    year = 365 * 86_400_000
    assert kinds(triggers, now_ms() - 60_000) == [], "a small correction is none"
    assert kinds(triggers, now_ms() - year) == ["retrain"]
