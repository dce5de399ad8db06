"""The losses of one step of the paper profile (method.md 3.4, 3.6)."""

from typing import Any

import torch
from torch import Tensor, nn

from dsrb_core.blending import Blend, choose_partners, instance_blend, prototype_blend
from dsrb_core.losses import Criterion, Supervised
from dsrb_core.paper_model import PaperNet, Seen
from dsrb_core.paper_prototypes import autocast


class PaperStep(nn.Module):
    """The losses of one step, as a module, so that DistributedDataParallel sees the whole of it."""

    def __init__(self, net: PaperNet) -> None:
        super().__init__()
        self.net = net
        self.criterion = Criterion(net.config.losses())

    def forward(
        self, pixels: Tensor, labels: Tensor, *, blending: bool, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Unweighted losses by name, float32, of pixels (B, 3, S, S) uint8 and labels (B, C); one phi call.

        `known`; `contrastive` unless its weight is 0; `instance` and `prototype` while `blending`.
        """
        net = self.net
        with autocast(net, pixels.device):
            seen = net.look(pixels)
            blends = self._blends(seen, labels, generator) if blending else {}
            stacked = torch.cat([seen.vectors, *(blend.vectors for blend in blends.values())])
            logits = torch.split(net.phi(stacked), len(labels))
        views = {"known": Supervised(logits[0], labels)}
        for (name, blend), part in zip(blends.items(), logits[1:], strict=True):
            views[name] = Supervised(part, blend.targets, blend.weights)
        losses = self.criterion(
            views, vectors=seen.vectors, labels=labels, classifier=net.class_weight, generator=generator
        )
        # DistributedDataParallel wants every parameter in every graph, also before the blending begins.
        losses["known"] = losses["known"] + sum(0.0 * one for one in net.lambdas)
        return {name: loss for name, loss in losses.items() if self.criterion.weights[name] > 0}

    def _blends(self, seen: Seen, labels: Tensor, generator: torch.Generator) -> dict[str, Blend]:
        net, options = self.net, self.net.config
        how: dict[str, Any] = {"targets": options.targets, "detach_targets": options.detach_targets}
        blends = dict[str, Blend]()
        if options.instance_weight > 0:
            blends["instance"] = instance_blend(
                seen.vectors,
                labels,
                partner=choose_partners(labels, options.partner, generator=generator),
                keep=net.instance_keep(generator=generator),
                **how,
            )
        if options.prototype_weight > 0:
            blends["prototype"] = prototype_blend(
                seen.vectors,
                labels,
                bank=net.bank,
                own=seen.cells if options.method == "dsrb" else None,
                keep=net.prototype_keep(generator=generator),
                generator=generator,
                top_k=options.top_k,
                **how,
            )
        return blends
