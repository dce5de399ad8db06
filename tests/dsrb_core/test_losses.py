"""Partial cross-entropy and the contrastive loss against loops, and on nothing at all."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsrb_core.config import DSRBConfig
from dsrb_core.losses import Criterion, Supervised, contrastive, partial_bce
from tests.references import naive_bce, naive_contrastive


@given(st.integers(0, 100))
def test_partial_bce_equals_the_loop(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    logits, targets = torch.randn(4, 3, generator=g), torch.randint(-1, 3, (4, 3), generator=g) / 2
    targets[targets == -0.5] = -1
    weights = torch.rand(4, 3, generator=g)
    assert float(partial_bce(logits, targets, weights)) == pytest.approx(
        naive_bce(logits, targets, weights), abs=1e-5
    )


def test_unknown_cells_have_exactly_no_gradient_even_with_infinite_logits() -> None:
    logits = torch.tensor([[2.0, float("inf"), -1.0]], requires_grad=True)
    loss = partial_bce(logits, torch.tensor([[1.0, 0.0, -1.0]]))
    loss.backward()
    softplus = [math.log1p(math.exp(-2)), math.log1p(math.exp(-1))]
    assert float(loss.detach()) == pytest.approx(sum(softplus) / 2)
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert bool(logits.grad[0, [0, 2]].ne(0).all())


@given(st.integers(0, 50), st.integers(1, 5))
def test_adding_unknown_columns_changes_nothing(seed: int, extra: int) -> None:
    g = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(4, 3, generator=g), torch.randint(-1, 2, (4, 3), generator=g)
    wider = torch.cat([logits, torch.randn(4, extra, generator=g)], 1)
    more = torch.cat([labels, torch.zeros(4, extra, dtype=labels.dtype)], 1)
    assert torch.allclose(partial_bce(logits, labels), partial_bce(wider, more))


def test_nothing_supervised_is_a_finite_zero_with_a_graph() -> None:
    logits, vectors = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    total = partial_bce(logits, torch.zeros(2, 3)) + contrastive(vectors, torch.zeros(2, 3))
    total.backward()
    assert float(total.detach()) == 0
    assert logits.grad is not None
    assert not bool(logits.grad.any())
    assert vectors.grad is not None


def test_losses_are_float32_whatever_the_network_computes_in() -> None:
    logits = torch.tensor([[30000.0, -30000.0]], dtype=torch.float16)
    loss = partial_bce(logits, torch.tensor([[-1, 1]]))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(30000, rel=1e-3)


@pytest.mark.parametrize(
    ("labels", "expected"), [([1, 1], 0.5), ([1, -1], 1.5), ([-1, -1], 0.0), ([1, 0], 0.0)]
)
def test_a_single_pair(labels: list[int], expected: float) -> None:
    vectors = torch.tensor([[[1.0, 0.0]], [[0.5, 0.75**0.5]]])
    assert float(contrastive(vectors, torch.tensor(labels).unsqueeze(1))) == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 60), st.booleans())
def test_contrastive_equals_the_loop_and_ignores_the_order_of_images(seed: int, negative: bool) -> None:
    g = torch.Generator().manual_seed(seed)
    vectors = torch.randn(4, 2, 3, generator=g)
    labels = (
        torch.randint(0, 2, (4, 2), generator=g)
        if not negative
        else torch.randint(-1, 1, (4, 2), generator=g)
    )
    found = float(contrastive(vectors, labels, negative_pairs=negative))
    assert found == pytest.approx(naive_contrastive(vectors, labels, negative_pairs=negative), abs=1e-5)
    order = torch.randperm(4, generator=g)
    assert float(contrastive(vectors[order], labels[order], negative_pairs=negative)) == pytest.approx(
        found, abs=1e-5
    )


def test_negative_pairs_count_only_when_switched_on() -> None:
    vectors, labels = torch.ones(2, 1, 3), torch.tensor([[-1], [-1]])
    assert float(contrastive(vectors, labels)) == 0
    assert float(contrastive(vectors, labels, negative_pairs=True)) == pytest.approx(2)


def test_many_negatives_are_cut_to_the_hardest_and_a_random_part() -> None:
    torch.manual_seed(0)
    vectors, labels = torch.randn(22, 1, 3), torch.tensor([[1]] * 2 + [[-1]] * 20)
    values = [contrastive(vectors, labels, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert values[0] == values[1]
    assert values[0] != values[2]
    unit = torch.nn.functional.normalize(vectors[:, 0], dim=-1)
    pairs = 1 + (unit[:2] @ unit[2:].T).flatten()
    together = 1 - unit[0] @ unit[1]
    least = (together + pairs.max() + 2 * pairs.min()) / 4
    most = (together + 3 * pairs.max()) / 4
    assert float(least) <= float(values[0]) <= float(most)


def test_criterion_names_its_losses_and_weighs_them_in_one_place() -> None:
    criterion = Criterion(DSRBConfig(instance_weight=2.0, contrastive_weight=0.5, l2=0.1))
    logits, labels, vectors = (
        torch.zeros(2, 1),
        torch.tensor([[1], [1]]),
        torch.tensor([[[1.0, 0]], [[0, 1.0]]]),
    )
    views = {"known": Supervised(logits, labels), "instance": Supervised(logits, labels)}
    losses = criterion(views, vectors=vectors, labels=labels, classifier=torch.ones(1, 4))
    assert set(losses) == {"known", "instance", "contrastive", "l2"}
    expected = 3 * math.log(2) + 0.5 * 1.0 + 0.1 * 2.0
    assert float(criterion.total(losses)) == pytest.approx(expected)
    assert float(criterion.total(losses, ramp=0.0)) == pytest.approx(expected - 0.5)
