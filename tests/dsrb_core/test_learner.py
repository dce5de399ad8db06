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


def learner(
    labels: np.ndarray, source: ArraySource, floor: torch.Tensor, options: DSRBConfig | None = None
) -> Learner:
    torch.manual_seed(0)
    config = options or DSRBConfig(dim=8, attention_dim=4, graph_dim=4, hidden=6)
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


def token_options(share: float) -> DSRBConfig:
    return DSRBConfig(
        dim=8,
        attention_dim=4,
        graph=False,
        hidden=6,
        prototype_weight=0,
        blending="tokens",
        exchanged_share=share,
    )


def test_exchanged_locations_change_the_instance_loss_and_nothing_else() -> None:
    source, _, _ = localised(2, categories=1, dim=8, side=2)
    labels, floor = np.array([[0], [1]], np.int8), torch.zeros(2, 1)
    found = []
    for share in (0.0, 0.5, 1.0):
        made = learner(labels, source, floor, token_options(share))
        torch.nn.init.ones_(made.model.class_weight)
        found.append(losses(made, blending=True))
    assert len({round(one["instance"], 6) for one in found}) == 3
    assert len({one["known"] for one in found}) == 1


def test_without_exchange_the_blended_cell_keeps_its_own_vector_and_with_all_takes_the_partners() -> None:
    source, _, _ = localised(2, categories=1, dim=8, side=2)
    labels, floor = np.array([[0], [1]], np.int8), torch.tensor([[-4.0], [2.0]])
    for share, expected_row in ((0.0, 0), (1.0, 1)):
        made = learner(labels, source, floor, token_options(share))
        tokens = made.tokens.read(np.arange(2))
        vectors, attention = made.model.attention(tokens)
        evidence = torch.cat([vectors, floor.unsqueeze(-1)], dim=-1)
        generator = torch.Generator().manual_seed(3)
        blend = made._blends(tokens, evidence, attention, torch.from_numpy(labels), generator)["instance"]
        torch.testing.assert_close(blend.vectors[0, 0, :-1], vectors[expected_row, 0])
        assert blend.vectors[0, 0, -1].item() == -1.0, "the floor is blended by weight"
        assert torch.equal(blend.vectors[1], evidence[1]), "a known cell is untouched"


def test_token_blending_teaches_the_attention() -> None:
    source, _, _ = localised(2, categories=1, dim=8, side=2)
    made = learner(np.array([[0], [1]], np.int8), source, torch.zeros(2, 1), token_options(0.5))
    torch.nn.init.ones_(made.model.class_weight)
    found = made.losses(np.arange(2), blending=True, generator=torch.Generator().manual_seed(3))
    found["instance"].backward()  # type: ignore[no-untyped-call]
    gradient = made.model.attention.category_map.grad
    assert gradient is not None and float(gradient.abs().max()) > 0


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_of_exchanged_locations_lies_between_zero_and_one(share: float) -> None:
    with pytest.raises(ValueError, match="exchanged_share"):
        DSRBConfig(blending="tokens", exchanged_share=share)


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


@pytest.mark.parametrize("blending", [False, True])
def test_logits_of_supervised_cells_alone_give_the_losses_and_gradients_of_all(blending: bool) -> None:
    source, complete, _ = localised(16, categories=4, dim=8, side=2)
    labels = np.where(np.random.default_rng(0).random(complete.shape) < 0.4, complete, 0).astype(np.int8)
    labels[0, 0], labels[1, 0] = 1, 0
    found = []
    for sparse in (True, False):
        made = learner(labels, source, torch.randn(16, 4, generator=torch.Generator().manual_seed(1)))
        with torch.no_grad():
            made.model.class_weight.copy_(torch.randn(4, 6, generator=torch.Generator().manual_seed(2)))
            made.model.bank.counts.fill_(1)
        if not sparse:
            made._logits = (
                lambda views, targets, model=made.model: tuple(  # type: ignore[method-assign]
                    model.residual(view[..., :-1]) + view[..., -1] for view in views
                )
            )
        named = made.losses(np.arange(16), blending=blending, generator=torch.Generator().manual_seed(3))
        made.criterion.total(named).backward()
        gradients = [p.grad.clone() for p in made.model.parameters() if p.grad is not None]
        found.append(({name: float(value.detach()) for name, value in named.items()}, gradients))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert len(found[0][1]) == len(found[1][1]) > 4
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_with_the_graph_a_cell_has_no_logit_of_its_own() -> None:
    source, labels, _ = localised(4, categories=3, dim=8, side=2)
    options = DSRBConfig(dim=8, attention_dim=4, graph=True, graph_dim=4, hidden=6)
    made = learner(labels, source, torch.zeros(4, 3), options)
    with pytest.raises(ValueError, match="no logit of its own"):
        made.model.residual_at(torch.zeros(2, 8), torch.tensor([0, 1]))
