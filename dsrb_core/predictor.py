"""What a trained model says about images: logits, category vectors, and where it looked."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dsrb_core.model import DSRB, ModelOutput
from dsrb_core.tokens import MapSource, Rows, check_source, read_maps

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """One batch. rows (B,); logits (B, C); relevance (B, C, N) in [0, 1], strongest location of a cell 1.

    Both category-specific: vectors (B, C, D) of the semantic attention, which the residual reads, and
    instances (B, C, D) of the floor's own map, in which neighbours are searched.
    """

    rows: Rows
    logits: Array
    vectors: Array
    instances: Array
    relevance: Array


def relevance(contributions: Tensor, attention: Tensor, gate: Tensor) -> Tensor:
    """Where the *kept* model finds a category, (B, C, N), >= 0, strongest 1.

    The floor's part is the positive share of each location's contribution to its logit, the residual's part
    its attention; the gate weighs them, so a model whose residual was not kept shows what the floor used.
    Where nothing speaks for the category the attention is shown.
    """
    speaking = contributions.clamp_min(0.0)
    total = speaking.sum(dim=-1, keepdim=True)
    floor_part = torch.where(total > 0, speaking / total.clamp_min(1e-20), attention)
    share = gate / (1.0 + gate)
    mixed = (1.0 - share) * floor_part + share * attention
    return mixed / mixed.amax(dim=-1, keepdim=True).clamp_min(1e-20)


def predict(
    model: DSRB,
    source: MapSource,
    *,
    rows: Rows | None = None,
    batch_size: int = 64,
    explain: bool = True,
    device: str | torch.device = "cpu",
) -> Iterator[Prediction]:
    """Predictions for `rows` of a source (all by default), in order, a batch at a time.

    Without `explain` the relevance is left out, (B, C, 0).
    ValueError when the source's maps do not fit the model, or `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
    check_source(source)
    if (source.dim, tuple(source.grid)) != (model.features, tuple(model.grid)):
        raise ValueError(
            f"The model reads {model.features} features on a grid of {model.grid}, "
            f"the source has {source.dim} on {source.grid}."
        )
    chosen = np.arange(len(source), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
    model = model.to(device).eval()
    return _predictions(model, source, chosen, batch_size, explain)


def _predictions(
    model: DSRB, source: MapSource, rows: Rows, batch_size: int, explain: bool
) -> Iterator[Prediction]:
    for low in range(0, len(rows), batch_size):
        part = rows[low : low + batch_size]
        with torch.inference_mode():
            maps = read_maps(source, part).to(model.gate.device)
            output: ModelOutput = model(maps)
            instances = model.instances(output.tokens)
            where = output.attention[..., :0]
            if explain:
                where = relevance(model.contributions(maps), output.attention, model.gate)
        yield Prediction(
            part, _array(output.logits), _array(output.vectors), _array(instances), _array(where)
        )


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.float().cpu().numpy()
    return array
