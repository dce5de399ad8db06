"""The published network: its sizes, its parts, what is frozen, and what its weights may come from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from dsrb_core.blending import BlendWeight
from dsrb_core.paper_backbone import load_resnet, weights_digest
from dsrb_core.paper_config import PaperConfig
from dsrb_core.paper_model import PaperNet, build_net, published_attention
from dsrb_core.residual_methods import SharedIndexBank
from tests.dsrb_core.test_paper_data import SMALL
from tests.references import naive_attention, naive_graph


def net(config: PaperConfig = SMALL, *, categories: int = 3, words: torch.Tensor | None = None) -> PaperNet:
    adjacency = 0.5 * torch.eye(categories) + 0.1
    return build_net(config, weights="none", seed=0, adjacency=adjacency, words=words)


def pixels(count: int = 2, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def count(part: nn.Module, *, trained: bool = True) -> int:
    return sum(one.numel() for one in part.parameters() if one.requires_grad is trained)


# --- published sizes


@pytest.fixture(scope="module")
def published() -> PaperNet:
    adjacency, words = torch.eye(80), torch.zeros(80, 300)
    with torch.device("meta"):  # the shapes alone
        return PaperNet(PaperConfig(), load_resnet("resnet101", "none"), adjacency=adjacency, words=words)


def test_each_part_has_the_published_number_of_parameters(published: PaperNet) -> None:
    assert count(published.graph) == 9_443_328
    # U, V, W3, w4; the published module adds b3 (512) and b4 (1), which cancel in the softmax.
    assert count(published.attention) == 1024 * 512 + 300 * 512 + 512 * 512 + 512 == 940_544
    assert count(published.fuse) == 2 * 1024 * 1024 + 1024
    assert published.class_weight.numel() + published.class_bias.numel() == 80 * 1024 + 80
    convolution, norm = published.backbone.change
    assert (count(convolution), count(norm)) == (2048 * 1024, 2 * 1024)
    assert count(published.backbone.layer4) == 14_964_736
    assert [one.numel() for one in published.lambdas] == [1, 1]


def test_all_that_trains_is_layer4_change_and_the_head(published: PaperNet) -> None:
    resnet = models.resnet101(weights=None)
    below = count(resnet) - count(resnet.fc) - count(resnet.layer4)
    assert count(published, trained=False) == count(published.backbone, trained=False) == below
    head = 9_443_328 + 940_544 + 2_098_176 + 82_000 + 2
    assert count(published) == 14_964_736 + 2_099_200 + head
    assert published.attention.words is not None and not published.attention.words.requires_grad


def test_a_picture_of_448_becomes_7_by_7_locations_of_1024() -> None:
    whole = net(PaperConfig(backbone="resnet18", attention_dim=8), categories=2).eval()
    assert whole.grid == (7, 7)
    with torch.no_grad():
        tokens, seen = whole.backbone(pixels(1, 448)), whole.look(pixels(1, 448))
    assert tokens.shape == (1, 49, 1024)
    assert tokens.min() < 0, "signed: no ReLU behind the batch norm"
    assert seen.vectors.shape == (1, 2, 1024) and seen.attention.shape == (1, 2, 49)


@pytest.mark.parametrize(("side", "places"), [(64, 1), (96, 1), (127, 4), (128, 4), (200, 9)])
def test_the_grid_fits_the_map_for_other_sizes(side: int, places: int) -> None:
    made = net(replace(SMALL, image_size=side)).eval()
    assert made.backbone(pixels(1, side)).shape == (1, places, 16)
    assert made.grid[0] * made.grid[1] == places


# --- parts


def test_folded_attention_equals_the_naive_layers() -> None:
    torch.manual_seed(0)
    words, tokens = torch.randn(5, 7), torch.randn(2, 9, 6)
    attention = published_attention(6, 5, rank=4, words=words)
    w3 = dict(attention.named_parameters())["parametrizations.mix.0.weight"]
    w4 = dict(attention.named_parameters())["parametrizations.mix.original"]
    weights = {
        "fc1": attention.token_map.weight,
        "fc2": attention.category_map.T,
        "fc3": w3,
        "fc3_bias": torch.randn(4),
        "fc4": w4.unsqueeze(0),
        "fc4_bias": torch.randn(1),
    }
    expected, where = naive_attention(tokens, words, weights)
    vectors, found = attention(tokens)
    assert torch.allclose(vectors, expected, atol=1e-5)
    assert torch.allclose(found, where.transpose(1, 2), atol=1e-6)
    found[..., 0].sum().backward()
    assert all(one.grad is not None and bool(one.grad.any()) for one in attention.parameters())


def test_attention_starts_as_linear_layers_do() -> None:
    attention = published_attention(1024, 80, rank=512, words=torch.zeros(80, 300))
    for name, fan_in in (
        ("token_map.weight", 1024),
        ("category_map", 300),
        ("parametrizations.mix.0.weight", 512),
    ):
        weight = dict(attention.named_parameters())[name]
        assert float(weight.detach().abs().max()) == pytest.approx(fan_in**-0.5, rel=1e-3)


def test_the_graph_with_published_biases_equals_the_equations() -> None:
    graph = net().graph
    vectors = torch.randn(2, 3, 16)
    z, r, h = graph.from_neighbours.weight.chunk(3)
    bz, br, bh = graph.from_neighbours.bias.chunk(3)
    uz, ur = graph.from_self.weight.chunk(2)
    cz, cr = graph.from_self.bias.chunk(2)
    biases = {"bz": bz + cz, "br": br + cr, "bh": bh + graph.from_reset.bias}
    weights = {"Wz": z, "Wr": r, "Wh": h, "Uz": uz, "Ur": ur, "Uh": graph.from_reset.weight}
    assert torch.allclose(
        graph(vectors), naive_graph(vectors, graph.adjacency, weights | biases, 3), atol=1e-5
    )


def test_phi_on_stacked_views_equals_a_call_per_view() -> None:
    made = net()
    views = [torch.randn(2, 3, 16) for _ in range(3)]
    assert torch.allclose(
        made.phi(torch.cat(views)), torch.cat([made.phi(view) for view in views]), atol=1e-6
    )


def test_a_cell_is_the_quadrant_where_the_published_map_or_the_attention_peaks() -> None:
    made = net(replace(SMALL, image_size=128)).eval()
    seen = made.look(pixels(3, 128))
    weighted = seen.attention.unsqueeze(-1) * made.backbone(pixels(3, 128)).unsqueeze(1)  # (B, C, N, D)
    assert torch.equal(seen.cells, weighted.sum(-1).argmax(-1))  # 2 x 2 places are the quadrants themselves
    other = net(replace(SMALL, image_size=128, place="attention")).eval().look(pixels(3, 128))
    assert torch.equal(other.cells, other.attention.argmax(-1))


def test_each_method_has_its_bank_and_its_lambdas() -> None:
    made = {name: net(replace(SMALL, method=name)) for name in ("ssgrl", "sarb", "dsrb")}
    assert {name: len(one.lambdas) for name, one in made.items()} == {"ssgrl": 0, "sarb": 2, "dsrb": 2}
    assert isinstance(made["sarb"].bank, SharedIndexBank)
    assert type(made["dsrb"].bank) is not SharedIndexBank
    assert all(float(one.detach()) == 0.5 for one in made["dsrb"].lambdas)


def test_the_same_seed_makes_the_same_network_and_global_random_state_stays() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = net().state_dict(), net().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(before, torch.get_rng_state())


# --- lambda


@pytest.mark.parametrize("gradient", [-1.0, 1.0])
def test_clamped_lambda_stays_between_0_and_1_wherever_it_is_pulled(gradient: float) -> None:
    weight = BlendWeight("clamped", start=0.5)
    optimizer = torch.optim.Adam(weight.parameters(), lr=0.3)
    for _ in range(5):
        optimizer.zero_grad()
        keep = weight(generator=torch.Generator())
        assert 0.0 <= float(keep.detach()) <= 1.0
        (gradient * keep).backward()
        optimizer.step()
    assert float(weight(generator=torch.Generator()).detach()) == (0.0 if gradient > 0 else 1.0)
    assert 0.0 <= float(weight.value.detach()) <= 1.0, "in place: the state holds the clamped value"


# --- frozen and trained


def test_frozen_parts_get_no_gradient_and_the_rest_does() -> None:
    made = net(replace(SMALL, image_size=128)).train()
    made(pixels(4, 128)).square().sum().backward()
    lambdas = {id(one) for one in made.lambdas}
    for name, one in made.named_parameters():
        if id(one) in lambdas:
            continue  # they are not in the logits
        reached = one.grad is not None and bool(one.grad.any())
        assert reached is not name.startswith("backbone.frozen"), name


def test_batch_norms_of_the_frozen_part_keep_still_and_the_others_move() -> None:
    made = net()
    before = {name: value.clone() for name, value in made.named_buffers()}
    made.train()
    made(pixels(4))
    frozen = [one for one in made.backbone.frozen.modules() if isinstance(one, nn.BatchNorm2d)]
    assert frozen and not any(one.training for one in frozen)
    moved = {name for name, value in made.named_buffers() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith(("backbone.layer4", "backbone.change")) for name in moved)
    made.eval()
    made.train()
    assert made.backbone.layer4.training and not made.backbone.frozen.training


# --- weights


def test_weights_are_taken_from_a_file_of_torchvision(tmp_path: Path) -> None:
    state = models.resnet18(weights=None).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    save_file({k: v for k, v in state.items() if not k.startswith("fc.")}, tmp_path / "bare.safetensors")
    for name in ("weights.pth", "bare.safetensors"):
        loaded = load_resnet("resnet18", str(tmp_path / name)).state_dict()
        assert all(
            torch.equal(loaded[key], value) for key, value in state.items() if not key.startswith("fc.")
        )
    assert weights_digest(str(tmp_path / "weights.pth")) != weights_digest(str(tmp_path / "bare.safetensors"))
    assert weights_digest("none") == "none"


def test_weights_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no weights file .*absent\.pth"):
        load_resnet("resnet18", str(tmp_path / "absent.pth"))
    with pytest.raises(ValueError, match=r"There is no weights file .*absent\.pth"):
        weights_digest(str(tmp_path / "absent.pth"))
    for name in ("broken.pth", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(ValueError, match=rf"The weights file .*{name} cannot be read \("):
            load_resnet("resnet18", str(tmp_path / name))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth holds no state dict"):
        load_resnet("resnet18", str(tmp_path / "list.pth"))
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "small.pth")
    with pytest.raises(ValueError, match=r"small\.pth does not fit resnet50: look at 'layer1"):
        load_resnet("resnet50", str(tmp_path / "small.pth"))


def test_another_backbone_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"backbone must be one of .*resnet101.* not 'vgg16'"):
        load_resnet("vgg16", "none")


def test_published_weights_out_of_reach_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(
        RuntimeError, match=r"weights of resnet18 are not on this machine .*no network.*--weights"
    ):
        load_resnet("resnet18", "imagenet")


def test_wrong_category_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"words must have the shape \(3, features\), not \(2, 5\)"):
        net(words=torch.zeros(2, 5))
    made = net(words=torch.from_numpy(np.eye(3, 5, dtype=np.float32)))
    assert made.attention.category_vectors().shape == (3, 8)
