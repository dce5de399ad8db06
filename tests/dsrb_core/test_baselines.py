"""The linear floor against scikit-learn, and on every kind of missing label."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from dsrb_core.baselines import FloorFit, LinearFloor, fit_floor, log_odds, solve
from dsrb_core.config import TrainConfig
from dsrb_core.labels import hide_labels


def data(images: int = 200, features: int = 6, categories: int = 3) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((images, features)).astype(np.float32) * 2
    margin = z @ rng.standard_normal((features, categories)) + rng.standard_normal((images, categories)) * 3
    return torch.from_numpy(z), np.where(margin > 1, 1, -1).astype(np.int8)


@pytest.mark.parametrize("l2", [0.01, 0.1])
def test_every_category_equals_scikit_learns_on_its_known_cells(l2: float) -> None:
    features, complete = data()
    labels = hide_labels(complete, 0.6)
    weight, bias = solve(features, torch.from_numpy(labels), l2=l2)
    for column in range(3):
        known = labels[:, column] != 0
        reference = LogisticRegression(C=1 / (l2 * known.sum()), tol=1e-8, max_iter=1000)
        reference.fit(features[torch.from_numpy(known)].numpy(), labels[known, column])
        assert np.allclose(weight[column], reference.coef_[0], atol=5e-3)
        assert float(bias[column]) == pytest.approx(float(reference.intercept_[0]), abs=2e-2)


def test_solution_is_stationary_also_for_an_ill_conditioned_problem() -> None:
    features, labels = data(images=60, features=40)
    features = features * torch.logspace(-1.5, 0.7, 40)
    weight, bias = solve(features, torch.from_numpy(labels), l2=0.01)
    w = weight.double().requires_grad_()
    margin = torch.from_numpy(labels).double() * (features.double() @ w.T + bias.double())
    (torch.nn.functional.softplus(-margin).mean(0).sum() + 0.005 * w.square().sum()).backward()
    assert w.grad is not None
    assert float(w.grad.abs().max()) < 1e-3


def test_fewer_images_than_features_give_the_same_floor_at_less_cost() -> None:
    features, labels = data(images=30, features=80)
    found = fit_floor(features, labels, l2=(0.1,))
    weight, bias = solve(features, torch.from_numpy(labels), l2=0.1)
    assert torch.allclose(found.floor.weight, weight, atol=1e-3)
    assert torch.allclose(found.floor.bias, bias, atol=1e-2)


def test_hidden_labels_are_never_read() -> None:
    features, complete = data()
    labels = hide_labels(complete, 0.5)
    alone = fit_floor(features, labels, l2=(0.1,))
    wider = np.concatenate([labels, np.zeros_like(labels)], axis=1)
    assert torch.allclose(
        fit_floor(features, wider, l2=(0.1,)).floor.weight[:3], alone.floor.weight, atol=1e-4
    )


def test_out_of_fold_logits_come_from_models_that_did_not_see_the_cell() -> None:
    rng = np.random.default_rng(1)
    features = torch.from_numpy(rng.standard_normal((60, 200)).astype(np.float32))
    labels = np.where(rng.random((60, 1)) < 0.5, 1, -1).astype(np.int8)  # nothing to learn
    found = fit_floor(features, labels, l2=(0.01,))
    truth = torch.from_numpy(labels)
    inside = ((found.floor(features) > 0) == (truth > 0)).float().mean()
    outside = ((found.out_of_fold > 0) == (truth > 0)).float().mean()
    assert float(inside) == 1.0
    assert float(outside) < 0.75


def test_unknown_cells_get_the_floors_own_logit() -> None:
    features, complete = data()
    labels = hide_labels(complete, 0.5)
    found = fit_floor(features, labels, l2=(0.1, 1.0))
    unknown = torch.from_numpy(labels == 0)
    assert torch.equal(found.out_of_fold[unknown], found.floor(features)[unknown])


def test_l2_is_the_one_with_the_least_out_of_fold_loss() -> None:
    rng = np.random.default_rng(2)
    noise = torch.from_numpy(rng.standard_normal((80, 100)).astype(np.float32) * 2)
    labels = np.where(rng.random((80, 2)) < 0.4, 1, -1).astype(np.int8)
    strong = fit_floor(noise, labels, l2=(0.001, 10.0))
    features, complete = data(images=600)
    weak = fit_floor(features, complete, l2=(0.001, 10.0))
    assert strong.l2 == 10.0
    assert weak.l2 == 0.001
    assert weak.losses[0.001] < weak.losses[10.0]


@pytest.mark.parametrize(
    "column", [[1] + [0] * 9, [-1] + [0] * 9, [0] * 10, [1] * 10, [-1] * 10, [1, -1] + [0] * 8]
)
def test_a_category_with_hardly_any_label_gets_finite_modest_logits(column: list[int]) -> None:
    features = torch.randn(10, 30, generator=torch.Generator().manual_seed(0))
    labels = np.array([column, [1, -1] * 5], np.int8).T
    found = fit_floor(features, labels, l2=(0.03, 0.3))
    assert bool(torch.isfinite(found.out_of_fold).all())
    assert float(found.out_of_fold.abs().max()) < 20
    if not any(column):
        assert not bool(found.floor.weight[0].any())


def test_one_positive_ranks_its_likes_first() -> None:
    features = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    labels = np.zeros((50, 1), np.int8)
    labels[7] = 1
    found = fit_floor(features, labels, l2=(0.1,))
    assert int(found.floor(features).argmax()) in torch.topk(features @ features[7], 3).indices


def test_bias_starts_at_the_log_odds_of_the_known_labels() -> None:
    labels = torch.tensor([[1]] * 100 + [[-1]] * 300 + [[0]] * 50)
    assert float(log_odds(labels)) == pytest.approx(np.log(1 / 3), abs=0.02)
    never = torch.tensor([[1, 0], [-1, 0], [-1, 0], [-1, 0]])
    assert float(log_odds(never)[1]) == pytest.approx(np.log(1 / 3), abs=1e-5)


def test_stopping_between_two_values_uses_what_was_tried() -> None:
    features, labels = data()
    calls: list[int] = []

    def should_stop() -> bool:
        calls.append(1)
        return True

    found = fit_floor(features, labels, l2=(0.01, 0.1, 1.0), should_stop=should_stop)
    assert list(found.losses) == [1.0]
    assert calls
    with pytest.raises(ValueError, match="at least one value"):
        fit_floor(features, labels, l2=())


# --- folds and where to begin


def fold_logits(found: FloorFit, features: torch.Tensor) -> torch.Tensor:
    """Of every cell, by the fold it was left out of; the whole floor's where it is unknown."""
    result = found.floor(features)
    for fold, floor in enumerate(found.folds):
        result = torch.where(found.parts == fold, floor(features), result)
    return result


