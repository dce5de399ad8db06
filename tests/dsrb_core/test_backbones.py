"""Frozen backbones: right numbers, right files, no connection, clear refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torchvision import models

from dsrb_core import backbone_nets
from dsrb_core.backbone_nets import LITE0_SHA256, PooledTokens, area_weights, checked_weights
from dsrb_core.backbones import Backbone, load_backbone
from dsrb_core.decoding import decode

ROOT = Path(__file__).parents[2]


def pictures(count: int, size: int, *, seed: int = 0) -> np.ndarray:
    """Smooth random pictures: blobs, as a photograph has, rather than white noise."""
    coarse = torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (count, 3, 6, 6)).astype(np.float32)
    )
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255)
    return smooth.to(torch.uint8).numpy()


built = cache(backbone_nets.build)


def in_torch(name: str, batch: np.ndarray, grid: int) -> np.ndarray:
    module = built(name).module.eval()
    with torch.inference_mode():
        native = module(torch.from_numpy(batch))
        return PooledTokens(module, native=tuple(native.shape[2:])).eval()(torch.from_numpy(batch)).numpy()


@pytest.fixture(scope="module")
def lite() -> Backbone:
    return load_backbone("lite0-320", device="cpu")


@pytest.mark.parametrize("name", ["lite0-320", "tiny"])
def test_openvino_gives_torchs_features(name: str, lite: Backbone) -> None:
    backbone = lite if name == "lite0-320" else load_backbone(name, device="cpu")
    batch = pictures(2, backbone.size)
    ours, reference = backbone.bare(batch), in_torch(name, batch, backbone.grid[0])
    assert ours.shape == reference.shape == (2, backbone.locations, backbone.dim)
    assert np.abs(ours - reference).max() / np.abs(reference).max() < 3e-5
    np.testing.assert_array_equal(backbone.extract(batch), ours.astype(np.float16))


def test_the_default_backbone_has_the_documented_shape(lite: Backbone) -> None:
    assert (lite.key, lite.size, lite.grid, lite.dim, lite.locations) == ("lite0-320", 320, (7, 7), 1280, 49)


def test_the_mean_of_the_cached_locations_is_the_mean_of_the_native_map(lite: Backbone) -> None:
    batch = pictures(2, 320)
    with torch.inference_mode():
        native = built("lite0-320").module.eval()(torch.from_numpy(batch)).numpy()
    assert native.shape == (2, 1280, 10, 10)
    np.testing.assert_allclose(lite.bare(batch).mean(axis=1), native.mean(axis=(2, 3)), atol=2e-5)


@given(native=st.integers(1, 40), wanted=st.integers(1, 12))
def test_equal_area_pooling_keeps_the_mean_and_constants(native: int, wanted: int) -> None:
    wanted = min(native, wanted)
    weights = area_weights(native, wanted)
    torch.testing.assert_close(weights.sum(1), torch.ones(wanted))
    torch.testing.assert_close(weights.sum(0), torch.full((native,), wanted / native))


def test_the_result_does_not_depend_on_the_rest_of_the_batch(lite: Backbone) -> None:
    batch = pictures(5, 320)
    np.testing.assert_allclose(lite.bare(batch)[3:4], lite.bare(batch[3:4]), atol=2e-5)


PHOTOS = Path(os.environ.get("DSRB_DATA", ROOT.parent / "shared" / "data")) / "coco80" / "images"


@pytest.mark.data
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the coco80 pictures are not here")
def test_the_networks_own_statistics_fit_its_pixel_normalisation() -> None:
    """(pixel - 127) / 128, not ImageNet's mean and spread: the first normalisation layer remembers which."""
    net = built("lite0-224").module
    stem, norm = net.net.net._conv_stem, net.net.net._bn0
    photos = np.stack([decode(path, size=224) for path in sorted(PHOTOS.iterdir())[::250]])
    pixels = torch.from_numpy(photos).float()
    with torch.inference_mode():
        ours = stem((pixels - net.mean) / net.std).var((0, 2, 3))
        imagenet = stem((pixels / 255 - 0.45) / 0.225).var((0, 2, 3))
    off = [float((found / norm.running_var).log().median().abs()) for found in (ours, imagenet)]
    assert off[0] < 0.5 < off[1]


