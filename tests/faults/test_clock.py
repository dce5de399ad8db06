"""R-26: the clock jumps; order comes from the server's own count, and nobody is signed out."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from annotator.actions import Actions
from annotator.records import CellState, Image, NewDecision, Project
from annotator.settings import Settings
from annotator.store import Store, categories, decisions, now_ms, sessions
from tests.conftest import NOW
from tests.faults.claims import Claims

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MONTH_MS = 30 * DAY_MS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the machine's clock to so many ms."""
    moment = [NOW]
    monkeypatch.setattr(time, "time_ns", lambda: moment[0] * 1_000_000)

    def set_to(value: int) -> None:
        moment[0] = value

    return set_to


def test_answers_keep_their_order_whatever_the_clock_does(
    store: Store,
    settings: Settings,
    project: Project,
    add_images: Callable[..., list[Image]],
    clock: Callable[[int], None],
    claim: Claims,
) -> None:
    shown = claim("R-26", "Answers keep the order in which the server took them when its clock jumps.")
    image = add_images(project, 1)[0].id
    category = store.write(lambda c: categories.add(c, project.id, "cat", now=now_ms())).id
    actions = Actions(store, settings)
    jumps = (0, DAY_MS, -DAY_MS, HOUR_MS, -HOUR_MS, 0, -400 * DAY_MS)
    states = [CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE]
    seqs = []
    for number, jump in enumerate(jumps):
        clock(NOW + jump)
        new = NewDecision(
            op_id=f"jump-{number}", image_id=image, category_id=category, state=states[number % 3]
        )
        (stored,), head = actions.decide(project.id, [new])
        assert stored.seq == head
        seqs.append(stored.seq)
        with store.read() as c:
            label = decisions.labels_of(c, [image])[image][category]
        assert (label.state, label.seq) == (states[number % 3], stored.seq)
    assert seqs == sorted(set(seqs))
    shown.done(len(jumps))


@pytest.mark.parametrize("jump", [HOUR_MS, DAY_MS, -HOUR_MS, -DAY_MS])
def test_a_jump_of_the_clock_signs_nobody_out(
    store: Store, user_id: int, clock: Callable[[int], None], jump: int
) -> None:
    token = store.write(lambda c: sessions.create(c, user_id, ttl_ms=MONTH_MS, now=now_ms()))
    clock(NOW + jump)
    with store.read() as c:
        assert sessions.find(c, token, now=now_ms()) == user_id
    other = store.write(lambda c: sessions.create(c, user_id, ttl_ms=MONTH_MS, now=now_ms()))
    with store.read() as c:
        assert sessions.find(c, token, now=now_ms()) == sessions.find(c, other, now=now_ms()) == user_id
