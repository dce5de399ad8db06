"""Methods that are DSRB's floor and residual with other options or other parts of the training."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.labels import Labels, check_trainable
from dsrb_core.method import OnEpoch, Rows, Scores, Subset, scattered
from dsrb_core.model import DSRB
from dsrb_core.predictor import predict
from dsrb_core.prototypes import PrototypeBank
from dsrb_core.reports import Check, Stopped
from dsrb_core.resume import Progress
from dsrb_core.stages import Stages
from dsrb_core.tokens import MapSource
from dsrb_core.trainer import fit


class SharedIndexBank(PrototypeBank):
    """Prototypes of SARB: one random index is shared by all images and categories of a step."""

    def choose(self, own: Tensor | None, shape: tuple[int, int], *, generator: torch.Generator) -> Tensor:
        """The same index for every cell (B, C), wrapped where a category has fewer prototypes."""
        index = int(torch.randint(self.counts.shape[1], (1,), generator=generator))
        return (index % self.filled.sum(dim=1).clamp_min(1)).expand(shape)


class SARBStages(Stages):
    """The stages of a run with SARB's way to choose a prototype."""

    def _model(self) -> DSRB:
        model = super()._model()
        bank = SharedIndexBank(model.categories, self.config.prototypes_per_category, model.dim + 1)
        model.bank = bank.to(self.device)
        return model


@dataclass(frozen=True)
class ResidualMethod:
    """A `Method` that is DSRB's floor and residual with other options.

    `always`: the residual is always on with gate 1, as published; the held-out cells choose the number of
    epochs only. `stages` exchanges parts of the training.
    """

    name: str
    about: str
    config: DSRBConfig = field(default_factory=DSRBConfig)
    always: bool = True
    stages: type[Stages] | None = None

    def fit_predict(
        self,
        source: MapSource,
        labels: Labels,
        train_rows: Rows,
        test_rows: Rows,
        *,
        seed: int,
        training: TrainConfig,
        on_epoch: OnEpoch | None = None,
    ) -> Scores:
        """See `Method`; RuntimeError when a published form diverged."""
        part, partial = Subset(source, train_rows), check_trainable(labels[train_rows])
        options = replace(training, seed=seed, gates=(1.0,) if self.always else training.gates)
        if self.config.instance_weight == self.config.prototype_weight == 0:
            options = replace(options, blend_from=training.epochs)  # no prototypes for nothing
        if self.stages is not None:
            model = _run(self.stages, part, partial, self.config, options, on_epoch)
        else:
            result = fit(part, partial, config=self.config, training=options, on_epoch=on_epoch)
            if self.always and result.stopped is not Stopped.FINISHED:
                raise RuntimeError(f"{self.name} {result.stopped}; its scores would be the linear floor's.")
            model = result.model
        if self.always:
            model.gate.fill_(1.0)
        rows = np.concatenate([train_rows, test_rows])
        parts = predict(model, source, rows=rows, batch_size=training.batch_size, device=training.device)
        return scattered(len(source), rows, np.concatenate([part.logits for part in parts]))


def _run(
    kind: type[Stages],
    source: MapSource,
    labels: Labels,
    config: DSRBConfig,
    training: TrainConfig,
    on_epoch: OnEpoch | None,
) -> DSRB:
    """What `fit` does, with exchanged stages; RuntimeError when it diverges."""
    stages = kind(source, labels, config, training, on_epoch=on_epoch)
    progress, held = Progress(None, stages.identity), bool(stages.held.any())
    stages.read()
    check = stages.check(progress, None) if held else Check(l2=float("nan"))
    floor = stages.fit_floor(stages.labels, (check.l2,) if held else training.floor_l2)
    return stages.learn(floor, check, progress, None).eval()
