"""The ResNet of the paper profile: pixels to signed maps, stem to layer3 frozen (method.md 2.1)."""

import hashlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dsrb_core.backbone_nets import Normalised

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, per channel, of pixels in [0, 1]."""


class PaperBackbone(nn.Module):
    """uint8 pixels (B, 3, S, S) -> tokens (B, N, D), N = (S / 64)^2 row by row; S = 448 gives 7 x 7.

    Stem to layer3 are frozen and stay in evaluation mode, their batch norms too; layer4 and `change` (1x1
    convolution without bias, batch norm, no ReLU: the features are signed) train, with batch statistics.
    """

    def __init__(self, resnet: Any, dim: int) -> None:
        """`resnet` is torchvision's; `dim` = D."""
        super().__init__()
        stem = (resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        frozen = nn.Sequential(*stem, resnet.layer1, resnet.layer2, resnet.layer3)
        mean, std = (tuple(255 * one for one in values) for values in (MEAN, STD))
        self.frozen = Normalised(frozen.requires_grad_(False), mean=mean, std=std)
        self.layer4: nn.Module = resnet.layer4
        self.pool = nn.AvgPool2d(2, 2)
        self.change = nn.Sequential(nn.Conv2d(resnet.fc.in_features, dim, 1, bias=False), nn.BatchNorm2d(dim))
        self.frozen.eval()

    def train(self, mode: bool = True) -> "PaperBackbone":
        """Set the mode of what trains; the frozen part stays in evaluation mode."""
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        with torch.no_grad():
            below = self.frozen(pixels)
        maps: Tensor = self.change(self.pool(self.layer4(below)))
        return maps.flatten(2).transpose(1, 2)


def load_resnet(name: str, weights: str) -> nn.Module:
    """torchvision's ResNet `name` with `weights`: "none" (random), "imagenet" (torchvision's), or a file.

    A file is a state dict of torchvision, `.pth` or `.safetensors`; its classifier may be missing. ValueError
    for a name that is no ResNet and a file that is not there or does not fit; RuntimeError when the published
    weights are neither on this machine nor reachable.
    """
    from torchvision import models

    names = models.list_models(module=models, include=["*resnet*", "resnext*"])
    if name not in names:
        raise ValueError(f"backbone must be one of {', '.join(names)}, not {name!r}.")
    resnet: nn.Module = models.get_model(name, weights=None)
    if weights != "none":
        state = _published(name) if weights == "imagenet" else _from_file(Path(weights))
        _fit(resnet, state, name, weights)
    return resnet


def weights_digest(weights: str) -> str:
    """What tells these weights from others: SHA-256 of a file, else the word itself."""
    if weights in ("none", "imagenet"):
        return weights
    return hashlib.sha256(_existing(Path(weights)).read_bytes()).hexdigest()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"There is no weights file {path}; weights are a file, imagenet or none.")
    return path


def _published(name: str) -> dict[str, Tensor]:
    from torchvision import models

    entry = models.get_model_weights(name).IMAGENET1K_V1
    try:
        state: dict[str, Tensor] = entry.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise RuntimeError(
            f"The ImageNet weights of {name} are not on this machine and could not be fetched from "
            f"{entry.url} ({error}); fetch that file elsewhere and name it with --weights."
        ) from error
    return state


def _from_file(path: Path) -> dict[str, Tensor]:
    _existing(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # torch's own advice would be to trust the file
        raise ValueError(f"The weights file {path} cannot be read (it holds more than tensors).") from error
    except (SafetensorError, OSError, EOFError, ValueError, RuntimeError, KeyError) as error:
        raise ValueError(f"The weights file {path} cannot be read ({_first_line(error)}).") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"The weights file {path} holds no state dict of tensors.")
    return state


def _fit(resnet: nn.Module, state: dict[str, Tensor], name: str, weights: str) -> None:
    """Load all but the classifier; ValueError names what does not fit."""
    own = resnet.state_dict()
    kept = {key: value for key, value in state.items() if not key.startswith("fc.")}
    wanted = {key for key in own if not key.startswith("fc.") and not key.endswith("num_batches_tracked")}
    wrong = sorted(wanted - kept.keys()) + sorted(
        key for key, value in kept.items() if key not in own or own[key].shape != value.shape
    )
    if wrong:
        raise ValueError(f"The weights file {weights} does not fit {name}: look at {wrong[0]!r}.")
    resnet.load_state_dict(kept, strict=False)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
