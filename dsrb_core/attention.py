"""Category-specific representation learning: where to look for each category (method.md 2.2, folded form).

Letters: B images, N locations, C categories, D features of a token, R rank of the attention.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class _Scores(torch.autograd.Function):
    """e_cm = p . tanh(u_m * v_c) for u (M, R), v (C, R), p (R,) -> (C, M), `step` categories at a time.

    The (C, M, R) product is never kept: the backward pass computes it again, chunk by chunk, in the same
    memory. tanh(x) = 2 sigmoid(2 x) - 1 to rounding, and torch's sigmoid is several times faster than its
    tanh on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, v: Tensor, p: Tensor, step: int) -> Tensor:
        ctx.save_for_backward(u, v, p)
        ctx.step = step
        scores, twice = u.new_empty(len(v), len(u)), 2.0 * p
        for place, bent in _bent(u, v, step):
            torch.mv(bent.view(-1, len(p)), twice, out=scores[place].view(-1))
        return scores.sub_(p.sum())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        u, v, p = ctx.saved_tensors
        arriving = gradient.contiguous()
        du, dv, dp = torch.zeros_like(u), torch.empty_like(v), torch.zeros_like(p)
        spare = u.new_empty(min(ctx.step, len(v)), *u.shape)
        for place, bent in _bent(u, v, ctx.step):
            g = arriving[place]
            dp += g.view(-1) @ bent.view(-1, len(p))
            # The factor 4 p of every element is left to the end, where it is small.
            slope = torch.ops.aten.sigmoid_backward.grad_input(g.unsqueeze(-1), bent, grad_input=bent)
            du += torch.mul(slope, v[place].unsqueeze(1), out=spare[: len(g)]).sum(dim=0)
            torch.sum(slope.mul_(u), dim=1, out=dv[place])
        return du.mul_(4.0 * p), dv.mul_(4.0 * p), 2.0 * dp - arriving.sum(), None


def _bent(u: Tensor, v: Tensor, step: int) -> Iterator[tuple[slice, Tensor]]:
    """sigmoid(2 u_m * v_c) of `step` categories after the other, (c, M, R), each time in the same memory."""
    twice, buffer = 2.0 * v, u.new_empty(min(step, len(v)), *u.shape)
    for low in range(0, len(v), step):
        part = twice[low : low + step].unsqueeze(1)
        yield slice(low, low + step), torch.mul(u, part, out=buffer[: len(part)]).sigmoid_()


