"""Unknown cells that are alike correct each other, as far as held-out answers say it helps."""

import numpy as np
import pytest

from dsrb_core.crossfit import Heard, fit_mix
from dsrb_core.metrics import mean_average_precision
from dsrb_core.mixing import PROPAGATION
from dsrb_core.propagation import beliefs, propagate, speakers
from dsrb_core.reports import Holdout
from tests.dsrb_core.test_neighbour_methods import clusters, heard_of
from tests.references import naive_prior, naive_shift


def noisy_logits(truth: np.ndarray, seed: int = 5) -> np.ndarray:
    """Logits (N, C) that know a little of each cell."""
    rng = np.random.default_rng(seed)
    return (0.5 * truth + rng.standard_normal(truth.shape)).astype(np.float32)


def test_unknown_cells_alone_lift_a_noisy_model() -> None:
    instances, truth = clusters()
    logits = noisy_logits(truth)
    shifts = propagate(instances, logits, np.zeros_like(truth))
    assert shifts is not None
    assert mean_average_precision(logits + shifts, truth) > mean_average_precision(logits, truth) + 0.1


def test_nobody_speaks_for_themselves() -> None:
    instances, truth = clusters()
    logits = noisy_logits(truth)
    labels = np.where(np.random.default_rng(1).random(truth.shape) < 0.3, truth, 0).astype(np.int8)
    changed, other = logits.copy(), labels.copy()
    changed[7, 1] += 20.0
    other[7, 1] = 0
    before, after = propagate(instances, logits, labels), propagate(instances, changed, labels)
    assert before is not None and after is not None
    assert after[7, 1] == before[7, 1]
    one, two = propagate(instances, changed, other), propagate(instances, logits, other)
    assert one is not None and two is not None
    assert one[7, 1] == two[7, 1], "its own belief does not come back to it"
    assert not np.array_equal(one[:, 1], two[:, 1]), "the others hear of it"


def test_only_candidates_speak() -> None:
    instances, truth = clusters()
    logits = noisy_logits(truth)
    changed = logits.copy()
    changed[60:] = -3.0
    labels = np.zeros_like(truth)
    one, two = (propagate(instances, given, labels, candidates=60) for given in (logits, changed))
    assert one is not None and two is not None and np.array_equal(one, two)


def test_every_shift_equals_the_loop() -> None:
    instances, truth = clusters()
    instances = instances + np.random.default_rng(8).standard_normal(instances.shape).astype(np.float32)
    logits = noisy_logits(truth)
    labels = np.where(np.random.default_rng(1).random(truth.shape) < 0.3, truth, 0).astype(np.int8)
    found = propagate(instances, logits, labels, candidates=70)
    assert found is not None
    everyone, who = list(range(120)), list(range(70))
    for column in range(2):
        said = [
            float(labels[i, column] > 0) if labels[i, column] else 1 / (1 + np.exp(-float(logits[i, column])))
            for i in who
        ]
        vectors = instances[:, column].astype(float)
        expected = naive_shift(vectors, who, said, everyone, naive_prior(labels, column))
        np.testing.assert_allclose(found[:, column], expected, atol=1e-4)


def test_a_cell_says_its_answer_or_what_is_believed_of_it() -> None:
    logits = np.array([[0.0, 5.0, -5.0, 800.0]], np.float32)
    assert beliefs(logits, np.array([[0, -1, 1, 0]], np.int8)).tolist() == [[0.5, 0.0, 1.0, 1.0]]


@pytest.mark.parametrize("seed", range(3))
def test_the_weight_is_zero_where_propagation_misleads_and_above_where_it_helps(seed: int) -> None:
    instances, truth = clusters(seed)
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(instances, axis=0)
    logits = noisy_logits(truth)
    labels = np.where(rng.random(truth.shape) < 0.5, truth, 0).astype(np.int8)
    weights = []
    for given in (instances, shuffled):
        heard, held = heard_of(given, logits, labels)
        # The vote says the same here and would share the weight: it is left out.
        alone = Heard(heard.cells, heard.shifts, -np.inf * np.ones_like(heard.similarities), heard.states)
        weights.append(fit_mix(alone, held, labels).propagation)
    liar = Heard(alone.cells, -held.labels.astype(np.float32), alone.similarities, alone.states)
    assert weights[0] > 1.0 > 0.6 > weights[1], "noise is drawn down from the usual weight by what it says"
    assert fit_mix(liar, held, labels).propagation == 0


def test_no_held_out_cell_means_the_usual_weight() -> None:
    none, no_number = np.zeros(0, np.int64), np.zeros(0, np.float32)
    held = Holdout(none, none, none.astype(np.int8), no_number, no_number)
    empty = Heard(none, no_number, np.zeros((0, 20), np.float32), np.zeros((0, 20), np.int8))
    assert fit_mix(empty, held, np.zeros((3, 2), np.int8)).propagation == PROPAGATION


@pytest.mark.parametrize("images", [1, 2, 3])
def test_very_few_images_are_no_problem(images: int) -> None:
    shifts = propagate(
        np.ones((images, 2, 4), np.float32), np.zeros((images, 2), np.float32), np.zeros((images, 2), np.int8)
    )
    assert shifts is not None and shifts.shape == (images, 2) and np.isfinite(shifts).all()


def test_it_stops_when_asked() -> None:
    instances, truth = clusters()
    told: list[int] = []
    logits = noisy_logits(truth)
    stopped = propagate(instances, logits, truth, on_category=told.append, should_stop=lambda: len(told) == 1)
    assert stopped is None and told == [1]


def test_the_work_stays_bounded() -> None:
    few, many = speakers(6000, 80, 64), speakers(100_000, 80, 64)
    assert len(few) == 6000 and len(many) <= 8192 and len(speakers(100_000, 5000, 64)) == 512
    assert len(many) * 100_000 * 80 * 64 <= 5e12 or len(many) == 512


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        propagate(np.ones((3, 2, 4)), np.zeros((3, 1), np.float32), np.zeros((3, 1), np.int8))
