"""Calibration: finite and monotone whatever the data, right where the answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from dsrb_core.calibration import (
    Combiner,
    category_prior,
    choose_neighbour_settings,
    expected_calibration_error,
    fit_combiner,
    logit,
    neighbour_logit,
    neighbour_logits,
    sigmoid,
)
from dsrb_core.mixing import VOTE
from dsrb_core.platt import LOWER, NEUTRAL, fit_curve, newton

SETTINGS = {"prior": 0.2, "temperature": 0.1, "strength": 1.0}


def say(similarities: list[float], states: list[int], **changed: float) -> float:
    return neighbour_logit(np.array(similarities), np.array(states, np.int64), **(SETTINGS | changed))


def test_without_neighbours_the_prior_speaks() -> None:
    assert say([], []) == pytest.approx(float(np.log(0.2 / 0.8)))


def test_unknown_and_unsure_neighbours_and_missing_ones_count_for_nothing() -> None:
    assert say([0.9, 0.99, 0.95, -np.inf], [1, 2, 0, 1]) == say([0.9], [1])


def test_an_identical_positive_counts_as_much_as_the_prior_of_strength_one() -> None:
    assert sigmoid(np.array(say([1.0], [1]))) == pytest.approx((1 + 0.2) / 2)


def test_a_nearer_neighbour_says_more() -> None:
    assert say([], []) < say([0.5], [1]) < say([0.8], [1]) < say([0.99], [1])
    assert say([], []) > say([0.5], [-1]) > say([0.99], [-1])


@settings(max_examples=80, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(-1e6, 1e6), st.sampled_from([-1, 0, 1, 2])), max_size=8),
    prior=st.floats(0, 1),
    temperature=st.floats(1e-6, 1e3),
    strength=st.floats(1e-6, 1e3),
)
def test_neighbour_logits_are_finite_and_one_more_positive_never_lowers_them(
    pairs: list[tuple[float, int]], prior: float, temperature: float, strength: float
) -> None:
    given_settings = {"prior": prior, "temperature": temperature, "strength": strength}
    near, states = [p[0] for p in pairs], [p[1] for p in pairs]
    before = say(near, states, **given_settings)
    assert np.isfinite(before)
    assert say([*near, 0.9], [*states, 1], **given_settings) >= before - 1e-9
    assert say([*near, 0.9], [*states, -1], **given_settings) <= before + 1e-9


def test_many_cells_at_once_equal_one_by_one() -> None:
    rng = np.random.default_rng(0)
    near, states, prior = rng.uniform(0, 1, (6, 5)), rng.choice([-1, 0, 1], (6, 5)), rng.uniform(0.1, 0.9, 6)
    together = neighbour_logits(near, states, prior=prior, temperature=0.1, strength=1.0)
    alone = [say(near[i].tolist(), states[i].tolist(), prior=float(prior[i])) for i in range(6)]
    np.testing.assert_allclose(together, alone)


@pytest.mark.parametrize("changed", [{"temperature": 0.0}, {"strength": -1.0}])
def test_settings_at_or_below_zero_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        say([0.5], [1], **changed)


def test_the_chosen_neighbour_settings_have_the_least_log_loss() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice([-1, 1], 200)
    agree = rng.random((200, 10)) < 0.85
    states = np.where(agree, labels[:, None], -labels[:, None])
    near = np.where(agree, rng.uniform(0.9, 1, (200, 10)), rng.uniform(0.4, 0.7, (200, 10)))
    prior = np.full(200, 0.5)
    temperature, strength = choose_neighbour_settings(near, states, labels, prior=prior)

    def loss(t: float, s: float) -> float:
        found = neighbour_logits(near, states, prior=prior, temperature=t, strength=s)
        return float(np.logaddexp(0, -labels * found).mean())

    assert loss(temperature, strength) <= min(loss(t, s) for t in (0.02, 0.1, 0.5) for s in (0.1, 1.0, 3.0))
    assert choose_neighbour_settings(near[:0], states[:0], labels[:0], prior=prior[:0]) == (0.1, 1.0)


def test_priors_shrink_towards_the_share_over_all_categories() -> None:
    prior = category_prior(np.array([0, 90, 0]), np.array([0, 10, 100]))
    assert prior[2] < prior[0] < prior[1] < 0.9
    assert prior[0] == pytest.approx(90.5 / 201)
    assert np.isfinite(category_prior(np.zeros(2, int), np.zeros(2, int))).all()


def fit(model: object, labels: object, columns: object, n: int, **more: object) -> Combiner:
    neighbours = more.pop("neighbours", None)
    prior = more.pop("prior", np.full(n, 0.3))
    floats, signs, places = np.asarray(model, float), np.asarray(labels, int), np.asarray(columns, int)
    return fit_combiner(floats, neighbours, signs, places, n, prior=prior, **more)  # type: ignore[arg-type]


def test_with_no_cell_the_model_speaks_unchanged() -> None:
    combiner = fit([], [], [], 3)
    np.testing.assert_allclose(combiner.logit(1, np.array([-2.0, 0.0, 3.0])), [-2.0, 0.0, 3.0])
    assert combiner.categories == 3


cells = st.lists(
    st.tuples(
        st.one_of(st.floats(-1e6, 1e6), st.just(0.0)),
        st.one_of(st.floats(-50, 50), st.just(float("nan"))),
        st.sampled_from([-1, 1]),
        st.integers(0, 2),
    ),
    max_size=25,
)


@settings(max_examples=100, deadline=None)
@given(given_cells=cells, single=st.booleans(), equal=st.booleans())
def test_any_cells_give_a_finite_curve_that_rises_with_the_model_and_the_neighbours(
    given_cells: list[tuple[float, float, int, int]], single: bool, equal: bool
) -> None:
    model = [0.7 if equal else c[0] for c in given_cells]
    labels = [1 if single else c[2] for c in given_cells]
    combiner = fit(
        model, labels, [c[3] for c in given_cells], 3, neighbours=np.array([c[1] for c in given_cells])
    )
    points = np.linspace(-30, 30, 25)
    for column in range(3):
        curve = combiner.logit(column, points, 0.5)
        assert np.isfinite(curve).all() and (np.diff(curve) > 0).all()
        assert (np.diff(combiner.logit(column, 0.3, points)) >= 0).all()
        assert (
            (combiner.probability(column, points) >= 0) & (combiner.probability(column, points) <= 1)
        ).all()
    assert (combiner.scale >= LOWER[0]).all() and (combiner.neighbour_weight >= 0).all()


def test_over_confident_logits_are_made_honest() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 1.5, 4000)
    labels = np.where(rng.random(4000) < sigmoid(truth), 1, -1)
    model, columns = 4 * truth + 1, rng.integers(0, 4, 4000)
    combiner = fit(model[:2000], labels[:2000], columns[:2000], 4)
    np.testing.assert_allclose(combiner.scale, 0.25, atol=0.07)
    after = expected_calibration_error(combiner.probability(columns[2000:], model[2000:]), labels[2000:])
    assert after < 0.03 < 0.1 < expected_calibration_error(sigmoid(model[2000:]), labels[2000:])


def test_a_category_with_few_cells_leans_on_the_pooled_curve_and_one_with_many_on_its_own() -> None:
    rng = np.random.default_rng(2)
    model = rng.normal(0, 2, 1210)
    shift = np.where(np.arange(1210) < 600, 1.5, -1.5)
    labels = np.where(rng.random(1210) < sigmoid(model + shift), 1, -1)
    columns = np.where(np.arange(1210) < 600, 0, np.where(np.arange(1210) < 1200, 1, 2))
    labels[1200:] = 1  # ten positives alone say little
    combiner = fit(model, labels, columns, 4)
    assert combiner.offset[0] > 1 and combiner.offset[1] < -1
    assert abs(combiner.offset[2] - combiner.offset[3]) < 1
    assert combiner.offset[2] > combiner.offset[3]


def test_neighbours_get_weight_only_where_they_help() -> None:
    rng = np.random.default_rng(4)
    labels = rng.choice([-1, 1], 800)
    helpful = labels * 1.5 + rng.normal(0, 1, 800) + float(logit(0.3))
    noise = rng.normal(0, 1, 800) + float(logit(0.3))
    columns = np.zeros(800, int)
    with_help = fit(rng.normal(0, 1, 800), labels, columns, 1, neighbours=helpful)
    without = fit(labels + rng.normal(0, 1, 800), labels, columns, 1, neighbours=noise)
    harmful = fit(rng.normal(0, 1, 800), labels, columns, 1, neighbours=-helpful)
    assert with_help.neighbour_weight[0] > 1 and without.neighbour_weight[0] < 0.15
    assert harmful.neighbour_weight[0] == 0


def test_before_a_cell_is_seen_neighbours_count_as_usual() -> None:
    np.testing.assert_allclose(fit([], [], [], 3).neighbour_weight, VOTE)


def test_neighbours_count_as_much_beside_the_model_in_every_category() -> None:
    rng = np.random.default_rng(6)
    labels, columns = rng.choice([-1, 1], 900), rng.integers(0, 3, 900)
    model = labels * (1.0 + columns) + rng.normal(0, 2, 900)
    combiner = fit(model, labels, columns, 4, neighbours=labels + rng.normal(0, 1, 900))
    assert np.ptp(combiner.scale) > 0.05 and combiner.neighbour_weight[0] > 0
    np.testing.assert_allclose(
        combiner.neighbour_weight / combiner.scale, combiner.neighbour_weight[0] / combiner.scale[0]
    )


def test_an_entry_that_is_not_free_stays_where_it_starts() -> None:
    rng = np.random.default_rng(7)
    design, labels = rng.normal(0, 1, (60, 4)), rng.choice([-1, 1], 60)
    free, start = np.array([True, False, True, False]), np.array([0.0, 2.0, 0.0, -1.0])
    found = newton(design, labels, start=start, centre=np.zeros(4), pull=np.ones(4), free=free)
    assert found[~free].tolist() == [2.0, -1.0]
    p = sigmoid(design @ found)
    gradient = design.T @ (p - (labels > 0)) + found
    assert np.abs(gradient[free]).max() < 1e-6 < np.abs(gradient[~free]).max()
    assert start.tolist() == [0.0, 2.0, 0.0, -1.0], "what was given is left as it was"


def some_cells(seed: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Model logits, neighbour logits, labels and columns of 3 categories."""
    rng = np.random.default_rng(seed)
    model, votes = rng.normal(-1, 2, size), rng.normal(-1, 1, size)
    labels = np.where(rng.random(size) < sigmoid(model + 0.5 * votes), 1, -1)
    return model, votes, labels, rng.integers(0, 3, size)