class SemanticAttention(nn.Module):
    """Tokens (B, N, D) -> one vector per category (B, C, D) and where it looked (B, C, N).

    a_nc = softmax_n p . tanh(U x_n * v_c) and f_c = sum_n a_nc x_n: the published fc1-fc4 form with the two
    linear layers without a non-linearity between them folded into p. Category vectors v_c are learned, or V
    s_c of frozen `words` (C, S). Fresh, the attention is near uniform, so f_c begins as the mean over
    locations.

    Working memory beside the results is bounded by two buffers of `chunk_elements` floats (one category's
    (B, N, R) if that is more) whatever C: categories are taken in chunks, and a chunk is computed again in
    the backward pass instead of being kept.
    """

    def __init__(
        self,
        dim: int,
        categories: int,
        *,
        rank: int = 32,
        words: Tensor | None = None,
        chunk_elements: int = 2**20,
    ) -> None:
        super().__init__()
        if words is not None and (words.ndim != 2 or len(words) != categories):
            raise ValueError(f"words must have the shape ({categories}, features), not {tuple(words.shape)}.")
        self.chunk_elements = chunk_elements
        self.token_map = nn.Linear(dim, rank, bias=False)
        self.mix = nn.Parameter(torch.full((rank,), 0.1))
        self.words: Tensor | None
        self.register_buffer("words", None if words is None else words.detach().float().clone())
        rows = categories if words is None else words.shape[1]
        self.category_map = nn.Parameter(torch.randn(rows, rank) * 0.1)

    def category_vectors(self) -> Tensor:
        """v (C, R)."""
        return self.category_map if self.words is None else self.words @ self.category_map

    def scores(self, tokens: Tensor) -> Tensor:
        """Attention logits e (B, C, N) of tokens (B, N, D)."""
        u, v = self.token_map(tokens).float(), self.category_vectors().float()
        # A GPU wants few large launches. A CPU wants its cache, yet every chunk also waits for all threads a
        # few times, which is dear while another process holds a core: hence megabytes, not kilobytes.
        elements = self.chunk_elements * (1 if u.device.type == "cpu" else 16)
        with torch.autocast(u.device.type, enabled=False):
            rows = u.flatten(0, 1)
            scores = _Scores.apply(rows, v, self.mix.float(), max(1, elements // max(1, u.numel())))
        assert isinstance(scores, Tensor)
        return scores.view(len(v), *u.shape[:2]).transpose(0, 1)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors f (B, C, D) and attention a (B, C, N), a >= 0, sum over N = 1."""
        attention = torch.softmax(self.scores(tokens), dim=-1).to(tokens.dtype)
        return attention @ tokens, attention

    @torch.no_grad()
    def lean_towards(self, weights: Tensor, tokens: Tensor, *, spread: float) -> None:
        """Start the attention from a linear model's own map: e_nc about `spread` standard deviations of w_c .
        x_n.

        `weights` (C, D) of the linear model, `tokens` (B, N, D) a sample. u spans the strongest directions of
        the weights (their singular vectors), v_c holds category c's share of each, so the folded form starts
        as the low-rank approximation of the linear map with tanh in its linear range. A category without
        weights starts uniform.
        """
        rank, sample = len(self.mix), tokens.reshape(-1, tokens.shape[-1])
        left, strength, right = torch.linalg.svd(weights.float(), full_matrices=False)
        kept = min(rank, int((strength > 1e-6 * strength.max().clamp_min(1e-12)).sum()))
        if kept == 0:  # a floor without weights looks nowhere
            return
        spreads = (sample.float() @ right[:kept].T).std(0, correction=0).clamp_min(1e-6)
        share = left[:, :kept] * strength[:kept] * spreads
        length = share.norm(dim=1, keepdim=True)
        target = torch.randn(len(weights), rank, generator=_fixed()).to(weights) * 0.01
        target[:, :kept] += torch.where(length > 1e-8, 0.5 * share / length.clamp_min(1e-8), 0.0)
        self.token_map.weight[:kept] = right[:kept] / spreads[:, None]
        self.mix.fill_(2.0 * spread)
        if self.words is None:
            self.category_map.copy_(target)
        else:
            self.category_map.copy_(torch.linalg.lstsq(self.words, target).solution)

    @torch.no_grad()
    def lean_fresh_rows(self, weights: Tensor, tokens: Tensor, *, spread: float) -> None:
        """The same for the learned rows that are still zero, in a token map that is learnt already.

        `weights` (C, D) and `tokens` (B, N, D) as in `lean_towards`; least squares in tanh's linear range.
        Rows that have learnt, given words, and categories without weights stay.
        """
        fresh = (self.category_map == 0).all(dim=1) if self.words is None else torch.zeros(0)
        if not bool(fresh.any()):
            return
        sample = tokens.reshape(-1, tokens.shape[-1]).float()
        wanted = sample @ weights[fresh].float().T
        wanted = wanted - wanted.mean(dim=0)
        wanted = spread * wanted / wanted.std(dim=0, correction=0).clamp_min(1e-6)
        basis = self.token_map(sample).float() * self.mix
        self.category_map[fresh] = torch.linalg.lstsq(basis, wanted).solution.T.to(self.category_map)


def _fixed() -> torch.Generator:
    return torch.Generator().manual_seed(0)
