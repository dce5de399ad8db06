"""The residual's training loop: one `Learner` per stage, one call per epoch (method.md 3.6).

The floor's logit of a cell travels as one more channel of its category vector. The floor is linear in the
pooled feature, so blending that channel gives exactly the floor of the blended picture; prototypes carry
their members' mean.
"""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsrb_core.blending import Blend, choose_partners, instance_blend, prototype_blend
from dsrb_core.checkpoint import pack, unpack
from dsrb_core.config import TrainConfig
from dsrb_core.losses import Criterion, Supervised
from dsrb_core.model import DSRB
from dsrb_core.token_blending import token_blend
from dsrb_core.tokens import Rows, TokenStore

log = logging.getLogger(__name__)

_BAD_STEPS = 3  # dropped steps after which a stage has diverged
_CLIP = 5.0


class Diverged(RuntimeError):
    """Three steps of a stage had a loss or a gradient that was not finite."""


class Cancelled(RuntimeError):
    """The caller asked to stop."""


class Learner:
    """Trains the residual of `model` on tokens (n, N, D), labels (n, C) and the floor's logits (n, C).

    Everything random in an epoch is drawn from (seed, stage, epoch), so an epoch can be repeated or resumed
    exactly.
    """

    def __init__(
        self,
        model: DSRB,
        tokens: TokenStore,
        labels: Tensor,
        floor: Tensor,
        *,
        training: TrainConfig,
        stage: int,
        should_stop: Callable[[], bool],
    ) -> None:
        self.model, self.tokens, self.labels, self.floor = model, tokens, labels, floor
        self.training, self.stage, self.should_stop = training, stage, should_stop
        self.criterion = Criterion(model.config)
        self.batch = max(2, min(training.batch_size, training.batch_cells // model.categories))
        self.rows: Rows = np.flatnonzero((labels != 0).any(dim=1).cpu().numpy())
        self.bad_steps = 0
        self.optimizer = torch.optim.AdamW(_groups(model), lr=training.learning_rate)

    def epoch(self, index: int) -> dict[str, float]:
        """Run epoch `index` (0-based) and return the mean of each named loss.

        Raises Diverged after three dropped steps, Cancelled when asked to stop.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = (
                self.training.learning_rate * 0.5 * (1 + math.cos(math.pi * index / self.training.epochs))
            )
        blending = index >= self.training.blend_from
        if blending and (index - self.training.blend_from) % self.training.prototypes_every == 0:
            self.refresh_prototypes()
        generator = self._generator(index)
        order = self.rows[torch.randperm(len(self.rows), generator=generator).numpy()]
        self.model.train()
        sums: dict[str, float] = {}
        steps = 0
        for number, positions in enumerate(self._batches(order)):
            ramp = 1.0 if index else number * self.batch / len(order)
            losses = self._step(positions, blending=blending, ramp=ramp, generator=generator)
            if losses is not None:
                steps += 1
                for name, loss in losses.items():
                    sums[name] = sums.get(name, 0.0) + loss
        self.model.eval()
        return {name: value / max(1, steps) for name, value in sums.items()}

    def _step(
        self, positions: Rows, *, blending: bool, ramp: float, generator: torch.Generator
    ) -> dict[str, float] | None:
        """One update; None when the loss or the gradient was not finite and the step was dropped."""
        self.optimizer.zero_grad(set_to_none=True)
        device = self.model.gate.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.training.amp):
            losses = self.losses(positions, blending=blending, generator=generator)
        total = self.criterion.total(losses, ramp=ramp)
        if bool(torch.isfinite(total)):
            total.backward()  # type: ignore[no-untyped-call]
            parameters = [p for p in self.model.parameters() if p.grad is not None]
            if bool(torch.isfinite(torch.nn.utils.clip_grad_norm_(parameters, _CLIP))):
                self.optimizer.step()
                return {name: float(loss.detach()) for name, loss in losses.items()}
        self.bad_steps += 1
        log.warning("A training step with a loss that is not finite was dropped (%d so far).", self.bad_steps)
        if self.bad_steps >= _BAD_STEPS:
            raise Diverged(f"Learning diverged: {self.bad_steps} steps had a loss that is not finite.")
        return None

    def losses(self, positions: Rows, *, blending: bool, generator: torch.Generator) -> dict[str, Tensor]:
        """Named losses of one batch; one phi call on the views laid behind each other."""
        model = self.model
        where = torch.from_numpy(positions).to(self.labels.device)
        labels, floor = self.labels[where], self.floor[where]
        tokens = self.tokens.read(positions)
        vectors, attention = model.attention(tokens)
        evidence = torch.cat([vectors.float(), floor.unsqueeze(-1)], dim=-1)
        blends = self._blends(tokens, evidence, attention, labels, generator) if blending else {}
        targets = [labels, *(blend.targets for blend in blends.values())]
        logits = self._logits([evidence, *(blend.vectors for blend in blends.values())], targets)
        views = {"known": Supervised(logits[0], labels)}
        for (name, blend), part in zip(blends.items(), logits[1:], strict=True):
            # The known cells of a blended view are supervised too, as published: the graph has changed their
            # logits.
            views[name] = Supervised(part, blend.targets, blend.weights)
        return self.criterion(
            views, vectors=vectors, labels=labels, classifier=model.class_weight, generator=generator
        )

    def _logits(self, views: list[Tensor], targets: list[Tensor]) -> tuple[Tensor, ...]:
        """Logits (B, C) of each view's vectors (B, C, D + 1), by one call of phi on all of them.

        Without the graph a cell's logit depends on that cell alone, so only supervised ones are computed and
        the others are 0: with a tenth known that is most of the work of a step.
        """
        model = self.model
        if model.graph is not None or model.config.unknown != "ignore":
            stacked = torch.cat(views)
            whole = model.residual(stacked[..., :-1]) + stacked[..., -1]
            return torch.split(whole, len(views[0]))
        asked = [target.nonzero(as_tuple=True) for target in targets]
        taken = torch.cat([view[cells] for view, cells in zip(views, asked, strict=True)])
        columns = torch.cat([cells[1] for cells in asked])
        found = torch.split(
            model.residual_at(taken[:, :-1], columns) + taken[:, -1], [len(cells[0]) for cells in asked]
        )
        return tuple(
            part.new_zeros(target.shape).index_put(cells, part)
            for part, cells, target in zip(found, asked, targets, strict=True)
        )

    def _blends(
        self,
        tokens: Tensor,
        evidence: Tensor,
        attention: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Blend]:
        """The blended views that are switched on."""
        model, options, blends = self.model, self.model.config, dict[str, Blend]()
        if options.instance_weight > 0:
            partner = choose_partners(labels, options.partner, generator=generator)
            blends["instance"] = instance_blend(
                evidence,
                labels,
                partner=partner,
                keep=model.instance_keep(generator=generator),
                targets=options.targets,
                detach_targets=options.detach_targets,
            )
            if options.blending == "tokens":
                blends["instance"] = token_blend(
                    blends["instance"],
                    tokens=tokens,
                    scores=model.attention.scores(tokens),
                    partner=partner,
                    exchanged=round(options.exchanged_share * tokens.shape[1]),
                )
        if options.prototype_weight > 0:
            blends["prototype"] = prototype_blend(
                evidence,
                labels,
                bank=model.bank,
                own=model.quadrants(attention.detach()),
                keep=model.prototype_keep(generator=generator),
                generator=generator,
                top_k=options.top_k,
                targets=options.targets,
                detach_targets=options.detach_targets,
            )
        return blends

    @torch.no_grad()
    def refresh_prototypes(self) -> None:
        """Collect the prototypes of all known positives, exactly, with the model as it is now."""
        self.model.eval()
        rows = self.rows[(self.labels[torch.from_numpy(self.rows)] > 0).any(dim=1).cpu().numpy()]
        if self.model.config.prototypes == "kmeans":
            self.model.bank.cluster(self._evidence(rows), seed=self.training.seed)
        else:
            self.model.bank.collect(self._evidence(rows))

    def _evidence(self, rows: Rows) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for positions in self._batches(rows):
            where = torch.from_numpy(positions).to(self.labels.device)
            vectors, attention = self.model.attention(self.tokens.read(positions))
            cells = self.model.quadrants(attention)
            if cells is None:
                cells = torch.zeros(attention.shape[:2], dtype=torch.int64, device=attention.device)
            yield torch.cat([vectors, self.floor[where].unsqueeze(-1)], dim=-1), cells, self.labels[where]

    @torch.no_grad()
    def residual(self, rows: Rows) -> Tensor:
        """Residual logits (len(rows), C) with the model as it is now."""
        self.model.eval()
        parts = [
            self.model.residual(self.model.attention(self.tokens.read(p))[0]) for p in self._batches(rows)
        ]
        return torch.cat(parts) if parts else self.floor[:0]

    def _batches(self, rows: Rows) -> Iterator[Rows]:
        for low in range(0, len(rows), self.batch):
            if self.should_stop():
                raise Cancelled("Training was asked to stop.")
            yield rows[low : low + self.batch]

    def _generator(self, epoch: int) -> torch.Generator:
        mixed = np.random.SeedSequence([self.training.seed, self.stage, epoch]).generate_state(1, np.uint64)[
            0
        ]
        return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))

    def state(self) -> dict[str, Tensor]:
        """Model and optimiser as named tensors, for a training checkpoint."""
        return pack(self.model, self.optimizer) | {"bad_steps": torch.tensor(self.bad_steps)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up a `state`."""
        unpack(tensors, self.model, self.optimizer)
        self.bad_steps = int(tensors["bad_steps"])


def _groups(model: DSRB) -> list[dict[str, Any]]:
    """No decay where it would bend the meaning: the classifier has its own L2, lambda none (B11)."""
    bare = {"class_weight", "class_bias", "instance_keep.value", "prototype_keep.value"}
    named = list(model.named_parameters())
    return [
        {"params": [p for name, p in named if name not in bare], "weight_decay": 0.01},
        {"params": [p for name, p in named if name in bare], "weight_decay": 0.0},
    ]
