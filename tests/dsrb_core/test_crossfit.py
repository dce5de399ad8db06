"""What held-out cells hear where nothing around them has seen their answer, and what is made of it."""

import numpy as np
import pytest
import torch

from dsrb_core.calibration import (
    Combiner,
    category_prior,
    expected_calibration_error,
    fit_combiner,
    neighbour_logits,
)
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.crossfit import NEIGHBOURS, Heard, Mix, fit_mix, hear
from dsrb_core.labels import hide_labels
from dsrb_core.metrics import mean_average_precision
from dsrb_core.mixing import CONTEXT, PROPAGATION, VOTE
from dsrb_core.neighbour_methods import Learnt
from dsrb_core.predictor import predict
from dsrb_core.propagation import propagate
from dsrb_core.reports import Folds, Holdout
from dsrb_core.similar import nearest
from dsrb_core.stages import Stages
from tests.references import ArraySource, localised, naive_instances, naive_nearest, naive_prior, naive_shift


def learnt(source: ArraySource, labels: np.ndarray, *, l2: float = 0.03, dim: int = 64) -> Learnt:
    """A floor alone with every known cell out of fold; nothing is trained by steps."""
    stages = Stages(source, labels, DSRBConfig(dim=dim, graph=False), TrainConfig(floor_l2=(l2,)))
    stages.read()
    floor = stages.fit_floor(stages.labels, (l2,))
    folds = Folds.of(stages.rows, floor)
    rows, columns = np.nonzero(stages.labels)
    logits, signs = folds.logits[rows, columns], stages.labels[rows, columns]
    held = Holdout(stages.rows[rows], columns, signs, logits, logits)
    return Learnt(stages.start(floor).eval(), held, folds)


def asked(source: ArraySource, labels: np.ndarray, one: Learnt, *, dim: int = 64, seed: int = 0) -> Heard:
    found = hear(one.model, source, labels, one.holdout, one.folds, dim=dim, seed=seed)
    assert found is not None
    return found


def part_of(holdout: Holdout, cells: np.ndarray) -> Holdout:
    names = ("rows", "columns", "labels", "model_logits", "floor_logits")
    return Holdout(*(getattr(holdout, name)[cells] for name in names))


@pytest.fixture(scope="module")
def problem() -> tuple[ArraySource, np.ndarray]:
    """45 pictures, three of them without a known cell, and a category that is known in two alone."""
    source, complete, _ = localised(45, categories=3, dim=8, side=2, seed=4)
    labels = hide_labels(complete, 0.6)
    labels[[0, 11, 44]] = 0
    labels[:, 2] = 0
    labels[3, 2], labels[7, 2] = 1, -1
    return source, labels


# --- hear


def test_what_is_heard_equals_the_loop_in_the_features_of_each_fold(
    problem: tuple[ArraySource, np.ndarray],
) -> None:
    source, labels = problem
    one = learnt(source, labels)
    some = np.random.default_rng(0).permutation(len(one.holdout.labels))[:30]
    holdout = part_of(one.holdout, np.append(np.sort(some), np.flatnonzero(one.holdout.columns == 2)))
    found = hear(one.model, source, labels, holdout, one.folds, dim=5)
    assert found is not None and found.cells.tolist() == list(range(len(holdout.labels)))
    frame = one.model.frame
    tokens = frame.project(torch.from_numpy(source.maps)).half().double().numpy()
    pooled = frame.standardise(torch.from_numpy(source.pooled()))
    everyone = list(range(45))
    for cell, (row, column) in enumerate(zip(holdout.rows, holdout.columns, strict=True)):
        fold = one.folds.parts[one.folds.rows.tolist().index(row), column]
        floor = one.folds.floors[fold]
        weight = (floor.weight @ frame.projection)[column].double().numpy()
        vectors = naive_instances(tokens, weight)[:, :5].astype(np.float16).astype(float)
        logits = floor(pooled)[:, column].tolist()
        said = [
            float(labels[i, column] > 0) if labels[i, column] else 1 / (1 + np.exp(-logits[i]))
            for i in everyone
        ]
        (shift,) = naive_shift(vectors, everyone, said, [row], naive_prior(labels, column))
        assert found.shifts[cell] == pytest.approx(shift, abs=2e-3)
        decided = np.flatnonzero(labels[:, column]).tolist()
        cosines, places = naive_nearest(vectors, decided, [row], NEIGHBOURS)
        count = cosines.shape[1]
        assert count == min(NEIGHBOURS, len(decided) - 1)
        np.testing.assert_allclose(found.similarities[cell, :count], cosines[0], atol=2e-3)
        assert found.states[cell, :count].tolist() == labels[np.array(decided)[places[0]], column].tolist()
        assert np.isneginf(found.similarities[cell, count:]).all() and not found.states[cell, count:].any()


