"""Unknown cells that are alike correct each other, as far as held-out answers say it helps."""

import numpy as np
import pytest

from dsrb_core.metrics import mean_average_precision
from dsrb_core.propagation import choose_weight, propagate, smooth, speakers
from tests.dsrb_core.test_neighbour_methods import clusters


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


def test_the_weight_is_zero_where_propagation_hurts_and_above_where_it_helps() -> None:
    instances, truth = clusters()
    rng = np.random.default_rng(3)
    shuffled = rng.permuted(instances, axis=0)
    logits = noisy_logits(truth)
    for given, helps in ((instances, True), (shuffled, False)):
        labels = np.where(rng.random(truth.shape) < 0.5, truth, 0).astype(np.int8)
        held = np.nonzero(labels)
        found = smooth(given, logits, labels, held=held, held_logits=logits[held])
        assert found is not None and (found.weight > 0) is helps
        assert np.array_equal(found.logits[held], found.held_logits)
        if not helps:
            assert np.array_equal(found.logits, logits)


def test_no_held_out_cell_means_no_propagation() -> None:
    assert (
        choose_weight(np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32), np.zeros((3, 2), np.int8))
        == 0
    )


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
