"""The composed model: floor, gate, residual, categories that come and go."""

import pytest
import torch

from dsrb_core.config import DSRBConfig
from dsrb_core.frame import Frame
from dsrb_core.model import DSRB


def make(*, categories: int = 4, words: torch.Tensor | None = None, **options: object) -> DSRB:
    torch.manual_seed(0)
    config = DSRBConfig(dim=6, attention_dim=4, graph_dim=3, hidden=5, **options)
    model = DSRB(features=8, grid=(2, 3), categories=categories, config=config, words=words)
    model.frame.measure(torch.randn(30, 8))
    model.floor_weight.copy_(torch.randn(categories, 8))
    return model.eval()


def trained(**options: object) -> DSRB:
    model = make(**options)
    with torch.no_grad():
        model.class_weight.copy_(torch.randn(model.class_weight.shape))
        model.class_bias.copy_(torch.randn(model.class_bias.shape))
    model.gate.fill_(0.7)
    return model


def test_residual_begins_at_exactly_nothing() -> None:
    model, maps = make(), torch.randn(3, 6, 8)
    model.gate.fill_(1.0)
    output = model(maps)
    assert torch.equal(output.logits, output.floor)
    assert torch.allclose(output.floor, model.floor(maps.mean(1)))
    assert output.vectors.shape == (3, 4, 6)
    assert output.attention.shape == (3, 4, 6)


def test_gate_scales_the_residual_and_zero_leaves_the_floor() -> None:
    model, maps = trained(), torch.randn(3, 6, 8)
    output = model(maps)
    assert torch.allclose(output.logits, output.floor + 0.7 * model.residual(output.vectors))
    assert not torch.allclose(output.logits, output.floor)
    model.gate.zero_()
    assert torch.equal(model(maps).logits, output.floor)


def test_what_a_closed_gate_shuts_out_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, maps, calls = trained(), torch.randn(3, 6, 8), list[torch.Size]()
    residual = model.residual

    def counted(vectors: torch.Tensor) -> torch.Tensor:
        calls.append(vectors.shape)
        return residual(vectors)

    monkeypatch.setattr(model, "residual", counted)
    with torch.no_grad():
        model.class_bias.fill_(float("nan"))
    model.gate.zero_()
    output = model(maps)
    assert not calls and torch.equal(output.logits, output.floor)
    assert torch.equal(output.floor, model.floor(maps.mean(1))) and bool(output.logits.isfinite().all())
    assert output.vectors.shape == (3, 4, 6) and output.attention.shape == (3, 4, 6)
    model.gate.fill_(0.25)
    assert bool(model(maps).logits.isnan().all()) and calls == [(3, 4, 6)]


def test_phi_on_stacked_views_equals_separate_calls() -> None:
    model, views = trained(), [torch.randn(3, 4, 6) for _ in range(3)]
    together = model.residual(torch.cat(views))
    assert torch.allclose(together, torch.cat([model.residual(view) for view in views]), atol=1e-6)


def test_an_image_is_scored_alone_as_in_a_batch() -> None:
    model, maps = trained(), torch.randn(5, 6, 8)
    alone = torch.cat([model(maps[i : i + 1]).logits for i in range(5)])
    assert torch.allclose(model(maps).logits, alone, atol=1e-5)


def test_contributions_of_the_locations_add_up_to_the_floor() -> None:
    model, maps = make(), torch.randn(2, 6, 8)
    total = model.contributions(maps).mean(-1) + model.floor_bias
    assert torch.allclose(total, model(maps).floor, atol=1e-5)


def test_gradient_reaches_the_head_and_never_floor_frame_or_prototypes() -> None:
    model = trained(graph=True)
    maps = torch.randn(2, 6, 8)
    model(maps).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    fixed = {"floor_weight", "frame.projection", "bank.vectors", "gate", "graph.adjacency"}
    assert fixed <= dict(model.named_buffers()).keys()


def test_graph_can_be_switched_off_and_stops_by_itself_at_very_many_categories() -> None:
    assert make(graph=True).graph is not None
    assert make().graph is None
    assert make(graph=True, graph_limit=3).graph is None
    assert trained(graph=False)(torch.randn(1, 6, 8)).logits.shape == (1, 4)