def test_the_folds_have_features_of_their_own(problem: tuple[ArraySource, np.ndarray]) -> None:
    """Were the floors all alike, the loop above would not notice which of them is used."""
    source, labels = problem
    one = learnt(source, labels)
    turned = Folds(one.folds.rows, one.folds.parts, one.folds.logits, one.folds.floors[::-1])
    right = asked(source, labels, one)
    wrong = hear(one.model, source, labels, one.holdout, turned, dim=64)
    assert wrong is not None
    assert np.abs(right.shifts - wrong.shifts).max() > 0.05


def test_a_fold_that_is_asked_alone_hears_what_it_hears_beside_the_others(
    problem: tuple[ArraySource, np.ndarray],
) -> None:
    source, labels = problem
    labels = labels[:, :1]  # with one category only the fold tells its cells apart
    one = learnt(source, labels)
    together = asked(source, labels, one)
    parts = one.folds.parts[np.searchsorted(one.folds.rows, one.holdout.rows), one.holdout.columns]
    for fold in range(3):
        mine = np.flatnonzero(parts == fold)
        alone = hear(one.model, source, labels, part_of(one.holdout, mine), one.folds, dim=64)
        assert alone is not None and len(mine)
        np.testing.assert_allclose(alone.shifts, together.shifts[mine], atol=1e-5)
        np.testing.assert_allclose(alone.similarities, together.similarities[mine], atol=1e-5)


def test_a_cell_never_hears_its_own_answer(problem: tuple[ArraySource, np.ndarray]) -> None:
    source, labels = problem
    one = learnt(source, labels)
    cell = 20
    row, column = one.holdout.rows[cell], one.holdout.columns[cell]
    flipped = labels.copy()
    flipped[row, column] *= -1
    before, after = asked(source, labels, one), asked(source, flipped, one)
    assert np.array_equal(before.states[cell], after.states[cell])
    assert np.array_equal(before.similarities[cell], after.similarities[cell])
    others = (one.holdout.columns == column) & (np.arange(len(one.holdout.labels)) != cell)
    assert (before.states[others] != after.states[others]).any(), "the others hear of it"


