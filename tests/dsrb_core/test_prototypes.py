"""Prototypes: exact means, places in the picture, the choice of another place."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsrb_core.prototypes import PrototypeBank, quadrant


def collected(
    labels: torch.Tensor, cells: torch.Tensor, vectors: torch.Tensor, *, per_category: int = 4
) -> PrototypeBank:
    bank = PrototypeBank(labels.shape[1], per_category, vectors.shape[-1])
    half = len(labels) // 2
    bank.collect(
        [(vectors[:half], cells[:half], labels[:half]), (vectors[half:], cells[half:], labels[half:])]
    )
    return bank


@given(st.integers(0, 50))
def test_prototype_is_the_exact_mean_of_its_members(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 2, (9, 3), generator=generator)
    cells = torch.randint(0, 4, (9, 3), generator=generator)
    vectors = torch.randn(9, 3, 5, generator=generator)
    bank = collected(labels, cells, vectors)
    assert int(bank.counts.sum()) == int((labels > 0).sum())
    for category in range(3):
        for cell in range(4):
            members = vectors[(labels[:, category] > 0) & (cells[:, category] == cell), category]
            assert int(bank.counts[category, cell]) == len(members)
            assert bool(bank.filled[category, cell]) == (len(members) > 0)
            if len(members):
                assert torch.allclose(bank.vectors[category, cell], members.mean(0), atol=1e-6)


def test_category_without_positives_has_no_prototype() -> None:
    labels = torch.tensor([[1, -1], [1, 0]])
    bank = collected(labels, torch.zeros(2, 2, dtype=torch.int64), torch.randn(2, 2, 3))
    assert bank.available.tolist() == [True, False]
    assert bank.vectors.shape == (2, 4, 3)


def test_collecting_again_forgets_the_earlier_members() -> None:
    cells = torch.zeros(2, 1, dtype=torch.int64)
    bank = collected(torch.ones(2, 1), cells, torch.ones(2, 1, 3))
    bank.collect([(torch.zeros(2, 1, 3), cells, torch.tensor([[1], [0]]))])
    assert int(bank.counts.sum()) == 1
    assert not bool(bank.vectors.any())


def test_quadrants_split_seven_rows_as_published() -> None:
    attention = torch.zeros(7, 1, 49)
    for row in range(7):
        attention[row, 0, row * 7 + 2] = 1
    assert quadrant(attention, (7, 7), 2).flatten().tolist() == [0, 0, 0, 2, 2, 2, 2]
    attention = attention.view(7, 1, 7, 7).transpose(2, 3).reshape(7, 1, 49)
    assert quadrant(attention, (7, 7), 2).flatten().tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert quadrant(attention, (7, 7), 1).flatten().tolist() == [0] * 7


@given(st.lists(st.booleans(), min_size=4, max_size=4), st.integers(0, 3), st.integers(0, 20))
def test_chosen_prototype_is_another_one_whenever_there_is_another(
    filled: list[bool], own: int, seed: int
) -> None:
    bank = PrototypeBank(1, 4, 2)
    bank.counts.copy_(torch.tensor([filled]))
    choice = bank.choose(torch.tensor([[own]]), (1, 1), generator=torch.Generator().manual_seed(seed))
    others = [cell for cell in range(4) if filled[cell] and cell != own]
    if others:
        assert int(choice) in others
    elif filled[own]:
        assert int(choice) == own


def test_choice_is_uniform_over_the_others() -> None:
    bank = PrototypeBank(1, 4, 2)
    bank.counts.fill_(1)
    own = torch.zeros(3000, 1, dtype=torch.int64)
    choice = bank.choose(own, (3000, 1), generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(choice.flatten(), minlength=4) / 3000
    assert shares[0] == 0
    assert torch.allclose(shares[1:], torch.full((3,), 1 / 3), atol=0.03)


@pytest.mark.parametrize("positives", [0, 1, 2, 7])
def test_clusters_never_exceed_the_members(positives: int) -> None:
    labels = torch.zeros(10, 1)
    labels[:positives] = 1
    bank = PrototypeBank(1, 5, 3)
    vectors = torch.randn(10, 1, 3, generator=torch.Generator().manual_seed(0))
    bank.cluster([(vectors, torch.zeros(10, 1, dtype=torch.int64), labels)], seed=0)
    assert int(bank.filled.sum()) == min(positives, 5)
    assert int(bank.counts.sum()) == positives


def test_clusters_find_separate_groups_and_equal_members_make_one() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    vectors = centres.repeat_interleave(5, 0).unsqueeze(1) + 0.01 * torch.randn(15, 1, 2)
    bank, cells = PrototypeBank(1, 3, 2), torch.zeros(15, 1, dtype=torch.int64)
    bank.cluster([(vectors, cells, torch.ones(15, 1))], seed=1)
    assert sorted(bank.counts[0].tolist()) == [5, 5, 5]
    assert float(torch.cdist(centres, bank.vectors[0]).min(1).values.max()) < 0.1
    bank.cluster([(torch.ones(15, 1, 2), cells, torch.ones(15, 1))], seed=1)
    assert int(bank.filled.sum()) == 1


def test_bank_is_state_and_carries_no_gradient() -> None:
    bank = PrototypeBank(2, 4, 3)
    assert set(bank.state_dict()) == {"vectors", "counts"}
    assert not list(bank.parameters())
    vectors = torch.randn(2, 2, 3, requires_grad=True)
    bank.collect([(vectors, torch.zeros(2, 2, dtype=torch.int64), torch.ones(2, 2))])
    assert not bank.vectors.requires_grad