def test_categories_can_be_added_archived_and_moved() -> None:
    model, maps = trained(graph=False), torch.randn(2, 6, 8)
    model.bank.counts.fill_(3)
    moved = model.for_columns([2, None, 0]).eval()
    before, after = model(maps), moved(maps)
    assert torch.allclose(after.logits[:, [0, 2]], before.logits[:, [2, 0]], atol=1e-6)
    assert torch.equal(after.logits[:, 1], torch.zeros(2))
    assert moved.bank.available.tolist() == [True, False, True]
    with pytest.raises(ValueError, match="no column 4"):
        model.for_columns([4])


def test_the_l2_of_the_floor_stays_with_the_model_whatever_its_categories() -> None:
    model = trained()
    assert float(model.floor_l2) == 0, "none was fitted"
    model.floor_l2.fill_(0.03)
    for columns in ([2, 0], [None, 1, None], [0, 1, 2, 3]):
        assert float(model.for_columns(columns).floor_l2) == pytest.approx(0.03)


def test_edges_follow_their_categories() -> None:
    model = trained(graph=True)
    assert model.graph is not None
    model.graph.adjacency.copy_(torch.arange(16.0).view(4, 4))
    moved = model.for_columns([3, None, 1])
    assert moved.graph is not None
    assert moved.graph.adjacency.tolist() == [[15, 0, 13], [0, 1, 0], [7, 0, 5]]


def test_wrong_maps_and_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"maps must have the shape \(B, 6, 8\)"):
        make()(torch.zeros(1, 5, 8))
    with pytest.raises(ValueError, match="at least 1"):
        DSRB(features=8, grid=(0, 3), categories=1, config=DSRBConfig())


def test_frame_standardises_by_pooled_features_and_projects_without_whitening() -> None:
    torch.manual_seed(0)
    pooled = torch.randn(200, 5) * torch.tensor([1.0, 10.0, 0.1, 1.0, 0.0]) + 3
    frame = Frame(5, 5)
    frame.measure(pooled)
    standard = frame.standardise(pooled)
    assert torch.allclose(standard.mean(0), torch.zeros(5), atol=1e-4)
    assert float(standard.norm(dim=1).square().mean()) == pytest.approx(7.5**2, rel=1e-3)
    tokens = frame.project(pooled.unsqueeze(0))[0]
    assert torch.allclose(tokens @ frame.projection.T, standard, atol=1e-4)
    spread = tokens.std(0)
    assert bool((spread[:-1] >= spread[1:] - 1e-5).all())


def test_frame_of_one_image_is_finite_and_nan_is_refused() -> None:
    frame = Frame(3, 2)
    frame.measure(torch.tensor([[1.0, 2.0, 3.0]]))
    assert bool(torch.isfinite(frame.project(torch.ones(1, 1, 3))).all())
    with pytest.raises(ValueError, match="not finite"):
        frame.measure(torch.tensor([[float("nan"), 0.0, 0.0]]))
    with pytest.raises(ValueError, match="shape"):
        frame.measure(torch.zeros(2, 4))


def test_instances_are_the_mean_where_the_floor_has_no_map() -> None:
    model, tokens = make(), torch.randn(3, 6, 6)
    model.floor_weight.zero_()
    model.measure_map(tokens)
    assert torch.allclose(model.instances(tokens), tokens.mean(1)[:, None].expand(-1, 4, -1), atol=1e-6)


def test_instances_lean_towards_where_the_floor_finds_the_category() -> None:
    model, tokens = make(), torch.randn(20, 6, 6)
    model.measure_map(tokens)
    weights = model.floor_weight @ model.frame.projection
    focused = (model.instances(tokens) * weights).sum(-1)
    plain = (tokens.mean(1)[:, None] * weights).sum(-1)
    assert bool((focused > plain).all()), "the floor must find more of it there than on average"


def test_instances_do_not_depend_on_the_scale_of_the_floor() -> None:
    model, tokens = make(), torch.randn(5, 6, 6)
    model.measure_map(tokens)
    before = model.instances(tokens)
    model.floor_weight.mul_(10)
    model.measure_map(tokens)
    assert torch.allclose(model.instances(tokens), before, atol=1e-5)


def test_a_moved_category_keeps_its_instances() -> None:
    model, tokens = make(), torch.randn(5, 6, 6)
    model.measure_map(tokens)
    moved = model.for_columns([2, None, 0])
    assert torch.allclose(moved.instances(tokens)[:, [0, 2]], model.instances(tokens)[:, [2, 0]], atol=1e-6)
