"""The partial-BCE baseline: a small network on pooled features, and the loss modes for unknown cells.

Letters: N images, F features, C categories, H hidden units.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from dsrb_core.baselines import log_odds
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.labels import Labels
from dsrb_core.losses import partial_bce, supervise_unknown
from dsrb_core.metrics import mean_average_precision
from dsrb_core.splits import hold_out

_HIDDEN = 256
_CHECK_STEPS = 10  # fewest updates of an epoch, so that a few hundred images learn as well


def fit_head(features: Tensor, labels: Labels, *, config: DSRBConfig, training: TrainConfig) -> nn.Module:
    """Train F -> H tanh -> C on features (N, F) in the frame and labels (N, C); returns it in eval mode.

    The loss mode, its weights and the focus are those of `config`. Held-out known cells choose the number of
    epochs, then all known cells are learnt.
    """
    held = hold_out(labels, training.heldout, seed=training.seed)
    best, kept = float("-inf"), training.epochs
    if held.any():
        seen, truth = np.where(held, 0, labels).astype(np.int8), np.where(held, labels, 0)

        def check(head: nn.Module, epoch: int) -> bool:
            nonlocal best, kept
            with torch.inference_mode():
                score = mean_average_precision(head(features).cpu().numpy(), truth)
            if score > best:
                best, kept = score, epoch
            return epoch - kept < training.patience

        _learn(features, seen, config=config, training=training, after=check)
    return _learn(features, labels, config=config, training=training, after=lambda _, epoch: epoch < kept)


def _learn(
    features: Tensor,
    labels: Labels,
    *,
    config: DSRBConfig,
    training: TrainConfig,
    after: Callable[[nn.Module, int], bool],
) -> nn.Module:
    """Epochs until `after(head, epoch)` (1-based) says no."""
    target = torch.from_numpy(labels).to(features.device)
    head = _head(features.shape[1], target, seed=training.seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=training.learning_rate, weight_decay=0.01)
    focus = (config.focus_positive, config.focus_negative)
    batch = max(2, min(training.batch_size, math.ceil(len(labels) / _CHECK_STEPS)))
    for index in range(training.epochs):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * 0.5 * (1 + math.cos(math.pi * index / training.epochs))
        generator = torch.Generator().manual_seed(training.seed * 10_007 + index)
        head.train()
        order = torch.randperm(len(labels), generator=generator).to(features.device)
        for rows in torch.split(order, batch):
            optimizer.zero_grad(set_to_none=True)
            logits = head(features[rows])
            targets, weights = supervise_unknown(logits, target[rows], config)
            loss = partial_bce(logits, targets, weights, focus=focus)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if not after(head.eval(), index + 1):
            break
    return head.eval()


def _head(features: int, labels: Tensor, *, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Sequential(nn.Linear(features, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, labels.shape[1]))
    out = head[2]
    assert isinstance(out, nn.Linear)
    with torch.no_grad():
        out.bias.copy_(log_odds(labels.cpu()))
    return head.to(labels.device)


def loss_mode(name: str) -> DSRBConfig:
    """Options of a named loss mode: `ignore`, `weak-negative`, `selective` (with the asymmetric focus)."""
    plain = DSRBConfig()
    if name == "selective":
        return replace(plain, unknown="selective", focus_negative=2.0, focus_positive=1.0)
    return DSRBConfig.from_dict(plain.to_dict() | {"unknown": name})
