"""The training loop of the paper profile: one step, one epoch, on one process or many (method.md 3.6)."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dsrb_core.checkpoint import pack, unpack
from dsrb_core.labels import Labels
from dsrb_core.paper_data import Batch, PictureFeed, Rows, all_batches, step_generator, training_batches
from dsrb_core.paper_model import PaperNet
from dsrb_core.paper_prototypes import LOOKING_BATCH, autocast, on_device, refresh_prototypes
from dsrb_core.paper_ranks import Ranks
from dsrb_core.paper_step import PaperStep
from dsrb_core.training import Diverged

log = logging.getLogger(__name__)

OnStep = Callable[[str, int, int], None]
"""Told what is being done, how many batches are done and how many there are."""

_BAD_STEPS = 3  # dropped steps after which the run ends
_LEAST_SCALE = 1.0  # of fp16: a loss scale below it means that gradients stay infinite


class PaperLearner:
    """Trains `net` on pictures and labels (N, C) in {-1, 0, +1}; only `rows` of them are ever read.

    Everything random in an epoch follows from (seed, epoch), so that a resumed run equals an uninterrupted
    one with the same number of processes.
    """

    def __init__(
        self,
        net: PaperNet,
        feed: PictureFeed,
        labels: Labels,
        rows: Rows,
        *,
        ranks: Ranks,
        seed: int,
        on_step: OnStep | None = None,
    ) -> None:
        self.net, self.feed, self.rows, self.ranks, self.seed = net, feed, rows, ranks, seed
        self.config = net.config
        self.labels = np.zeros_like(labels)
        self.labels[rows] = labels[rows]
        self.on_step = on_step or (lambda what, done, total: None)
        net.to(ranks.device)
        step = PaperStep(net)
        self.criterion, self.step = step.criterion, self._shared(step)
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(
            trained, lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=self.config.amp == "fp16")
        self.statistics = _statistics(net)
        self.bad_steps = 0

    def _shared(self, step: nn.Module) -> nn.Module:
        if self.ranks.device.type == "cuda":
            step.to(memory_format=torch.channels_last)
        if self.ranks.world == 1:
            return step
        devices = [self.ranks.device] if self.ranks.device.type == "cuda" else None
        return DistributedDataParallel(step, device_ids=devices, forward_sync_buffers=False)

    def epoch(self, index: int) -> dict[str, float]:
        """Run epoch `index` (0-based) and return the mean of each named loss over steps and processes.

        Raises Diverged, on every process alike, after three dropped steps.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_in(index)
        if self.config.prototypes_in(index):
            self.on_step("prototypes", 0, 0)
            refresh_prototypes(
                self.net, self.feed, self.labels, ranks=self.ranks, seed=self.seed, epoch=index
            )
        generator = step_generator(self.seed, epoch=index, rank=self.ranks.rank)
        batches = training_batches(
            self.rows,
            seed=self.seed,
            epoch=index,
            batch=self.config.batch_size,
            rank=self.ranks.rank,
            world=self.ranks.world,
        )
        self.step.train()
        sums: dict[str, Tensor] = {}
        for number, batch in enumerate(self.feed.read(batches)):
            ramp = 1.0 if index else number / len(batches)
            losses = self._step(batch, blending=self.config.blends_in(index), ramp=ramp, generator=generator)
            for name, loss in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.ranks.device)) + loss.detach()
            sums["steps"] = sums.get("steps", torch.zeros((), device=self.ranks.device)) + bool(losses)
            self.on_step("training", number + 1, len(batches))
        self._share_statistics()
        totals = {name: float(self.ranks.sum(value)) for name, value in sums.items()}
        steps = totals.pop("steps")
        return {name: value / max(1.0, steps) for name, value in totals.items()}

    def _step(
        self, batch: Batch, *, blending: bool, ramp: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """One update; no losses when they or the gradient were not finite and the step was dropped."""
        labels = torch.from_numpy(self.labels[batch.rows.numpy()]).to(self.ranks.device, non_blocking=True)
        kept = [statistic.clone() for statistic in self.statistics]
        self.optimizer.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = self.step(
            on_device(batch.pixels, self.ranks.device), labels, blending=blending, generator=generator
        )
        total = self.criterion.total(losses, ramp=ramp)
        if self.ranks.all(torch.isfinite(total)) and self._update(total, blending=blending):
            return losses
        for statistic, before in zip(self.statistics, kept, strict=True):
            statistic.copy_(before)  # a step that is dropped leaves no trace in the batch norms
        self.bad_steps += 1
        if self.ranks.first:
            log.warning("A training step was dropped: its loss is not finite (%d so far).", self.bad_steps)
        if self.bad_steps >= _BAD_STEPS:
            raise Diverged(f"Learning diverged: {self.bad_steps} steps had a loss that is not finite.")
        return {}

    def _update(self, total: Tensor, *, blending: bool) -> bool:
        """Step the optimiser; False when the gradient, the same on every process, is not finite."""
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        if not blending:
            for one in self.net.lambdas:  # otherwise the weight decay would move them before their time
                one.grad = None
        if self.scaler.is_enabled():  # skips infinite gradients itself and takes a smaller scale
            self.scaler.step(self.optimizer)
            self.scaler.update()
            return self.scaler.get_scale() >= _LEAST_SCALE
        gradients = [one.grad for group in self.optimizer.param_groups for one in group["params"]]
        norm = nn.utils.get_total_norm([one for one in gradients if one is not None])
        if not bool(torch.isfinite(norm)):
            return False
        self.optimizer.step()
        return True

    def _share_statistics(self) -> None:
        """Average the running statistics of the batch norms over the processes."""
        for statistic in self.statistics:
            self.ranks.sum(statistic).div_(self.ranks.world)

    @torch.no_grad()
    def scores(self, rows: Rows) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Logits (len(rows), C) of all of `rows`, in their order, the same on every process."""
        self.net.eval()
        places = np.full(len(self.labels), -1)
        places[rows] = np.arange(len(rows))
        logits = torch.zeros(len(rows), self.net.categories, device=self.ranks.device)
        batches = all_batches(
            rows, "plain", batch=LOOKING_BATCH, rank=self.ranks.rank, world=self.ranks.world
        )
        for number, batch in enumerate(self.feed.read(batches)):
            with autocast(self.net, self.ranks.device):
                found = self.net(on_device(batch.pixels, self.ranks.device))
            logits[torch.from_numpy(places[batch.rows.numpy()]).to(self.ranks.device)] = found.float()
            self.on_step("scores", number + 1, len(batches))
        result: np.ndarray[Any, np.dtype[np.float32]] = self.ranks.sum(logits).cpu().numpy()
        return result

    def state(self) -> dict[str, Tensor]:
        """Network (bank and lambdas included), optimiser, loss scale and dropped steps, as named tensors."""
        tensors = pack(self.net, self.optimizer)
        if self.scaler.is_enabled():
            scaler = self.scaler.state_dict()
            tensors["scaler"] = torch.tensor([scaler["scale"], scaler["_growth_tracker"]])
        return tensors | {"bad_steps": torch.tensor(self.bad_steps)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up a `state`."""
        unpack(tensors, self.net, self.optimizer)
        if self.scaler.is_enabled() and "scaler" in tensors:
            scale, growth = tensors["scaler"].tolist()
            self.scaler.load_state_dict(
                self.scaler.state_dict() | {"scale": scale, "_growth_tracker": int(growth)}
            )
        self.bad_steps = int(tensors["bad_steps"])


def _statistics(net: PaperNet) -> list[Tensor]:
    """Running means and variances of the batch norms that train."""
    found = []
    for part in (net.backbone.layer4, net.backbone.change):
        found += [value for name, value in part.named_buffers() if name.endswith(("_mean", "_var"))]
    return found