def assert_same(one: Combiner, other: Combiner) -> None:
    for name in ("scale", "offset", "neighbour_weight"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 60))
def test_weights_of_one_change_nothing_and_two_are_a_cell_twice(seed: int, size: int) -> None:
    model, votes, labels, columns = some_cells(seed, size)
    plain = fit(model, labels, columns, 3, neighbours=votes)
    assert_same(plain, fit(model, labels, columns, 3, neighbours=votes, weights=np.ones(size)))
    counts = np.random.default_rng(seed + 1).integers(1, 4, size)
    often = np.repeat(np.arange(size), counts)
    assert_same(
        fit(model, labels, columns, 3, neighbours=votes, weights=counts.astype(float)),
        fit(model[often], labels[often], columns[often], 3, neighbours=votes[often]),
    )


def test_a_cell_of_weight_zero_is_not_there() -> None:
    model, votes, labels, columns = some_cells(1, 200)
    counts = (np.arange(200) % 2).astype(float)
    kept = counts > 0
    assert_same(
        fit(model, np.where(kept, labels, -labels), columns, 3, neighbours=votes, weights=counts),
        fit(model[kept], labels[kept], columns[kept], 3, neighbours=votes[kept]),
    )
    assert np.isfinite(fit(model, labels, columns, 3, weights=np.zeros(200)).scale).all()


