"""Methods that are DSRB's floor and residual with other options or other parts of the training."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from dsrb_core.category_vectors import Vectors
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

    `gate`: the residual is always on with this gate (1 as published), and the held-out cells choose the
    number of epochs only; None = they choose the gate too. `stages` exchanges parts of the training.
    `category_vectors` (C, S): None = learned ones.
    """

    name: str
    about: str
    config: DSRBConfig = field(default_factory=DSRBConfig)
    gate: float | None = 1.0
    stages: type[Stages] | None = None
    category_vectors: Vectors | None = field(default=None, compare=False, repr=False)

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
        options = replace(training, seed=seed)
        if self.gate is not None:
            options = replace(options, gates=(self.gate,), learn_silent=True)
        if self.config.instance_weight == self.config.prototype_weight == 0:
            options = replace(options, blend_from=training.epochs)  # no prototypes for nothing
        if self.stages is not None:
            model = _run(self, self.stages, part, partial, options, on_epoch)
        else:
            result = fit(
                part,
                partial,
                config=self.config,
                training=options,
                on_epoch=on_epoch,
                category_vectors=self.category_vectors,
            )
            if self.gate is not None and result.stopped is not Stopped.FINISHED:
                raise RuntimeError(f"{self.name} {result.stopped}; its scores would be the linear floor's.")
            model = result.model
        if self.gate is not None:
            model.gate.fill_(self.gate)
        rows = np.concatenate([train_rows, test_rows])
        parts = predict(model, source, rows=rows, batch_size=training.batch_size, device=training.device)
        return scattered(len(source), rows, np.concatenate([part.logits for part in parts]))


def _run(
    method: ResidualMethod,
    kind: type[Stages],
    source: MapSource,
    labels: Labels,
    training: TrainConfig,
    on_epoch: OnEpoch | None,
) -> DSRB:
    """What `fit` does, with exchanged stages; RuntimeError when it diverges."""
    words = method.category_vectors
    stages = kind(source, labels, method.config, training, words=words, on_epoch=on_epoch)
    progress, held = Progress(None, stages.identity), bool(stages.held.any())
    stages.read()
    check = stages.check(progress, None) if held else Check(l2=float("nan"))
    floor = stages.fit_floor(stages.labels, (check.l2,) if held else training.floor_l2)
    return stages.learn(floor, check, progress, None).eval()
