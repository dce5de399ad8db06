"""Instance and prototype blending: what may change, what never does."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsrb_core.blending import (
    BlendWeight,
    beta_quantile,
    choose_partners,
    instance_blend,
    pick_unknown,
    prototype_blend,
)
from dsrb_core.losses import partial_bce
from dsrb_core.prototypes import PrototypeBank
from tests.references import naive_instance_blend


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def labels(draw: st.DrawFn) -> torch.Tensor:
    batch, categories = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    cells = draw(
        st.lists(st.sampled_from([-1, 0, 1]), min_size=batch * categories, max_size=batch * categories)
    )
    return torch.tensor(cells, dtype=torch.int8).view(batch, categories)


def bank(categories: int, *, filled: bool = True) -> PrototypeBank:
    made = PrototypeBank(categories, 4, 3)
    made.vectors.copy_(torch.randn(made.vectors.shape, generator=generator(7)))
    made.counts.fill_(int(filled))
    return made


@given(
    labels(),
    st.sampled_from(["reversal", "permutation", "class_aware"]),
    st.sampled_from(["soft", "weighted"]),
)
def test_instance_blend_touches_unknown_cells_with_a_positive_donor_only(
    y: torch.Tensor, how: str, targets: str
) -> None:
    f = torch.randn(*y.shape, 3, generator=generator())
    partner = choose_partners(y, how, generator=generator())
    blend = instance_blend(f, y, partner=partner, keep=torch.tensor(0.3), targets=targets)
    assert torch.equal(blend.mask, (y == 0) & (y[partner] == 1))
    assert torch.equal(blend.vectors[~blend.mask], f[~blend.mask])
    assert torch.equal(blend.targets[~blend.mask], y[~blend.mask].float())
    assert not bool(blend.mask[y != 0].any())


@given(labels(), st.integers(0, 5))
def test_blend_never_overwrites_a_known_label(y: torch.Tensor, top_k: int) -> None:
    f = torch.randn(*y.shape, 3, generator=generator())
    blend = prototype_blend(
        f, y, bank=bank(y.shape[1]), own=None, keep=torch.tensor(0.5), generator=generator(), top_k=top_k + 1
    )
    known = y != 0
    assert not bool(blend.mask[known].any())
    assert torch.equal(blend.vectors[known], f[known])
    assert torch.equal(blend.targets[known], y[known].float())
    expected = torch.minimum((y == 0).sum(1), torch.tensor(top_k + 1))
    assert torch.equal(blend.mask.sum(1), expected)


def test_instance_blend_agrees_with_the_loop() -> None:
    y = torch.tensor([[0, 1, -1], [1, 0, 0], [0, 0, 1]], dtype=torch.int8)
    f, partner = torch.randn(3, 3, 4), torch.tensor([2, 0, 1])
    blend = instance_blend(f, y, partner=partner, keep=torch.tensor(0.4), targets="soft")
    vectors, targets = naive_instance_blend(f, y, partner, 0.4)
    assert torch.allclose(blend.vectors, vectors)
    assert torch.allclose(blend.targets, targets)


@pytest.mark.parametrize("targets", ["soft", "weighted"])
def test_keeping_everything_is_no_blending_and_keeping_nothing_is_the_partner(targets: str) -> None:
    y = torch.tensor([[0, 1], [1, 0], [0, -1]], dtype=torch.int8)
    f, partner, logits = torch.randn(3, 2, 4), torch.tensor([1, 0, 1]), torch.randn(3, 2)
    same = instance_blend(f, y, partner=partner, keep=torch.tensor(1.0), targets=targets)
    assert torch.equal(same.vectors, f)
    assert partial_bce(logits, same.targets, same.weights) == partial_bce(logits, y)
    other = instance_blend(f, y, partner=partner, keep=torch.tensor(0.0), targets=targets)
    assert torch.equal(other.vectors[other.mask], f[partner][other.mask])
    assert bool((other.targets[other.mask] == 1).all())


def test_full_rows_get_no_prototype_and_empty_rows_exactly_top_k() -> None:
    y = torch.tensor([[1, -1, 1, -1], [0, 0, 0, 0]], dtype=torch.int8)
    available = torch.tensor([True, False, True, True])
    for top_k, expected in ((1, 1), (2, 2), (4, 3)):
        mask = pick_unknown(y, available, top_k, generator=generator(top_k))
        assert mask.sum(1).tolist() == [0, expected]
        assert not bool(mask[:, 1].any())


def test_category_without_prototypes_is_never_selected() -> None:
    y = torch.zeros(4, 3, dtype=torch.int8)
    nothing = prototype_blend(
        torch.randn(4, 3, 3),
        y,
        bank=bank(3, filled=False),
        own=None,
        keep=torch.tensor(0.5),
        generator=generator(),
    )
    assert not bool(nothing.mask.any())
    assert not bool(nothing.weights.any())


def test_prototypes_are_mixed_in_and_carry_no_gradient() -> None:
    y, f, donors = torch.zeros(2, 3, dtype=torch.int8), torch.randn(2, 3, 3, requires_grad=True), bank(3)
    own = torch.zeros(2, 3, dtype=torch.int64)
    blend = prototype_blend(f, y, bank=donors, own=own, keep=torch.tensor(0.25), generator=generator())
    for row, column in blend.mask.nonzero().tolist():
        gap = (blend.vectors[row, column] - 0.25 * f[row, column]).detach()
        distance = (gap - 0.75 * donors.vectors[column]).norm(dim=1)
        assert int(distance.argmin()) != 0
        assert float(distance.min()) < 1e-5
    blend.vectors.sum().backward()
    assert f.grad is not None
    assert not donors.vectors.requires_grad


def test_blending_maps_then_pooling_equals_blending_vectors() -> None:
    maps, donor, keep = torch.randn(5, 4), torch.randn(5, 4), 0.3
    attention, other = torch.softmax(torch.randn(5), 0), torch.softmax(torch.randn(5), 0)
    mixed = keep * attention[:, None] * maps + (1 - keep) * other[:, None] * donor
    vectors = torch.stack([attention @ maps, other @ donor]).unsqueeze(1)
    y = torch.tensor([[0], [1]], dtype=torch.int8)
    blend = instance_blend(vectors, y, partner=torch.tensor([1, 0]), keep=torch.tensor(keep))
    assert torch.allclose(blend.vectors[0, 0], mixed.sum(0), atol=1e-5)


def test_class_aware_partners_donate_whenever_someone_can() -> None:
    y = torch.tensor([[0, -1], [-1, -1], [1, 0], [0, 1]], dtype=torch.int8)
    for seed in range(20):
        partner = choose_partners(y, "class_aware", generator=generator(seed))
        assert int(partner[0]) == 2
        assert int(partner[2]) == 3
        assert int(partner[3]) == 2


def test_reversal_is_the_published_partner() -> None:
    assert choose_partners(torch.zeros(3, 1), "reversal", generator=generator()).tolist() == [2, 1, 0]


def lambda_gradient(*, detach: bool) -> float:
    weight = BlendWeight("learnable", start=0.5)
    y = torch.tensor([[0], [1]], dtype=torch.int8)
    f = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])
    keep = weight(generator=generator())
    blend = instance_blend(
        f, y, partner=torch.tensor([1, 0]), keep=keep, targets="soft", detach_targets=detach
    )
    partial_bce(blend.vectors.sum(-1), blend.targets, blend.weights).backward()
    assert weight.value.grad is not None
    return float(weight.value.grad)


def test_lambda_learns_and_the_target_path_changes_its_gradient() -> None:
    detached, through = lambda_gradient(detach=True), lambda_gradient(detach=False)
    assert 0 < abs(detached) < 10
    assert through != detached


@given(st.floats(-50, 50))
def test_learnable_lambda_stays_in_bounds_wherever_it_drifts(raw: float) -> None:
    weight = BlendWeight("learnable")
    with torch.no_grad():
        weight.value.fill_(raw)
    assert 0.0 <= float(weight(generator=generator()).detach()) <= 1.0


def test_beta_lambda_has_its_distribution_and_repeats_with_its_seed() -> None:
    weight = BlendWeight("beta", beta=2.0)
    drawn = torch.stack([weight(generator=generator(seed)) for seed in range(400)])
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.04)
    assert float(drawn.var()) == pytest.approx(0.05, abs=0.01)
    assert float(weight(generator=generator(5))) == float(weight(generator=generator(5)))
    assert float(beta_quantile(torch.tensor(0.5), 3.0)) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("how", "start"), [("fixed", 1.5), ("learnable", 1.0)])
def test_impossible_lambdas_are_refused(how: str, start: float) -> None:
    with pytest.raises(ValueError, match="blending weight"):
        BlendWeight(how, start=start)
