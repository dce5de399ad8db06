"""The nearest instances of one category, by cosine about a common centre.

Letters: N instances, D features, S others that may be found, Q that ask, k neighbours.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK = 1000  # rows compared at a time: bounds memory by _CHUNK x S


def nearest(vectors: Tensor, others: Tensor, k: int, *, asked: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cosines (Q, k) and places in `others` (Q, k) of the k nearest, most similar first, itself left out.

    `vectors` (N, D), `others` (S,) and `asked` (Q,) are row numbers, all rows by default. Cosines are about
    the mean of the others: what all instances of a category share says nothing. k falls to S - 1 where there
    are fewer; with fewer than two others nothing is found, (Q, 0).
    """
    rows = torch.arange(len(vectors), device=vectors.device) if asked is None else asked
    k = min(k, len(others) - 1)
    if k < 1:
        return vectors.new_zeros(len(rows), 0), rows.new_zeros(len(rows), 0)
    wide = vectors.float()
    unit = F.normalize(wide - wide[others].mean(dim=0), dim=1)
    found, place = unit[others].T.contiguous(), rows.new_full((len(unit),), -1)
    place[others] = torch.arange(len(others), device=rows.device)
    parts = [_top(unit[part], found, place[part], k) for part in torch.split(rows, _CHUNK)]
    if not parts:
        return vectors.new_zeros(0, k), rows.new_zeros(0, k)
    return torch.cat([similar for similar, _ in parts]), torch.cat([where for _, where in parts])


def _top(unit: Tensor, others: Tensor, own: Tensor, k: int) -> tuple[Tensor, Tensor]:
    near = unit @ others
    itself = torch.nonzero(own >= 0)[:, 0]
    near[itself, own[itself]] = -torch.inf
    similar, where = near.topk(k, dim=1)
    return similar, where
