"""Memory of the attention, counted tensor by tensor: bounded chunks whatever the number of categories."""

import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dsrb_core.attention import SemanticAttention

BATCH, PLACES, DIM, RANK = 2, 9, 4, 16
CHUNK = 2**14  # floats


class Counted(TorchDispatchMode):
    """Counts the floats of every storage made under it: `live` now, `peak` at once, `largest` single one."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.largest = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {id(x.untyped_storage()) for x in tree_leaves(args) if isinstance(x, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                if id(storage) not in self._seen and id(storage) not in inputs:
                    self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, floats = id(storage), storage.nbytes() // 4

        def gone(_: Any) -> None:
            del self._seen[key]
            self.live -= floats

        self._seen[key] = weakref.ref(storage, gone)
        self.live += floats
        self.peak, self.largest = max(self.peak, self.live), max(self.largest, floats)


def step(categories: int) -> Counted:
    """One forward and backward pass of the attention, counted."""
    torch.manual_seed(0)
    module = SemanticAttention(DIM, categories, rank=RANK, chunk_elements=CHUNK)
    tokens = torch.randn(BATCH, PLACES, DIM)
    with Counted() as counted:
        vectors, _ = module(tokens)
        vectors.square().sum().backward()
        del vectors
    return counted


def test_the_counter_counts_what_lives_and_forgets_what_does_not() -> None:
    with Counted() as counted:
        first = torch.zeros(100)
        second = first + 1
        del first
        third = second.view(10, 10) * 2
    assert (counted.live, counted.largest) == (200, 100)
    assert counted.peak == 200
    assert third.shape == (10, 10)


def test_no_tensor_of_5000_categories_is_larger_than_a_chunk_or_a_result() -> None:
    results = BATCH * 5000 * max(PLACES, DIM), 5000 * RANK
    assert step(5000).largest <= max(CHUNK, *results) < BATCH * 5000 * PLACES * RANK


def test_memory_grows_with_the_results_and_never_with_their_product_with_the_rank() -> None:
    few, many = step(500), step(5000)
    per_category = (many.peak - few.peak) / 4500
    assert per_category <= 8 * (BATCH * (PLACES + DIM) + RANK)
    assert many.peak <= 4 * CHUNK + 5000 * 8 * (BATCH * (PLACES + DIM) + RANK)


@pytest.mark.parametrize("chunk", [1, 2**12, 2**14])
def test_the_working_set_beside_the_results_follows_the_chunk(chunk: int) -> None:
    def scores_only(categories: int) -> int:
        module = SemanticAttention(DIM, categories, rank=RANK, chunk_elements=chunk)
        tokens = torch.randn(BATCH, PLACES, DIM)
        with Counted() as counted, torch.no_grad():
            module.scores(tokens)
        return counted.peak

    results = BATCH * PLACES * (RANK + 5000) + 5000 * RANK + RANK  # u, the scores, twice v and p
    one_category = BATCH * PLACES * RANK
    assert scores_only(5000) <= results + max(chunk, one_category) + 1
