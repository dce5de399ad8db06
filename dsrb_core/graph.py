"""Gated propagation of category vectors over the co-occurrence graph (method.md 2.3)."""

import torch
from torch import Tensor, nn


class GatedGraph(nn.Module):
    """T gated steps over the categories: vectors (B, C, D) -> nodes (B, C, H).

    a_c = [sum_j A_cj h_j ; sum_j A_jc h_j], z, r = sigma(W a + U h), h~ = tanh(W_h a + U_h (r * h)), h <- (1
    - z) h + z h~, weights shared over nodes and steps, h0 = f (through one linear map when H differs from D).
    `adjacency` (C, C) must be finite (`labels.cooccurrence` always is); ValueError otherwise. `self_bias`
    gives every U a bias too, as published; the function is the same, W's bias already moves z, r and h~.
    """

    def __init__(
        self, adjacency: Tensor, *, dim: int, hidden: int, steps: int, self_bias: bool = False
    ) -> None:
        super().__init__()
        if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1]:
            raise ValueError(f"adjacency must be square, not {tuple(adjacency.shape)}.")
        if not bool(torch.isfinite(adjacency).all()):
            raise ValueError("adjacency holds a value that is not finite.")
        self.steps = steps
        self.adjacency: Tensor
        self.register_buffer("adjacency", adjacency.detach().float().clone())
        self.enter: nn.Module = nn.Identity() if hidden == dim else nn.Linear(dim, hidden, bias=False)
        self.from_neighbours = nn.Linear(2 * hidden, 3 * hidden)
        self.from_self = nn.Linear(hidden, 2 * hidden, bias=self_bias)
        self.from_reset = nn.Linear(hidden, hidden, bias=self_bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """Nodes h (B, C, H) after T steps."""
        nodes: Tensor = self.enter(vectors)
        adjacency = self.adjacency.to(nodes.dtype)
        for _ in range(self.steps):
            around = torch.cat([adjacency @ nodes, adjacency.T @ nodes], dim=-1)
            update, reset, candidate = self.from_neighbours(around).chunk(3, dim=-1)
            self_update, self_reset = self.from_self(nodes).chunk(2, dim=-1)
            z, r = torch.sigmoid(update + self_update), torch.sigmoid(reset + self_reset)
            nodes = nodes + z * (torch.tanh(candidate + self.from_reset(r * nodes)) - nodes)
        return nodes
