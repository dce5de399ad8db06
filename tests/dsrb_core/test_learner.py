"""One training step: what it reads, and that the floor travels with the vectors."""

import numpy as np
import pytest
import torch

from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.model import DSRB
from dsrb_core.predictor import predict
from dsrb_core.tokens import TokenStore
from dsrb_core.trainer import fit
from dsrb_core.training import Learner
from tests.references import ArraySource, localised


def learner(labels: np.ndarray, source: ArraySource, floor: torch.Tensor) -> Learner:
    torch.manual_seed(0)
    config = DSRBConfig(dim=8, attention_dim=4, graph_dim=4, hidden=6)
    model = DSRB(features=source.dim, grid=source.grid, categories=labels.shape[1], config=config)
    model.frame.measure(torch.from_numpy(source.pooled()))
    tokens = TokenStore(source, model.frame, np.arange(len(source)), limit_bytes=2**20)
    tokens.load(on_chunk=lambda done, total: None, should_stop=lambda: False)
    return Learner(
        model,
        tokens,
        torch.from_numpy(labels),
        floor,
        training=TrainConfig(),
        stage=0,
        should_stop=lambda: False,
    )


def losses(made: Learner, *, blending: bool) -> dict[str, float]:
    rows = np.arange(len(made.labels))
    found = made.losses(rows, blending=blending, generator=torch.Generator().manual_seed(3))
    return {name: float(value.detach()) for name, value in found.items()}


def test_a_row_without_a_known_label_is_never_visited() -> None:
    source, complete, _ = localised(12, categories=3, dim=8, side=2)
    labels = complete.copy()
    labels[5] = 0
    assert 5 not in learner(labels, source, torch.zeros(12, 3)).rows


def test_first_losses_are_those_of_the_floor() -> None:
    source, labels, _ = localised(12, categories=3, dim=8, side=2)
    floor = torch.randn(12, 3)
    expected = torch.nn.functional.softplus(-torch.from_numpy(labels) * floor).mean()
    assert abs(losses(learner(labels, source, floor), blending=False)["known"] - float(expected)) < 1e-5


def test_a_blended_cell_is_judged_with_the_blended_floor() -> None:
    source, _, _ = localised(2, categories=1, dim=8, side=2)
    labels, floor = np.array([[0], [1]], np.int8), torch.tensor([[-4.0], [2.0]])
    found = losses(learner(labels, source, floor), blending=True)["instance"]
    known, blended = np.log1p(np.exp(-2.0)), np.log1p(np.exp(1.0))  # half of -4 and half of 2 is -1
    assert abs(found - (known + 0.5 * blended) / 1.5) < 1e-5


def test_prototypes_keep_the_floor_of_their_members() -> None:
    source, labels, _ = localised(30, categories=2, dim=8, side=2)
    floor = torch.randn(30, 2)
    made = learner(labels, source, floor)
    made.refresh_prototypes()
    bank = made.model.bank
    for category in range(2):
        weighted = (bank.vectors[category, :, -1] * bank.counts[category]).sum() / bank.counts[category].sum()
        assert torch.allclose(
            weighted, floor[torch.from_numpy(labels[:, category] > 0), category].mean(), atol=1e-5
        )


def test_five_thousand_categories_take_small_batches() -> None:
    source, _, _ = localised(4, categories=1, dim=8, side=2)
    labels = np.ones((4, 5000), np.int8)
    made = learner(labels, source, torch.zeros(4, 5000))
    assert made.batch == 65_536 // 5000
    assert made.model.graph is None
    assert np.isfinite(losses(made, blending=False)["known"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_gpu_gives_the_same_losses_as_the_cpu() -> None:
    source, labels, _ = localised(12, categories=3, dim=8, side=2)
    floor = torch.randn(12, 3)
    expected = losses(learner(labels, source, floor), blending=True)
    there = learner(labels, source, floor)
    there.model.cuda()
    there.labels, there.floor = there.labels.cuda(), floor.cuda()
    found = losses(there, blending=True)
    assert found.keys() == expected.keys()
    assert all(abs(found[name] - expected[name]) < 1e-4 for name in expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("amp", [False, True])
def test_a_whole_run_works_on_the_gpu(amp: bool) -> None:
    source, labels, _ = localised(60, categories=3, dim=8, side=2)
    training = TrainConfig(epochs=4, device="cuda", amp=amp, floor_l2=(0.1,))
    result = fit(source, labels, config=DSRBConfig(dim=8), training=training)
    assert result.stopped == "finished"
    parts = list(predict(result.model, source, device="cuda"))
    assert all(np.isfinite(part.logits).all() for part in parts)
