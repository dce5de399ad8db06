"""The proposed mode, and what a board keeps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.ordering import proposals, strategies
from annotator.ordering.board import Board
from annotator.ordering.cells import Cells
from annotator.ordering.pace import Pace
from annotator.ordering.ties import cell_hash
from annotator.suggesting import ProjectStates
from tests.annotator.generation_builder import build
from tests.annotator.ordering.conftest import Desk

MakeDesk = Callable[[int], Desk]


def trained(desk: Desk, p: np.ndarray) -> None:
    desk.decide(*[(0, k, 1) for k in range(len(desk.categories))])
    build(desk.store, desk.project, logits=np.log(p / (1 - p)), with_instances=False)


def test_many_likely_cells_of_one_category_are_a_grid(make_desk: MakeDesk) -> None:
    desk = make_desk(50)
    p = np.full((50, 3), 0.02)
    p[:, 2] = 0.75
    trained(desk, p)
    found = desk.deck().proposal
    assert found is not None and found.mode == "grid" and found.category_id == desk.categories[2].id
    assert found.cells == 36
    assert found.seconds == pytest.approx(36 * 0.6 + 1, rel=0.1)
    assert found.words.startswith(f"Grid of 36 × boat: about {round(found.seconds)} s (typical")
    assert "about 27 yes expected" in found.words


def test_one_picture_with_much_to_ask_is_a_picture(desk: Desk) -> None:
    p = np.full((16, 3), 0.01)
    p[5] = 0.9
    trained(desk, p)
    found = desk.deck().proposal
    assert found is not None and found.mode == "image" and found.category_id is None
    assert found.cells == 3 and "3 answers" in found.words


def test_a_person_quick_in_pictures_is_not_sent_to_the_grid(make_desk: MakeDesk) -> None:
    desk = make_desk(50)
    p = np.full((50, 3), 0.02)
    p[:, 2] = 0.75
    p[:, 1] = 0.7
    trained(desk, p)
    assert desk.deck().proposal.mode == "grid"
    for place in range(40, 50):
        for _ in range(5):
            desk.decide((place, 0, -1), shown_ms=60)
    desk.decide(*[(place, 0, -1) for place in range(10, 40)], mode="grid", shown_ms=5000)
    found = desk.deck().proposal
    assert found.mode == "image" and "typical" not in found.words


def test_no_proposal_without_a_model_or_in_an_order_of_ones_own(desk: Desk) -> None:
    assert desk.deck().proposal is None
    trained(desk, np.full((16, 3), 0.5))
    assert desk.deck(strategy="likely").proposal is None


def test_a_grid_follows_the_answers_and_is_read_anew_when_its_cells_are_used_up(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "KEPT", 8)
    monkeypatch.setattr(proposals, "GRID", 4)
    desk = make_desk(20)
    p = np.full((20, 3), 0.01)
    p[:, 0] = np.linspace(0.3, 0.9, 20)
    trained(desk, p)
    for place in range(19, 4, -1):
        found = desk.deck().proposal
        assert found.mode == "grid" and found.cells == 4
        expected = p[place - 3 : place + 1, 0].sum()
        assert f"about {expected:.0f} yes" in found.words
        desk.decide((place, 0, 1))


class Answers(ProjectStates):
    """Decided cells without a database."""

    def say(self, image_id: int, category_id: int, state: int) -> None:
        self._set(image_id, category_id, state)


@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(1, 3), st.booleans())
def test_a_board_gives_what_looking_at_everything_would(
    data: st.DataObject, most: int, plateau: bool
) -> None:
    """Random answers and take-backs in between, with many equal scores."""
    count, columns = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    table = rng.integers(0, 2 if plateau else 50, (count, columns)).astype(np.float32) / 50
    states = Answers(1)
    cells = Cells(
        image_ids=np.arange(1, count + 1), category_ids=tuple(range(1, columns + 1)), states=states, seed=2
    )
    cell = st.tuples(st.integers(1, count), st.integers(1, columns), st.sampled_from([1, -1, 2, 0]))
    for answer in data.draw(st.lists(cell, max_size=10)):
        states.say(*answer)
    board = Board(cells, lambda positions: table[positions], most=most)
    pace, limit = Pace(), data.draw(st.integers(1, 70))
    for answer in data.draw(st.lists(cell, max_size=30)):
        states.say(*answer)
    found = board.first(cells, limit, pace, board.changed(cells))
    assert list(zip(found.positions.tolist(), found.columns.tolist(), strict=True)) == reference(
        cells, table, most=min(most, columns), limit=limit, pace=pace
    )


def reference(cells: Cells, table: np.ndarray, *, most: int, limit: int, pace: Pace) -> list[tuple[int, int]]:
    made = []
    everything = np.arange(len(table))
    is_open = cells.open(everything)
    for position in everything.tolist():
        leads = [
            (-float(table[position, k]), int(cell_hash(2, cells.image_ids[[position]], k + 1)[0]), k)
            for k in range(table.shape[1])
            if is_open[position, k]
        ]
        if not leads:
            continue
        score, tie, column = min(leads)
        if most > 1:
            costs = np.where(is_open[position], table[position], 0)[None]
            sums = strategies.prefix_sums(costs, most)
            score = -float(strategies.rates(sums, opening=pace.opening, per_cell=pace.cell)[0])
        made.append((score, tie, position, column))
    return [(position, column) for *_, position, column in sorted(made)[:limit]]
