"""The prototype pass of the paper profile, shared by all processes (method.md 3.2, 3.3).

Every known positive counts once, with the exact mean (repairs B2, B3); the members do not depend on the
number of processes. Letters: C categories, K prototypes, D features, M members.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dsrb_core.labels import Labels
from dsrb_core.paper_data import PictureFeed, all_batches, stream
from dsrb_core.paper_model import PaperNet, Seen
from dsrb_core.paper_ranks import Ranks
from dsrb_core.prototypes import Batches

LOOKING_BATCH = 32
"""Pictures of a batch that is looked at without a gradient: in evaluation mode its size changes nothing."""

_MEMBERS, _CLUSTERS = 6, 7  # streams of random numbers


@torch.no_grad()
def refresh_prototypes(
    net: PaperNet, feed: PictureFeed, labels: Labels, *, ranks: Ranks, seed: int, epoch: int
) -> None:
    """Replace the bank of `net` by the prototypes of the known positives of labels (N, C).

    The network is in evaluation mode and sees the training augmentation, as published; a draw of its own.
    """
    net.eval()
    if net.config.method == "sarb":
        _cluster(net, feed, labels, ranks, seed, epoch)
    else:
        _average(net, feed, labels, ranks, epoch)
    for state in (net.bank.vectors, net.bank.counts):
        ranks.from_first(state)


def see(net: PaperNet, pixels: Tensor, *, ranks: Ranks) -> Seen:
    """`PaperNet.look` of pixels (B, 3, S, S) uint8 from the CPU, in the precision of the options."""
    with autocast(net, ranks.device):
        return net.look(on_device(pixels, ranks.device))


def autocast(net: PaperNet, device: torch.device) -> torch.autocast:
    """The mixed precision of the options; off, everything is computed in float32."""
    dtype = torch.float16 if net.config.amp == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=net.config.amp != "off")


def on_device(pixels: Tensor, device: torch.device) -> Tensor:
    """Pixels (B, 3, S, S) on `device`, without waiting for the copy; channels last on a GPU."""
    if device.type == "cpu":
        return pixels
    return pixels.to(device, non_blocking=True, memory_format=torch.channels_last)


def _seen(
    net: PaperNet, feed: PictureFeed, labels: Labels, ranks: Ranks, epoch: int
) -> Iterator[tuple[Seen, Tensor]]:
    """What the network sees on this process's share of the pictures with a known positive, and their rows."""
    rows = np.flatnonzero((labels > 0).any(axis=1))
    keys = all_batches(
        rows, "prototypes", epoch=epoch, batch=LOOKING_BATCH, rank=ranks.rank, world=ranks.world
    )
    for batch in feed.read(keys):
        yield see(net, batch.pixels, ranks=ranks), batch.rows


def _average(net: PaperNet, feed: PictureFeed, labels: Labels, ranks: Ranks, epoch: int) -> None:
    def batches() -> Batches:
        for seen, rows in _seen(net, feed, labels, ranks, epoch):
            yield seen.vectors, seen.cells, torch.from_numpy(labels[rows.numpy()]).to(ranks.device)

    bank = net.bank
    bank.collect(batches())
    if ranks.world > 1:
        sums = ranks.sum(bank.vectors.double() * bank.counts.unsqueeze(-1))
        ranks.sum(bank.counts)
        bank.vectors.copy_(sums / bank.counts.clamp_min(1).unsqueeze(-1))


def choose_members(labels: Labels, most: int, *, seed: int) -> list[Tensor]:
    """Rows of the known positives of each category of labels (N, C), in order; at most `most`, at random."""
    rng = np.random.default_rng(stream(seed, _MEMBERS))
    rows = [np.flatnonzero(column > 0) for column in labels.T]
    cut = [np.sort(rng.choice(one, most, replace=False)) if len(one) > most else one for one in rows]
    return [torch.from_numpy(one) for one in cut]


def _cluster(net: PaperNet, feed: PictureFeed, labels: Labels, ranks: Ranks, seed: int, epoch: int) -> None:
    """K-means on the first process. Each fills its members into the same table, so a sum gathers them."""
    members = choose_members(labels, net.config.cluster_members, seed=seed)
    seats = torch.full(labels.shape, -1)  # (N, C): the row of a member in the table
    begins = np.cumsum([0, *map(len, members)])
    for column, rows in enumerate(members):
        seats[rows, column] = torch.arange(int(begins[column]), int(begins[column + 1]))
    table = torch.zeros(int(begins[-1]), net.config.dim, device=ranks.device)
    for seen, rows in _seen(net, feed, labels, ranks, epoch):
        own = seats[rows]
        places, columns = (own >= 0).nonzero(as_tuple=True)
        here = seen.vectors[places.to(ranks.device), columns.to(ranks.device)]
        table[own[places, columns].to(ranks.device)] = here
    ranks.sum(table)
    if ranks.first:
        parts = [table[low:high] for low, high in pairwise(begins)]
        net.bank.cluster(
            _as_batches(parts), seed=stream(seed, _CLUSTERS, epoch), limit=net.config.cluster_members
        )


def _as_batches(parts: list[Tensor]) -> Batches:
    """Members (M, D) of each category as the batches that `PrototypeBank.cluster` reads."""
    for column, vectors in enumerate(parts):
        labels = torch.zeros(len(vectors), len(parts), dtype=torch.int8, device=vectors.device)
        labels[:, column] = 1
        if len(vectors):
            yield vectors.unsqueeze(1).expand(-1, len(parts), -1), labels.long(), labels
