"""Models and training states on disk: safetensors and JSON with a digest, never pickle."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from dsrb_core.config import DSRBConfig
from dsrb_core.model import DSRB

FORMAT = 2
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def _write(path: Path, data: bytes) -> None:
    """Write so that `path` holds either the old bytes or all of the new ones."""
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def save_model(model: DSRB, folder: Path) -> None:
    """Write `model.safetensors` and `config.json` (configuration, shapes, SHA-256 of the weights) into
    `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()})
    words = model.attention.words
    about = {
        "format": FORMAT,
        "features": model.features,
        "grid": list(model.grid),
        "categories": model.categories,
        "word_features": None if words is None else words.shape[1],
        "config": model.config.to_dict(),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    _write(folder / WEIGHTS, weights)
    _write(folder / CONFIG, (json.dumps(about, indent=1, sort_keys=True) + "\n").encode())


def load_model(folder: Path, device: str | torch.device = "cpu") -> DSRB:
    """Read what `save_model` wrote, in evaluation mode on `device`.

    ValueError when the format is newer, the weights do not have the digest of the configuration, they do not
    fit it (naming the first tensor that does not), or the configuration lacks something; FileNotFoundError
    when a file is missing.
    """
    about = json.loads((folder / CONFIG).read_text())
    if not isinstance(about, dict):
        raise ValueError(f"The configuration in {folder.name} is not one of a model.")
    if about.get("format") != FORMAT:
        raise ValueError(
            f"The model in {folder.name} has the format {about.get('format')}, this version reads {FORMAT}."
        )
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    if digest != about.get("sha256"):
        raise ValueError(
            f"The weights in {folder.name} are damaged: their digest is not the one written beside them."
        )
    try:
        model = _empty(about)
        model.load_state_dict(_fitting(folder / WEIGHTS, model.state_dict()))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"The weights in {folder.name} do not fit their configuration.") from error
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"The configuration in {folder.name} is not one of a model.") from error
    return model.to(device).eval()


def _fitting(path: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file that has exactly the `expected` names, shapes and types, all finite.

    ValueError names the first that differs. Shapes are compared before a tensor is read.
    """
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        problem = next((f"{name} is missing" for name in expected if name not in names), "")
        problem = problem or next(
            (f"{name} does not belong there" for name in sorted(names - expected.keys())), ""
        )
        if problem:
            raise ValueError(f"The weights in {path.parent.name} do not fit their configuration: {problem}.")
        return {name: _tensor(file, path, name, value) for name, value in expected.items()}


def _tensor(file: Any, path: Path, name: str, expected: Tensor) -> Tensor:
    shape = list(file.get_slice(name).get_shape())
    if shape != list(expected.shape):
        found = f"{name} has the shape {shape}, not {list(expected.shape)}"
    else:
        tensor: Tensor = file.get_tensor(name)
        if tensor.dtype != expected.dtype:
            found = f"{name} has the type {tensor.dtype}, not {expected.dtype}"
        elif tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            found = f"{name} holds values that are not finite"
        else:
            return tensor
    raise ValueError(f"The weights in {path.parent.name} do not fit their configuration: {found}.")


def _empty(about: dict[str, Any]) -> DSRB:
    words = about["word_features"]
    return DSRB(
        features=about["features"],
        grid=(about["grid"][0], about["grid"][1]),
        categories=about["categories"],
        config=DSRBConfig.from_dict(about["config"]),
        words=None if words is None else torch.zeros(about["categories"], words),
    )


def save_training(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write a training checkpoint: tensors, and `about` as JSON in the same file, replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    cpu = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(cpu, beside, metadata={"about": json.dumps(about)})
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def load_training(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `save_training` wrote; None when there is no such file. ValueError when it is damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - not a dict
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"The training checkpoint {path.name} is damaged; delete it to start again."
        ) from error


def pack(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Model and optimiser state as named tensors, for `save_training`."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
    return tensors


def unpack(tensors: dict[str, Tensor], model: nn.Module, optimizer: Optimizer) -> None:
    """Take up what `pack` gave; the optimiser keeps its options. ValueError when it is of another model."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"The training checkpoint is damaged: {name} holds values that are not finite.")
    try:
        model.load_state_dict(under("model.", tensors))
    except RuntimeError as error:
        raise ValueError("The training checkpoint is damaged: it does not fit the model.") from error
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in under("optimizer.", tensors).items():
        index, slot = name.split(".")
        slots.setdefault(int(index), {})[slot] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
