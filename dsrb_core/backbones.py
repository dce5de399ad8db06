"""Frozen backbones by name: pictures in, half-precision local features out.

Names: `lite0-320` (default) and `lite0-224` with packaged weights, `tiny` for tests,
`torchvision:<model>[@size]` with published weights, and what the entry-point group `annotator.backbones`
adds: an entry point is a function from the full name to a `FeatureNet` and answers for every name that
begins with its own name up to a colon.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dsrb_core.backbone_nets import FeatureNet, PooledTokens, build
from dsrb_core.backbone_runtime import OpenVinoRunner, Pixels, Runner, Tokens, TorchRunner, usable_cores

__all__ = ["Backbone", "FeatureNet", "load_backbone"]


class Backbone:
    """A frozen feature extractor. Letters: B pictures, S = `size`, D = `dim`, locations: cells of `grid`."""

    def __init__(
        self, net: FeatureNet, *, device: torch.device, threads: int, cache_dir: Path | None
    ) -> None:
        """Probes the map's shape with one grey picture, then compiles; ValueError when it is no map."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", net.key):
            raise ValueError(f"The backbone key {net.key!r} cannot name a folder.")
        net.module.eval().requires_grad_(False)
        with torch.inference_mode():
            probe = net.module(torch.full((1, 3, net.size, net.size), 127, dtype=torch.uint8))
        if probe.ndim != 4:
            raise ValueError(
                f"The backbone {net.key} must give a map (B, D, h, w), not {probe.ndim} dimensions."
            )
        module = PooledTokens(net.module, native=(probe.shape[2], probe.shape[3])).eval()
        self.key = net.key
        self.size = net.size
        self.dim = int(probe.shape[1])
        self.grid: tuple[int, int] = module.grid
        self.device = device
        self.threads = threads or usable_cores()
        self._run: Runner
        if device.type == "cpu":
            self._run = OpenVinoRunner(module, size=net.size, threads=self.threads, cache_dir=cache_dir)
        else:
            self._run = TorchRunner(module, device=device)

    @property
    def locations(self) -> int:
        """Number of local features per picture."""
        return self.grid[0] * self.grid[1]

    def bare(self, batch: Pixels) -> Tokens:
        """The compiled network alone: uint8 (B, 3, S, S) RGB to float32 (B, locations, D)."""
        expected = (3, self.size, self.size)
        if batch.ndim != 4 or batch.shape[1:] != expected or batch.dtype != np.uint8:
            raise ValueError(f"{self.key} takes uint8 pictures of shape (B, 3, {self.size}, {self.size}), "
                             f"not {batch.dtype} {batch.shape}.")  # fmt: skip
        return self._run(np.ascontiguousarray(batch))

    def extract(self, batch: Pixels) -> npt.NDArray[np.float16]:
        """`bare` in half precision, as the feature cache keeps it; ValueError on a wrong shape or type."""
        return self.bare(batch).astype(np.float16)


def load_backbone(
    name: str, *, device: str = "auto", threads: int = 0, cache_dir: Path | None = None
) -> Backbone:
    """Load a backbone by name.

    `device`: "auto" is a GPU where torch sees one, else the CPU. `threads`: CPU threads, 0 for every usable
    core. `cache_dir`: where OpenVINO keeps the compiled network (optional). Raises ValueError for an unknown
    name or device and RuntimeError when weights are damaged or cannot be had.
    """
    if threads < 0:
        raise ValueError(f"threads must be 0 or more, not {threads}.")
    return Backbone(build(name), device=_device(device), threads=threads, cache_dir=cache_dir)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{name!r} is no torch device.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"The device {name!r} was asked for, but torch sees no GPU on this machine.")
    return device