@pytest.mark.parametrize(("images", "features"), [(200, 6), (40, 90)], ids=["pictures", "row space"])
def test_out_of_fold_logits_are_those_of_the_fold_a_cell_was_left_out_of(images: int, features: int) -> None:
    z, complete = data(images=images, features=features)
    labels = hide_labels(complete, 0.6)
    found = fit_floor(z, labels, l2=(0.03, 0.3), folds=4)
    assert len(found.folds) == 4
    assert all(floor.weight.shape == (3, features) for floor in found.folds)
    assert found.parts.dtype == torch.int8 and np.array_equal(found.parts.numpy() == -1, labels == 0)
    assert torch.allclose(found.out_of_fold, fold_logits(found, z), atol=1e-4)
    known = torch.from_numpy(labels != 0)
    assert float((found.out_of_fold - found.floor(z))[known].abs().max()) > 0.05, "the floor is another"


@pytest.mark.parametrize(("images", "features"), [(200, 6), (40, 90)], ids=["pictures", "row space"])
def test_a_fold_is_the_floor_of_the_other_cells(images: int, features: int) -> None:
    z, complete = data(images=images, features=features)
    labels = hide_labels(complete, 0.6)
    found = fit_floor(z, labels, l2=(0.1, 3.0))
    for fold, floor in enumerate(found.folds):
        rest = torch.where(found.parts == fold, 0, torch.from_numpy(labels))
        weight, bias = solve(z, rest, l2=found.l2)
        assert torch.allclose(floor.weight, weight, atol=2e-3)
        assert torch.allclose(floor.bias, bias, atol=2e-2)


@pytest.mark.parametrize("value", [0.003, 0.1])
@pytest.mark.parametrize(("images", "features"), [(200, 6), (40, 90)], ids=["pictures", "row space"])
def test_where_it_begins_does_not_change_where_it_ends(images: int, features: int, value: float) -> None:
    z, complete = data(images=images, features=features)
    labels, g = hide_labels(complete, 0.6), torch.Generator().manual_seed(0)
    cold = fit_floor(z, labels, l2=(value,))
    far = LinearFloor(torch.randn(3, features, generator=g), 3 * torch.randn(3, generator=g))
    for start in (far, cold.floor):
        warm = fit_floor(z, labels, l2=(value,), start=start)
        assert torch.allclose(warm.floor(z), cold.floor(z), atol=0.05)
        assert torch.allclose(warm.out_of_fold, cold.out_of_fold, atol=0.05)
        assert warm.losses[value] == pytest.approx(cold.losses[value], abs=2e-3)
        assert torch.equal(warm.parts, cold.parts)


def test_a_floor_that_has_seen_every_answer_tells_the_folds_nothing() -> None:
    """A warm start must not carry the answers into the figures that are to be free of them."""
    rng = np.random.default_rng(1)
    z = torch.from_numpy(rng.standard_normal((60, 200)).astype(np.float32))
    labels = np.where(rng.random((60, 2)) < 0.5, 1, -1).astype(np.int8)  # nothing to learn
    cold = fit_floor(z, labels, l2=(0.003,))
    warm = fit_floor(z, labels, l2=(0.003,), start=LinearFloor(3 * cold.floor.weight, cold.floor.bias))
    assert torch.allclose(warm.out_of_fold, cold.out_of_fold, atol=0.05)


def test_the_usual_grid_reaches_down_to_what_many_clean_labels_ask_for() -> None:
    z, _ = data(images=600)
    labels = torch.where(z[:, :3] > z[:, 3:], 1, -1).to(torch.int8).numpy()
    found = fit_floor(z, labels, l2=TrainConfig().floor_l2)
    assert found.l2 == min(found.losses) == 0.003
    assert list(found.losses) == sorted(TrainConfig().floor_l2, reverse=True)
    assert found.losses[0.003] < found.losses[0.01]
