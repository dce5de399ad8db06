"""Run a frozen network: OpenVINO on a CPU, torch with automatic mixed precision on any other device."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Pixels = npt.NDArray[np.uint8]
Tokens = npt.NDArray[np.float32]


class Runner(Protocol):
    """Runs one frozen network."""

    def __call__(self, batch: Pixels) -> Tokens:
        """uint8 (B, 3, S, S) to float32 (B, locations, D)."""
        ...


def usable_cores() -> int:
    """Cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _openvino() -> Any:
    """OpenVINO without its telemetry package, which on import writes to the home folder and connects out."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


class OpenVinoRunner:
    """The network converted to OpenVINO once, in float32, for bulk work on `threads` cores."""

    def __init__(self, module: nn.Module, *, size: int, threads: int, cache_dir: Path | None = None) -> None:
        """`cache_dir` keeps the compiled network between starts."""
        ov = _openvino()
        with warnings.catch_warnings(), torch.inference_mode():
            # torch deprecates tracing, OpenVINO's converter still uses it.
            warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)
            warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
            example = torch.zeros(1, 3, size, size, dtype=torch.uint8)
            model = ov.convert_model(module, example_input=example, input=([-1, 3, size, size], ov.Type.u8))
        options = {
            # One stream over all threads: faster than one stream per thread (154 against 132 a second).
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            # Pinned threads would wait for a core that a decoder holds.
            "ENABLE_CPU_PINNING": False,
        }
        if cache_dir is not None:
            cache_dir.mkdir(parents=True, exist_ok=True)
            options["CACHE_DIR"] = str(cache_dir)
        self._request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, batch: Pixels) -> Tokens:
        """uint8 (B, 3, S, S) to float32 (B, locations, D); callers in several threads take turns."""
        with self._lock:
            result: Tokens = self._request.infer({0: batch}, share_inputs=True)[0]
        return result


class TorchRunner:
    """The network on a torch device: mixed precision and channels last on a GPU, plain float32 elsewhere."""

    def __init__(self, module: nn.Module, *, device: torch.device) -> None:
        self._device = device
        self._gpu = device.type == "cuda"
        self._module = module.to(device)
        if self._gpu:
            self._module = self._module.to(memory_format=torch.channels_last)

    def __call__(self, batch: Pixels) -> Tokens:
        """uint8 (B, 3, S, S) to float32 (B, locations, D)."""
        pixels = torch.from_numpy(batch)
        if self._gpu:
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        else:
            pixels = pixels.to(self._device)
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=torch.float16, enabled=self._gpu),
        ):
            tokens: Tokens = self._module(pixels).float().cpu().numpy()
        return tokens
