"""The frame all features are seen in: standardised by the pooled training features, tokens projected
(method.md 10).
"""

import torch
from torch import Tensor, nn

_NORM = 7.5  # length of a typical pooled feature; the L2 grid is meant for this scale


class Frame(nn.Module):
    """Centre, spread and principal directions of pooled features: buffers of a model.

    `mean` (F,), `scale` (F,), `projection` (F, D). Spread is that of *pooled* features (that of tokens costs
    6-9 mAP), and directions are not whitened (whitening costs 6-18 mAP).
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.projection: Tensor
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("projection", torch.zeros(features, dim))

    @torch.no_grad()
    def measure(self, pooled: Tensor) -> None:
        """Set the frame from pooled features (N, F); a channel that never varies keeps its unit, one image is
        enough.
        """
        if pooled.ndim != 2 or pooled.shape[1] != len(self.mean):
            raise ValueError(
                f"pooled features must have the shape (N, {len(self.mean)}), not {tuple(pooled.shape)}."
            )
        if not bool(torch.isfinite(pooled).all()):
            raise ValueError("pooled features hold a value that is not finite.")
        wide = pooled.double()
        spread = wide.std(dim=0, correction=0)
        varying = spread > 1e-6 * spread.max().clamp_min(1e-12)
        # A channel that is nearly always silent would otherwise be blown up beyond all others.
        least = (
            0.05 * spread[varying].median() if bool(varying.any()) else torch.ones((), dtype=torch.float64)
        )
        spread = torch.where(varying, spread.clamp_min(float(least)), torch.ones_like(spread))
        unit = _NORM / max(1.0, float(varying.sum())) ** 0.5
        self.mean.copy_(wide.mean(dim=0))
        self.scale.copy_(unit / spread)
        standard = self.standardise(pooled).double()
        _, directions = torch.linalg.eigh(standard.T @ standard)
        top = directions.flip(1)[:, : self.projection.shape[1]]
        # An eigenvector's sign is arbitrary; fixing it makes two runs agree.
        sign = torch.sign(top.gather(0, top.abs().argmax(dim=0, keepdim=True)))
        self.projection.copy_(top * torch.where(sign == 0, 1.0, sign))

    def standardise(self, features: Tensor) -> Tensor:
        """(..., F) raw -> (..., F) in the frame, float32."""
        return (features.float() - self.mean) * self.scale

    def project(self, maps: Tensor) -> Tensor:
        """Maps (B, N, F) raw -> tokens (B, N, D) in the frame, float32."""
        # Folded: one product with the raw map instead of a standardised copy of it.
        folded = self.scale[:, None] * self.projection
        tokens: Tensor = maps.float() @ folded - self.mean @ folded
        return tokens
