"""Predictions: shapes, order, relevance."""

import numpy as np
import pytest
import torch

from dsrb_core.config import DSRBConfig
from dsrb_core.model import DSRB
from dsrb_core.predictor import predict, relevance
from dsrb_core.tokens import TokenStore
from tests.references import ArraySource


def make() -> tuple[DSRB, ArraySource]:
    torch.manual_seed(0)
    source = ArraySource(np.random.default_rng(0).standard_normal((11, 6, 8)).astype(np.float16), (2, 3))
    config = DSRBConfig(dim=6, attention_dim=4, graph_dim=3, hidden=5)
    model = DSRB(features=8, grid=(2, 3), categories=4, config=config)
    model.frame.measure(torch.from_numpy(source.pooled()))
    model.floor_weight.normal_()
    return model, source


def test_every_row_comes_once_in_order_with_its_shapes() -> None:
    model, source = make()
    parts = list(predict(model, source, batch_size=4))
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(11))
    assert parts[0].logits.shape == (4, 4)
    assert parts[0].vectors.shape == parts[0].instances.shape == (4, 4, 6)
    assert parts[-1].relevance.shape == (3, 4, 6)
    assert all(array.dtype == np.float32 for array in (parts[0].logits, parts[0].vectors, parts[0].relevance))


def test_chosen_rows_do_not_depend_on_the_batch() -> None:
    model, source = make()
    rows = np.array([7, 2, 9])
    one = np.concatenate([part.logits for part in predict(model, source, rows=rows, batch_size=1)])
    all_rows = next(iter(predict(model, source))).logits
    assert np.allclose(one, all_rows[rows], atol=1e-5)
    assert list(predict(model, source, rows=np.zeros(0, np.int64))) == []


def test_relevance_is_finite_not_negative_and_one_at_its_strongest() -> None:
    model, source = make()
    for gate in (0.0, 1.0):
        model.gate.fill_(gate)
        for part in predict(model, source):
            assert np.isfinite(part.relevance).all()
            assert (part.relevance >= 0).all()
            assert np.allclose(part.relevance.max(-1), 1.0)


def test_relevance_of_a_floor_alone_is_its_positive_contribution() -> None:
    contributions, attention = torch.tensor([[[2.0, -1.0, 1.0]]]), torch.tensor([[[0.1, 0.8, 0.1]]])
    assert relevance(contributions, attention, torch.tensor(0.0)).tolist() == [[[1.0, 0.0, 0.5]]]
    mixed = relevance(contributions, attention, torch.tensor(1.0))
    assert 0 < float(mixed[0, 0, 1]) <= 1
    silent = relevance(-contributions.abs(), attention, torch.tensor(0.0))
    assert torch.allclose(silent, attention / 0.8)


def test_a_source_that_does_not_fit_is_refused_before_anything_is_read() -> None:
    model, source = make()
    with pytest.raises(ValueError, match="batch_size"):
        predict(model, source, batch_size=0)
    other = ArraySource(np.zeros((2, 6, 9), np.float16), (2, 3))
    with pytest.raises(ValueError, match="reads 8 features"):
        predict(model, other)
    assert not other.read_rows


def test_maps_that_are_not_finite_are_refused() -> None:
    model, source = make()
    source.maps[3, 0, 0] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        list(predict(model, source))


def test_tokens_in_memory_and_read_again_are_the_same() -> None:
    model, source = make()
    rows, positions = np.array([9, 1, 4]), np.array([2, 0])
    kept = TokenStore(source, model.frame, rows, limit_bytes=2**20)
    assert kept.load(on_chunk=lambda done, total: None, should_stop=lambda: False)
    again = TokenStore(source, model.frame, rows, limit_bytes=0)
    assert kept.in_memory
    assert not again.in_memory
    assert torch.equal(kept.read(positions), again.read(positions))
    expected = model.frame.project(torch.from_numpy(source.maps[[4, 9]]))
    assert torch.allclose(kept.read(positions), expected, atol=0.02)
