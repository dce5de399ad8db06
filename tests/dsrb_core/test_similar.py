"""The nearest instances of a category, against a loop over pairs."""

import numpy as np
import pytest
import torch

from dsrb_core.similar import nearest
from tests.references import naive_nearest


def instances(count: int = 40, dim: int = 5, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.standard_normal((count, dim)) + 3).astype(np.float32))


@pytest.mark.parametrize("k", [1, 4, 50])
@pytest.mark.parametrize("chunk", [1000, 7])
def test_the_nearest_equal_the_loop(k: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsrb_core.similar._CHUNK", chunk)
    vectors, others, asked = instances(), list(range(3, 40, 2)), [0, 3, 5, 38, 39, 12, 7, 1, 2]
    cosines, places = naive_nearest(vectors.numpy(), others, asked, k)
    similar, where = nearest(vectors, torch.tensor(others), k, asked=torch.tensor(asked))
    assert np.array_equal(where.numpy(), places)
    np.testing.assert_allclose(similar.numpy(), cosines, atol=1e-5)


def test_nobody_finds_itself_but_everybody_finds_a_copy() -> None:
    vectors = instances()
    vectors[9] = vectors[4]
    others = torch.arange(0, 40)
    similar, where = nearest(vectors, others, 39)
    assert not bool((others[where] == torch.arange(40)[:, None]).any())
    assert int(where[4, 0]) == 9 and int(where[9, 0]) == 4
    assert float(similar[4, 0]) == pytest.approx(1.0, abs=1e-5)
    assert bool(torch.isfinite(similar).all()), "the mark of itself is never among what was found"


def test_the_order_of_the_others_is_only_their_place() -> None:
    vectors, others = instances(), torch.arange(5, 25)
    turned = others.flip(0)
    _, one = nearest(vectors, others, 6)
    _, two = nearest(vectors, turned, 6)
    assert torch.equal(others[one], turned[two])


def test_fewer_others_than_asked_for_are_all_that_is_found() -> None:
    vectors = instances()
    similar, where = nearest(vectors, torch.tensor([3, 8, 11]), 20)
    assert similar.shape == where.shape == (40, 2)
    assert sorted(where[8].tolist()) == [0, 2], "a member has two others, itself is none"


@pytest.mark.parametrize("others", [[], [6]])
def test_fewer_than_two_others_find_nothing(others: list[int]) -> None:
    for asked, count in ((None, 40), (torch.tensor([6, 7]), 2)):
        similar, where = nearest(instances(), torch.tensor(others, dtype=torch.int64), 5, asked=asked)
        assert similar.shape == where.shape == (count, 0)
        assert where.dtype == torch.int64


def test_those_asked_hear_what_they_hear_when_all_are_asked() -> None:
    vectors, others, asked = instances(), torch.arange(0, 30), torch.tensor([31, 4, 4, 29])
    everyone = nearest(vectors, others, 7)
    some = nearest(vectors, others, 7, asked=asked)
    assert torch.equal(some[1], everyone[1][asked])
    assert torch.allclose(some[0], everyone[0][asked], atol=1e-6)


def test_nobody_asked_is_an_empty_answer() -> None:
    similar, where = nearest(instances(), torch.arange(9), 4, asked=torch.zeros(0, dtype=torch.int64))
    assert similar.shape == where.shape == (0, 4)


def test_who_is_not_among_the_others_has_no_part() -> None:
    vectors, others, asked = instances(), torch.arange(0, 20), torch.arange(0, 20)
    changed = vectors.clone()
    changed[20:] += 50.0
    assert torch.equal(
        nearest(vectors, others, 5, asked=asked)[0], nearest(changed, others, 5, asked=asked)[0]
    )


def test_half_precision_is_compared_in_single() -> None:
    vectors = instances().half()
    similar, where = nearest(vectors, torch.arange(40), 5)
    single = nearest(vectors.float(), torch.arange(40), 5)
    assert torch.equal(similar, single[0]) and torch.equal(where, single[1])


def test_an_instance_at_the_centre_is_like_nobody() -> None:
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    similar, _ = nearest(vectors, torch.tensor([0, 1]), 1)
    assert similar[2].tolist() == [0.0]