def test_neighbour_settings_are_chosen_for_the_cells_that_count() -> None:
    rng = np.random.default_rng(8)
    labels, near = rng.choice([-1, 1], 400), rng.uniform(0.5, 1, (400, 10))
    states = np.where(rng.random((400, 10)) < 0.8, labels[:, None], -labels[:, None])
    states[200:] *= -1  # half of the cells are misled by their neighbours
    prior, half = np.full(400, 0.5), (np.arange(400) < 200).astype(float)
    chosen = choose_neighbour_settings(near, states, labels, prior=prior, weights=half)
    assert chosen == choose_neighbour_settings(near[:200], states[:200], labels[:200], prior=prior[:200])
    assert chosen != choose_neighbour_settings(near, states, labels, prior=prior)


@pytest.mark.parametrize("weights", [[-1.0], [np.nan], [1.0, 1.0]])
def test_weights_that_cannot_be_used_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be finite"):
        fit([0.0], [1], [0], 1, weights=np.array(weights))


def test_a_cell_without_neighbours_is_read_as_the_prior() -> None:
    combiner = fit([], [], [], 2)
    alone = combiner.logit(0, 0.4)
    assert (
        combiner.logit(0, 0.4, float("nan"))
        == alone
        == pytest.approx(float(combiner.logit(0, 0.4, logit(0.3))))
    )
    assert combiner.logit(0, 0.4, 2.0) > alone
    np.testing.assert_allclose(combiner.logit(np.array([0, 1]), np.zeros(2), np.array([np.nan, 1.0]))[0], 0.0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 40))
