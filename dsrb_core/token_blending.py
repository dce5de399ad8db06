"""Location-sensitive instance blending (method.md 7.4 b): locations change hands before the softmax.

Blending attention-weighted maps and then summing them is the same as blending the sums: linear, so the places
never matter. Here the donor's strongest locations of a category take the seats of the receiver's weakest, and
the attention decides anew over the mixed picture how much each of them counts.

Letters: B images, N locations, C categories, D features, M cells of the blend's mask.
"""

from dataclasses import replace

import torch
from torch import Tensor

from dsrb_core.blending import Blend


def token_blend(blend: Blend, *, tokens: Tensor, scores: Tensor, partner: Tensor, exchanged: int) -> Blend:
    """The cells, targets and weights of an `instance_blend`, its mixed vectors made from mixed locations.

    tokens (B, N, D); scores (B, C, N) are the attention logits of `SemanticAttention.scores`; partner (B,)
    the donor of each image, as given to `instance_blend`. In each cell of `blend.mask` the `exchanged`
    locations with the receiver's lowest scores are replaced by the donor's with the highest, and f' = sum_n
    softmax(e')_n x'_n. A score depends on its own token and category alone, so exchanging it along with the
    token *is* running the attention again. Cells outside the mask keep their vectors, and so do channels
    behind the first D (the floor's logit that `training` carries along). ValueError when `exchanged` is
    outside [0, N].
    """
    locations = tokens.shape[1]
    if not 0 <= exchanged <= locations:
        raise ValueError(f"exchanged must lie between 0 and the {locations} locations, not {exchanged}.")
    rows, columns = blend.mask.nonzero(as_tuple=True)
    if not len(rows):
        return blend
    own, other = _shares(scores[rows, columns], scores[partner[rows], columns], exchanged)
    # Zero outside the mask: (B, C, N) is small, gathering the tokens of every cell (M, N, D) is not.
    nothing = torch.zeros_like(scores)
    from_own = nothing.index_put((rows, columns), own).to(tokens.dtype) @ tokens
    from_other = nothing.index_put((rows, columns), other).to(tokens.dtype) @ tokens[partner]
    mixed = (from_own + from_other).to(blend.vectors.dtype)
    joined = torch.cat([mixed, blend.vectors[..., tokens.shape[-1] :]], dim=-1)
    return replace(blend, vectors=torch.where(blend.mask.unsqueeze(-1), joined, blend.vectors))


def _shares(own: Tensor, other: Tensor, exchanged: int) -> tuple[Tensor, Tensor]:
    """Attention (M, N) on the receiver's and on the donor's locations; together each row sums to 1."""
    kept = own.topk(own.shape[1] - exchanged, dim=1).indices
    given = other.topk(exchanged, dim=1).indices
    seats = torch.softmax(torch.cat([own.gather(1, kept), other.gather(1, given)], dim=1), dim=1)
    nothing, seat = torch.zeros_like(own), kept.shape[1]
    return nothing.scatter(1, kept, seats[:, :seat]), nothing.scatter(1, given, seats[:, seat:])