def test_the_same_call_hears_the_same(problem: tuple[ArraySource, np.ndarray]) -> None:
    source, labels = problem
    one = learnt(source, labels)
    first, second = asked(source, labels, one, seed=3), asked(source, labels, one, seed=3)
    for name in ("cells", "shifts", "similarities", "states"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


def test_how_much_is_kept_at_a_time_changes_nothing(
    problem: tuple[ArraySource, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, labels = problem
    one = learnt(source, labels)
    roomy = asked(source, labels, one)
    monkeypatch.setattr("dsrb_core.crossfit._FEATURES", 1)
    monkeypatch.setattr("dsrb_core.crossfit._BATCH", 7)
    tight = asked(source, labels, one)
    np.testing.assert_allclose(tight.shifts, roomy.shifts, atol=2e-3)
    assert (tight.states == roomy.states).mean() > 0.99


def test_it_stops_when_asked(problem: tuple[ArraySource, np.ndarray]) -> None:
    source, labels = problem
    one = learnt(source, labels)
    for patience in range(3):
        calls: list[int] = []

        def should_stop(calls: list[int] = calls, patience: int = patience) -> bool:
            calls.append(1)
            return len(calls) > patience

        found = hear(one.model, source, labels, one.holdout, one.folds, dim=4, should_stop=should_stop)
        assert found is None and len(calls) == patience + 1


def test_at_most_600_cells_of_a_category_ask() -> None:
    rng = np.random.default_rng(0)
    source = ArraySource(rng.standard_normal((900, 1, 3)).astype(np.float16), (1, 1))
    labels = rng.choice(np.array([-1, 1], np.int8), (900, 3))
    labels[250:, 2] = 0
    one = learnt(source, labels)
    found, other = asked(source, labels, one), asked(source, labels, one, seed=1)
    assert np.bincount(one.holdout.columns[found.cells]).tolist() == [600, 600, 250]
    assert (np.diff(found.cells) > 0).all(), "each at most once, in order"
    assert not np.array_equal(found.cells, other.cells)


@pytest.mark.parametrize(("together", "each"), [(90, 30), (9, 10), (48_000, 120)])
def test_many_categories_share_a_bounded_number_of_cells(
    together: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many for all together, but never fewer than ten of a category that has them."""
    monkeypatch.setattr("dsrb_core.crossfit._ALL_CELLS", together)
    rng = np.random.default_rng(0)
    source = ArraySource(rng.standard_normal((120, 1, 3)).astype(np.float16), (1, 1))
    labels = rng.choice(np.array([-1, 1], np.int8), (120, 3))
    labels[4:, 2] = 0
    one = learnt(source, labels)
    found = asked(source, labels, one)
    assert np.bincount(one.holdout.columns[found.cells]).tolist() == [each, each, 4]
    assert np.isfinite(found.shifts).all() and found.shifts[one.holdout.columns[found.cells] < 2].all()


def test_at_most_4096_pictures_are_asked_about() -> None:
    rng = np.random.default_rng(0)
    source = ArraySource(rng.standard_normal((4500, 1, 2)).astype(np.float16), (1, 1))
    labels = np.zeros((4500, 9), np.int8)
    labels[np.arange(4500), np.arange(4500) % 9] = rng.choice([-1, 1], 4500)  # 500 of a category, one each
    one = learnt(source, labels)
    found = asked(source, labels, one, dim=2)
    assert len(found.cells) == len(np.unique(one.holdout.rows[found.cells])) == 4096


# --- honesty


def on_the_model_itself(source: ArraySource, labels: np.ndarray, one: Learnt) -> Heard:
    """What `hear` would give if the model's own features were asked, which have seen every answer."""
    parts = list(predict(one.model, source))
    instances = np.concatenate([part.instances for part in parts])
    shifts = propagate(instances, np.concatenate([part.logits for part in parts]), labels)
    assert shifts is not None
    held = one.holdout
    similarities = np.full((len(held.labels), NEIGHBOURS), -np.inf, np.float32)
    states = np.zeros(similarities.shape, np.int8)
    for column in range(labels.shape[1]):
        decided, mine = np.flatnonzero(labels[:, column]), np.flatnonzero(held.columns == column)
        vectors, who = torch.from_numpy(instances[:, column]), torch.from_numpy(held.rows[mine])
        near, where = nearest(vectors, torch.from_numpy(decided), NEIGHBOURS, asked=who)
        similarities[mine, : near.shape[1]] = near.numpy()
        states[mine, : near.shape[1]] = labels[decided, column][where.numpy()]
    return Heard(np.arange(len(held.labels)), shifts[held.rows, held.columns], similarities, states)


def gain(heard: Heard, holdout: Holdout, labels: np.ndarray, mix: Mix) -> float:
    """What the mix says it adds to the held-out mAP of the model."""
    rows, columns, combiner = holdout.rows, holdout.columns, mix.combiner
    votes = neighbour_logits(
        heard.similarities,
        heard.states,
        prior=combiner.prior[columns],
        temperature=combiner.temperature,
        strength=combiner.strength,
    )
    mixed = combiner.logit(columns, holdout.model_logits + mix.propagation * heard.shifts, votes)
    truth, dense = np.zeros(labels.shape, np.int8), np.zeros((2, *labels.shape))
    truth[rows, columns] = holdout.labels
    dense[0][rows, columns], dense[1][rows, columns] = holdout.model_logits, mixed
    return mean_average_precision(dense[1], truth) - mean_average_precision(dense[0], truth)


def test_noise_promises_nothing_where_the_models_own_features_would_promise_much() -> None:
    """The reason of the module: features that were made with an answer in sight give it away."""
    honest, own = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        source = ArraySource(rng.standard_normal((100, 16, 100)).astype(np.float16), (4, 4))
        labels = hide_labels(rng.choice([-1, 1], (100, 4)), 0.5, seed=seed)  # nothing to learn
        one = learnt(source, labels, l2=0.003)
        for told, heard in (
            (honest, asked(source, labels, one)),
            (own, on_the_model_itself(source, labels, one)),
        ):
            mix = fit_mix(heard, one.holdout, labels)
            agrees = float(np.corrcoef(heard.shifts, one.holdout.labels)[0, 1])
            told.append((mix.propagation, gain(heard, one.holdout, labels, mix), agrees))
    weight, added, agrees = np.mean(honest, axis=0)
    assert weight < 0.1 and abs(added) < 0.005 and agrees < 0.05
    weight, added, agrees = np.mean(own, axis=0)
    assert weight > 1 and added > 0.008 and agrees > 0.1


def test_neighbours_that_know_something_are_still_heard() -> None:
    source, complete, _ = localised(200, categories=3, dim=12, side=2, strength=3.0, seed=2)
    labels = hide_labels(complete, 0.3)
    one = learnt(source, labels)
    heard = asked(source, labels, one)
    mix = fit_mix(heard, one.holdout, labels)
    assert mix.propagation + float(mix.combiner.neighbour_weight.mean()) > 0.3
    assert gain(heard, one.holdout, labels, mix) > 0.01


# --- fit_mix


def told(cells: int = 600, *, seed: int = 0) -> tuple[Heard, Holdout, np.ndarray, np.ndarray]:
    """Cells of two categories with shifts that agree with the answer, what a context might say, labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([-1, 1], np.int8), (cells // 2, 2))
    rows, columns = np.nonzero(labels)
    signs = labels[rows, columns]

    def said() -> np.ndarray:
        return (signs + 1.5 * rng.standard_normal(cells)).astype(np.float32)

    near = rng.uniform(0.5, 1, (cells, NEIGHBOURS)).astype(np.float32)
    states = np.where(rng.random(near.shape) < 0.6, signs[:, None], -signs[:, None]).astype(np.int8)
    logits = said()
    held = Holdout(rows, columns, signs, logits, logits)
    return Heard(np.arange(cells), said(), near, states), held, labels, said()


def test_every_witness_that_tells_the_truth_has_a_part() -> None:
    heard, held, labels, context = told()
    mix = fit_mix(heard, held, labels, context=context)
    assert mix.propagation > 0.5 and mix.context > 0.5 and bool((mix.combiner.neighbour_weight > 0).all())
    assert mix.combiner.k == NEIGHBOURS
    np.testing.assert_allclose(mix.combiner.prior, category_prior((labels > 0).sum(0), (labels < 0).sum(0)))


def test_who_is_not_asked_has_no_weight_and_the_rest_is_fitted_without() -> None:
    heard, held, labels, context = told()
    alone = fit_mix(heard, held, labels, propagation=False)
    assert (alone.propagation, alone.context) == (0.0, 0.0)
    with_context = fit_mix(heard, held, labels, propagation=False, context=context)
    assert with_context.propagation == 0 and with_context.context > 0.5
    silent = Heard(heard.cells, 1e3 * heard.shifts, heard.similarities, heard.states)
    again = fit_mix(silent, held, labels, propagation=False, context=context)
    assert again.context == with_context.context, "shifts that are not asked for are not read"


def test_a_context_that_misleads_is_not_heard() -> None:
    heard, held, labels, context = told()
    mix, without = fit_mix(heard, held, labels, context=-context), fit_mix(heard, held, labels)
    assert mix.context == 0
    assert mix.propagation == pytest.approx(without.propagation, abs=1e-6)


def test_the_combiner_is_fitted_to_the_logit_with_the_shifts() -> None:
    heard, held, labels, context = told(2000)
    mix = fit_mix(heard, held, labels, context=context)
    combiner = mix.combiner
    settings = {"temperature": combiner.temperature, "strength": combiner.strength}
    votes = neighbour_logits(heard.similarities, heard.states, prior=combiner.prior[held.columns], **settings)
    mixed = held.model_logits + mix.propagation * heard.shifts + mix.context * context
    again = fit_combiner(
        mixed, votes, held.labels, held.columns, 2, prior=combiner.prior, k=NEIGHBOURS, **settings
    )
    np.testing.assert_allclose(combiner.scale, again.scale, rtol=1e-5)
    np.testing.assert_allclose(combiner.offset, again.offset, atol=1e-5)
    np.testing.assert_allclose(combiner.neighbour_weight, again.neighbour_weight, rtol=1e-5)
    p = combiner.probability(held.columns, mixed, votes)
    plain = combiner.probability(held.columns, held.model_logits, votes)
    losses = [-np.log(np.where(held.labels > 0, one, 1 - one)).mean() for one in (p, plain)]
    assert losses[0] < losses[1] - 0.05
    assert expected_calibration_error(p, held.labels) < 0.03


def test_only_the_cells_that_asked_are_weighed_on() -> None:
    heard, held, labels, context = told(600)
    some = np.arange(0, 600, 3)
    few = Heard(some, heard.shifts[some], heard.similarities[some], heard.states[some])
    mix = fit_mix(few, held, labels, context=context)
    cut = Heard(np.arange(200), few.shifts, few.similarities, few.states)
    same = fit_mix(cut, part_of(held, some), labels, context=context[some])
    assert mix.propagation == same.propagation and mix.context == same.context
    assert mix.combiner.to_json() == same.combiner.to_json()


def test_with_no_cell_the_usual_weights_stand() -> None:
    heard, held, labels, context = told()
    none = np.zeros(0, np.int64)
    empty = Heard(none, heard.shifts[:0], heard.similarities[:0], heard.states[:0])
    mix = fit_mix(empty, part_of(held, none), labels, context=context[:0])
    assert (mix.propagation, mix.context) == (PROPAGATION, CONTEXT)
    assert isinstance(mix.combiner, Combiner)
    np.testing.assert_allclose(mix.combiner.neighbour_weight, VOTE)