def test_newton_finds_the_bounded_optimum_that_a_general_optimiser_finds(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    design = np.stack([rng.normal(0, 3, size), np.ones(size), rng.normal(0, 2, size)], axis=1)
    labels = rng.choice([-1, 1], size)
    found = fit_curve(design, labels, centre=NEUTRAL, cells=2.0)
    p = sigmoid(design @ NEUTRAL)
    pull = 2.0 * np.maximum((np.maximum(p * (1 - p), 0.01)[:, None] * design**2).mean(0), 1e-3)

    def loss(curve: np.ndarray) -> float:
        return float(np.logaddexp(0, -labels * (design @ curve)).sum() + 0.5 * pull @ (curve - NEUTRAL) ** 2)

    bounds = [(0.05, None), (None, None), (0.0, None)]
    reference = minimize(loss, NEUTRAL, bounds=bounds, method="L-BFGS-B")
    assert loss(found) <= reference.fun + 1e-3 * (1 + abs(reference.fun))


@pytest.mark.parametrize(
    ("model", "labels", "columns", "message"),
    [
        ([np.nan], [1], [0], "finite logits"),
        ([0.0], [0], [0], r"\+1 or -1"),
        ([0.0], [1], [2], r"0\.\.1"),
        ([0.0], [1], [-1], r"0\.\.1"),
        ([0.0, 1.0], [1], [0], "one entry per cell"),
    ],
)
def test_cells_that_cannot_be_used_are_refused(
    model: object, labels: object, columns: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(model, labels, columns, 2)


def test_a_combiner_survives_json_exactly() -> None:
    rng = np.random.default_rng(5)
    combiner = fit(
        rng.normal(size=50), rng.choice([-1, 1], 50), rng.integers(0, 3, 50), 3, k=7, temperature=0.2
    )
    back = Combiner.from_json(combiner.to_json())
    assert back.k == 7 and back.to_json() == combiner.to_json()
    np.testing.assert_array_equal(back.logit(np.arange(3), 0.7, 0.1), combiner.logit(np.arange(3), 0.7, 0.1))


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"scale": [0.0]}, {"scale": [1.0, 1.0]}, {"offset": [None]}, {"prior": [1.0]}, {"k": 0},
     {"neighbour_weight": [-0.1]}, {"temperature": 0.0}, {"extra": 1}],
)  # fmt: skip
def test_a_file_that_is_no_combiner_is_refused(change: dict[str, object]) -> None:
    values = json.loads(fit([], [], [], 1).to_json()) | change
    with pytest.raises(ValueError, match=r"combiner"):
        Combiner.from_json(json.dumps(values))
    for text in ("", "[]", "{}"):
        with pytest.raises(ValueError, match="no combiner"):
            Combiner.from_json(text)


def test_calibration_error_of_known_answers() -> None:
    p = np.array([0.8] * 10 + [0.3] * 10)
    labels = np.array([1] * 8 + [-1] * 2 + [1] * 3 + [-1] * 7)
    assert expected_calibration_error(p, labels) == pytest.approx(0.0, abs=1e-12)
    assert expected_calibration_error(p, -labels) == pytest.approx(0.5 * 0.6 + 0.5 * 0.4)
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([-1, 1])) == 0
    assert expected_calibration_error(np.append(p, 0.99), np.append(labels, 0)) == pytest.approx(
        0.0, abs=1e-12
    )
    assert np.isnan(expected_calibration_error(p, np.zeros(20, int)))
    counts = np.array([3.0] * 10 + [1.0] * 10)
    assert expected_calibration_error(p, -labels, weights=counts) == pytest.approx((3 * 0.6 + 0.4) / 4)