def test_the_small_input_gives_the_native_map_unpooled() -> None:
    net = built("lite0-224")
    batch = pictures(1, 224)
    with torch.inference_mode():
        native = net.module.eval()(torch.from_numpy(batch))
        tokens = PooledTokens(net.module, native=(7, 7)).eval()(torch.from_numpy(batch))
    assert (net.key, net.size, tuple(native.shape)) == ("lite0-224", 224, (1, 1280, 7, 7))
    assert torch.equal(tokens, native.flatten(2).transpose(1, 2))


def test_damaged_weights_are_refused_before_they_are_read(tmp_path: Path) -> None:
    bad = tmp_path / "weights.pth"
    bad.write_bytes(b"not the weights")
    with pytest.raises(RuntimeError, match=r"weights\.pth have SHA-256 .* reinstall"):
        checked_weights(bad, LITE0_SHA256)
    with pytest.raises(RuntimeError, match="missing"):
        checked_weights(tmp_path / "none.pth", LITE0_SHA256)


def shapes(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Red or blue, disc or cross, anywhere: pictures with both answers."""
    rng = np.random.default_rng(seed)
    batch = rng.integers(90, 130, (count, 3, 64, 64)).astype(np.uint8)
    colour, kind = rng.integers(0, 2, count), rng.integers(0, 2, count)
    y, x = np.mgrid[:64, :64]
    for n in range(count):
        cy, cx, r = *rng.integers(20, 44, 2), rng.integers(10, 18)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < r**2
        cross = ((abs(y - cy) < r / 3) & (abs(x - cx) < r)) | ((abs(x - cx) < r / 3) & (abs(y - cy) < r))
        batch[n][:, disc if kind[n] else cross] = np.array(
            [[220], [40], [40]] if colour[n] else [[40], [40], [220]]
        )
    return batch, colour, kind


def test_the_tiny_backbone_tells_colours_and_shapes_apart() -> None:
    backbone = load_backbone("tiny", device="cpu")
    assert (backbone.size, backbone.grid, backbone.dim) == (64, (4, 4), 48)
    (train, *answers), (test, *truths) = shapes(300, seed=0), shapes(200, seed=1)
    learn, check = (backbone.extract(b).astype(np.float64).mean(axis=1) for b in (train, test))
    spread = learn.std(0) + 1e-9
    for answer, truth in zip(answers, truths, strict=True):
        head = LogisticRegression(max_iter=2000).fit((learn - learn.mean(0)) / spread, answer)
        assert head.score((check - learn.mean(0)) / spread, truth) > 0.85


def test_the_tiny_backbone_is_the_same_in_every_process() -> None:
    batch = pictures(2, 64)
    torch.manual_seed(123)
    first = load_backbone("tiny").extract(batch)
    torch.manual_seed(7)
    np.testing.assert_array_equal(load_backbone("tiny").extract(batch), first)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((1, 3, 32, 32), np.uint8),
        np.zeros((3, 64, 64), np.uint8),
        np.zeros((1, 3, 64, 64), np.float32),
    ],
)
def test_a_batch_of_the_wrong_shape_or_type_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"tiny takes uint8 pictures of shape \(B, 3, 64, 64\)"):
        load_backbone("tiny").extract(bad)


@pytest.mark.parametrize("name", ["lite9", "", "torchvision", "torch vision:resnet18"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"no backbone named .* known are lite0-320, lite0-224, tiny, torchvision"
    ):
        load_backbone(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet9", "named 'resnet9'"),
        ("torchvision:resnet18@big", "number of pixels"),
        ("torchvision:resnet18@9", "32 to 2048"),
    ],
)
def test_a_torchvision_name_that_cannot_be_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_backbone(name)


def test_unknown_and_absent_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="no torch device"):
        load_backbone("tiny", device="warp")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no GPU"):
            load_backbone("tiny", device="cuda")
    with pytest.raises(ValueError, match="threads"):
        load_backbone("tiny", threads=-1)


def test_published_weights_that_cannot_be_downloaded_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(
        RuntimeError, match=r"torchvision:resnet18.* could not be downloaded from https.*lite0-320"
    ):
        load_backbone("torchvision:resnet18")


def test_a_torchvision_model_runs_from_weights_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = models.MobileNet_V3_Small_Weights.DEFAULT
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.manual_seed(0)
    model = models.mobilenet_v3_small().eval()
    torch.save(model.state_dict(), checkpoints / weights.url.rsplit("/", 1)[1])
    backbone = load_backbone("torchvision:mobilenet_v3_small@96", device="cpu")
    assert (backbone.key, backbone.grid, backbone.dim) == ("torchvision-mobilenet_v3_small-96", (3, 3), 576)
    batch = pictures(2, 96)
    preset = weights.transforms()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preset.mean, preset.std))
    with torch.inference_mode():
        reference = (
            model.features((torch.from_numpy(batch).float() / 255 - mean) / std)
            .flatten(2)
            .transpose(1, 2)
            .numpy()
        )
    np.testing.assert_allclose(backbone.bare(batch), reference, atol=1e-4 * np.abs(reference).max())


def test_a_model_without_a_map_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no convolutional feature map"):
        backbone_nets._map_of(models.vit_b_16(image_size=32), "torchvision:vit_b_16")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real installed package that brings two backbones."""
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[annotator.backbones]\nmine = mine_plugin:build\nbroken = mine_plugin:broken\n"
    )
    (tmp_path / "mine_plugin.py").write_text(
        "import torch\nfrom dsrb_core.backbones import FeatureNet\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, pixels):\n        return torch.nn.functional.avg_pool2d(pixels.float(), 4)\n"
        "def build(name):\n    key = 'mine-' + name.partition(':')[2]\n"
        "    return FeatureNet(key=key, size=80, module=Net())\n"
        "def broken(name):\n    return FeatureNet(key='../up', size=80, module=Net()) if ':' in name else 7\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("plugin")
def test_a_plug_in_adds_a_backbone() -> None:
    backbone = load_backbone("mine:x", device="cpu")
    assert (backbone.key, backbone.grid, backbone.dim) == ("mine-x", (7, 7), 3)
    batch = pictures(2, 80)
    np.testing.assert_allclose(backbone.bare(batch).mean(axis=1), batch.mean(axis=(2, 3)), atol=1e-2)


@pytest.mark.usefixtures("plugin")
def test_a_plug_in_that_misbehaves_is_refused() -> None:
    with pytest.raises(ValueError, match="must return a FeatureNet, not int"):
        load_backbone("broken")
    with pytest.raises(ValueError, match="cannot name a folder"):
        load_backbone("broken:x")
    with pytest.raises(ValueError, match="no backbone named"):
        load_backbone("other:x")


def test_loading_writes_nothing_at_home_and_keeps_the_compiled_network_where_told(tmp_path: Path) -> None:
    home, kept = tmp_path / "home", tmp_path / "compiled"
    home.mkdir()
    code = (
        "import sys, pathlib\nfrom dsrb_core.backbones import load_backbone\n"
        "load_backbone('tiny', device='cpu', cache_dir=pathlib.Path(sys.argv[1]))\n"
        "print(sys.modules.get('openvino_telemetry'))\n"
    )
    environment = os.environ | {"HOME": str(home)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, str(kept)], cwd=ROOT, env=environment,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "None"
    assert list(home.rglob("*")) == []
    assert any(kept.iterdir())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_nearly_the_cpus_features(lite: Backbone) -> None:
    batch = pictures(4, 320)
    on_gpu = load_backbone("lite0-320", device="cuda").bare(batch)
    assert np.abs(on_gpu - lite.bare(batch)).mean() < 0.01
