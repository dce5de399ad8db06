"""Scores of cells, ties, rates, cold orders and the pace of a person, by themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotator.ordering import cold, strategies
from annotator.ordering.pace import Pace, measure, questions_since_blind
from annotator.ordering.ties import cell_hash
from annotator.store.decisions import GivenAnswer

probabilities = arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(0, 1, width=32)
)


def test_entropy_is_one_bit_at_one_half_and_nothing_at_certainty() -> None:
    assert strategies.uncertain(np.array([0.5, 0.0, 1.0])) == pytest.approx([1.0, 0.0, 0.0], abs=1e-4)


@settings(deadline=None)
@given(st.floats(0.5, 0.99))
def test_the_cost_of_not_asking_is_continuous_and_highest_at_the_wanted_precision(precision: float) -> None:
    p = np.linspace(0, 1, 2001)
    cost = strategies.expected_cost(p, precision)
    assert cost.min() >= 0 and cost[0] == 0 and cost[-1] == 0
    assert p[np.argmax(cost)] == pytest.approx(precision, abs=1e-3)
    below, above = strategies.expected_cost(np.array([precision - 1e-6, precision + 1e-6]), precision)
    assert below == pytest.approx(above, abs=1e-3)
    # Below the threshold a yes stays unfound, above it a no is taken for a yes.
    assert strategies.expected_cost(np.array([0.25]), precision)[0] == pytest.approx(0.25)


def test_a_precision_of_one_or_nothing_is_refused() -> None:
    for precision in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            strategies.expected_cost(np.array([0.5]), precision)


def test_disagreement_is_the_difference_of_probabilities() -> None:
    found = strategies.disagreement(np.log([4.0, 1.0]), np.log([0.25, 1.0]))
    assert found == pytest.approx([0.6, 0.0], abs=1e-6)


def test_coverage_is_the_gain_of_log_one_plus_positives() -> None:
    found = strategies.coverage(np.array([[0.5, 0.5]]), np.array([0, 9]))
    assert found[0] == pytest.approx([0.5 * np.log(2), 0.5 * np.log(11 / 10)], rel=1e-5)


@settings(deadline=None)
@given(probabilities, st.data())
def test_rank_is_the_sorted_list_of_open_cells(scores: np.ndarray, data: st.DataObject) -> None:
    open_mask = data.draw(arrays(np.bool_, scores.shape))
    limit = data.draw(st.integers(0, 12))
    ids, columns = np.arange(10, 10 + scores.shape[0]), np.arange(3, 3 + scores.shape[1])
    rows, cols = strategies.rank(scores, open_mask, image_ids=ids, category_ids=columns, seed=1, limit=limit)
    cells = [
        (-float(scores[i, k]), int(cell_hash(1, ids[i : i + 1], columns[k])[0]), i, k)
        for i, k in itertools.product(*map(range, scores.shape))
        if open_mask[i, k]
    ]
    assert list(zip(rows.tolist(), cols.tolist(), strict=True)) == [
        (i, k) for *_, i, k in sorted(cells)[:limit]
    ]


@settings(deadline=None)
@given(probabilities, st.integers(1, 6), st.floats(0.1, 5), st.floats(0.1, 5))
def test_the_rate_of_a_picture_is_that_of_its_best_set_of_cells(
    costs: np.ndarray, most: int, opening: float, per_cell: float
) -> None:
    found = strategies.rates(strategies.prefix_sums(costs, most), opening=opening, per_cell=per_cell)
    for row, rate in zip(costs.astype(float), found, strict=True):
        best = max(
            sum(chosen) / (opening + size * per_cell)
            for size in range(1, min(most, len(row)) + 1)
            for chosen in itertools.combinations(row, size)
        )
        assert rate == pytest.approx(best, rel=1e-4, abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 2**70), st.integers(1, 2**53), st.integers(1, 2**53))
def test_a_hash_depends_on_all_three_and_on_nothing_else(seed: int, image: int, category: int) -> None:
    one = cell_hash(seed, np.array([image]), category)
    assert one == cell_hash(seed, np.array([image, 5]), np.array([category, 5]))[:1]
    assert one != cell_hash(seed + 1, np.array([image]), category)
    assert one != cell_hash(seed, np.array([image + 1]), category)
    assert one != cell_hash(seed, np.array([image]), category + 1)


@settings(deadline=None)
@given(st.integers(0, 300))
def test_spreading_out_is_a_permutation_whose_prefixes_cover_evenly(count: int) -> None:
    spread = cold.interleaved(count).tolist()
    assert sorted(spread) == list(range(count))
    for prefix in (4, 16):
        if count >= 2 * prefix:
            assert np.diff(sorted(spread[:prefix])).max() <= 4 * count / prefix


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 5))
def test_a_diverse_order_is_a_permutation_that_repeats(count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    found = cold.then_rest(cold.k_means_plus_plus(vectors, seed=seed, picks=9), count)
    assert sorted(found.tolist()) == list(range(count))
    again = cold.then_rest(cold.k_means_plus_plus(vectors, seed=seed, picks=9), count)
    assert found.tolist() == again.tolist()


def test_equal_pictures_do_not_stop_a_diverse_order() -> None:
    first = cold.k_means_plus_plus(np.ones((9, 4), np.float32), seed=0)
    assert sorted(cold.then_rest(first, 9).tolist()) == list(range(9))


def test_an_outlier_is_not_among_the_first_as_it_is_farthest_first() -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(6, 16)) * 4
    vectors = np.repeat(centres, 200, axis=0) + rng.normal(size=(1200, 16)) * 0.3
    odd = rng.normal(size=(6, 16)) * 9
    vectors = np.concatenate([vectors, odd]).astype(np.float32)
    outliers, covered = [], []
    for seed in range(10):
        first = cold.k_means_plus_plus(vectors, seed=seed, picks=6)
        outliers.append((first >= 1200).sum())
        covered.append(len(set((first[first < 1200] // 200).tolist())))
    # Farthest-first takes odd pictures alone after the first; drawn by distance, most clusters come first.
    assert np.mean(outliers) < 2 and np.mean(covered) > 4


def given_answer(image: int, ms: int | None, mode: str = "image", **more: object) -> GivenAnswer:
    plain = GivenAnswer(1, image, "human", mode, ms, mode == "blind", False)
    return plain._replace(**more)


def test_the_pace_is_stated_until_twenty_answers_of_a_kind_are_there() -> None:
    answers = [given_answer(i, 900, "grid") for i in range(19)]
    assert measure(answers).measured == frozenset()
    assert measure(answers).grid == pytest.approx(Pace().grid, rel=0.06)
    found = measure([*answers, given_answer(50, 900, "grid")])
    assert found.measured == {"grid"} and found.grid == pytest.approx(0.9, rel=0.06)


def test_opening_a_picture_is_told_apart_from_its_cells_and_pauses_do_not_count() -> None:
    newest_last = [given_answer(image, 3000 if k == 0 else 1000) for image in range(30) for k in range(3)]
    newest_last[7] = given_answer(2, 10**9)
    newest_last += [given_answer(90, 50, source="group")] * 60 + [given_answer(91, 50, takes_back=True)] * 60
    found = measure(newest_last[::-1])
    assert found.cell == pytest.approx(1.0, rel=0.06) and found.opening == pytest.approx(2.0, rel=0.06)


def test_the_pace_is_that_of_the_person() -> None:
    answers = [given_answer(i, 500 * who, "blind", user_id=who) for i in range(40) for who in (1, 4)]
    assert measure(answers, 1).blind == pytest.approx(0.5, rel=0.06)
    assert measure(answers, 4).blind == pytest.approx(2.0, rel=0.06)


def test_questions_since_the_last_blind_one_are_pictures_not_cells() -> None:
    newest_last = [
        given_answer(1, 9),
        given_answer(2, 9, "blind"),
        *[given_answer(i // 3, 9) for i in range(9)],
    ]
    newest_last += [given_answer(70, None, source="imported"), given_answer(71, 9, "grid")]
    assert questions_since_blind(newest_last[::-1]) == 3
    assert questions_since_blind(newest_last[::-1], user_id=9) == 0
