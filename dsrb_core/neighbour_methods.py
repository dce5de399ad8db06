"""Methods that let decided instances of a category vote, as the assistant's suggestions do.

Letters: N images, C categories, D token features, M held-out cells.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from dsrb_core.calibration import neighbour_logits
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.context import fold_context, held_shifts, unseen_logits
from dsrb_core.crossfit import NEIGHBOURS, Mix, fit_mix, hear
from dsrb_core.labels import Labels, check_trainable
from dsrb_core.method import OnEpoch, Rows, Scores, Subset, scattered
from dsrb_core.model import DSRB
from dsrb_core.predictor import predict
from dsrb_core.propagation import propagate
from dsrb_core.reports import Folds, Holdout
from dsrb_core.similar import nearest
from dsrb_core.stages import Stages
from dsrb_core.surprise import surprise
from dsrb_core.tokens import MapSource
from dsrb_core.trainer import FitResult, fit

INSTANCE_DIM = 64  # numbers of an instance that are compared; 128 and 256 are no better (docs/results.md)
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NeighbourMethod:
    """A `Method`: a model and the vote of the nearest decided instances, combined on held-out cells.

    `residual`: the model is DSRB with its gate; otherwise the linear floor alone, and nothing is trained by
    gradient steps. `propagation`: similar unknown cells speak too, with the model's own probability.
    `context`: a picture's known cells speak about its others.
    `category_vectors` (C, S) of the residual's attention: None = learned ones.
    """

    name: str
    about: str
    residual: bool
    propagation: bool = True
    context: bool = False
    category_vectors: Array | None = field(default=None, compare=False, repr=False)

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
        """See `Method`."""
        part, partial = Subset(source, train_rows), check_trainable(labels[train_rows])
        options = replace(training, seed=seed)
        if self.residual:
            result = fit(
                part,
                partial,
                config=DSRBConfig(),
                training=options,
                on_epoch=on_epoch,
                category_vectors=self.category_vectors,
            )
            learnt = Learnt.of(result)
        else:
            learnt = floor_alone(part, partial, options, on_epoch)
        rows = np.concatenate([train_rows, test_rows])
        found = suggested(
            learnt,
            Subset(source, rows),
            partial,
            propagation=self.propagation,
            context=self.context,
            training=options,
        )
        return scattered(len(source), rows, found)


@dataclass(frozen=True)
class Learnt:
    """A model with its held-out cells and the folds of its floor."""

    model: DSRB
    holdout: Holdout
    folds: Folds

    @classmethod
    def of(cls, result: FitResult) -> Self:
        """What a run of `fit` has left; ValueError when it was cancelled before there was a floor."""
        if result.folds is None:
            raise ValueError("The run was cancelled before anything was learnt.")
        return cls(result.model, result.holdout, result.folds)


def suggested(
    learnt: Learnt,
    source: MapSource,
    labels: Labels,
    *,
    training: TrainConfig,
    propagation: bool = True,
    context: bool = False,
) -> Array:
    """What the assistant makes of a trained model: logits (N, C) for all rows of `source`.

    `labels` (n, C) are those of the first n rows, the training part: only they speak and vote.
    """
    parts = list(predict(learnt.model, source, explain=False, device=training.device))
    logits = np.concatenate([one.logits for one in parts])
    instances = np.concatenate([one.instances[..., :INSTANCE_DIM].astype(np.float16) for one in parts])
    training_part = Subset(source, np.arange(len(labels), dtype=np.int64))
    heard = hear(
        learnt.model,
        training_part,
        labels,
        learnt.holdout,
        learnt.folds,
        dim=INSTANCE_DIM,
        seed=training.seed,
    )
    assert heard is not None  # nobody can stop it
    found = fold_context(learnt.folds, labels) if context else None
    mix = fit_mix(
        heard,
        learnt.holdout,
        labels,
        propagation=propagation,
        context=None if found is None else held_shifts(found, learnt.folds, learnt.holdout),
    )
    everywhere = np.zeros(logits.shape, dtype=np.int8)
    everywhere[: len(labels)] = labels
    mixed = logits
    if mix.propagation > 0:
        shifts = propagate(instances, logits, everywhere, candidates=len(labels))
        assert shifts is not None
        mixed = logits + np.float32(mix.propagation) * shifts
    if found is not None:
        felt = surprise(unseen_logits(logits, learnt.folds), everywhere)
        mixed = mixed + np.float32(mix.context) * (felt @ found.weights.T)
    return combined(mixed, instances, labels, mix)


def combined(logits: Array, instances: npt.NDArray[np.floating], labels: Labels, mix: Mix) -> Array:
    """Logits (N, C) of model and neighbours; the first len(labels) rows are the training part.

    `instances` (N, C, D). Only cells known in `labels` vote, never on themselves.
    """
    combiner = mix.combiner
    votes = np.empty(logits.shape, dtype=np.float32)
    for column in range(logits.shape[1]):
        decided = np.flatnonzero(labels[:, column])
        vectors = torch.from_numpy(instances[:, column])
        similar, where = nearest(vectors, torch.from_numpy(decided), NEIGHBOURS)
        votes[:, column] = neighbour_logits(
            similar.numpy(),
            labels[decided, column][where.numpy()],
            prior=combiner.prior[column],
            temperature=combiner.temperature,
            strength=combiner.strength,
        )
    return combiner.logit(np.arange(logits.shape[1])[None], logits, votes).astype(np.float32)


def floor_alone(
    source: MapSource, labels: Labels, training: TrainConfig, on_epoch: OnEpoch | None = None
) -> Learnt:
    """The linear floor of labels (N, C) without a residual; its held-out cells are all known ones.

    Errors as `fit`.
    """
    stages = Stages(source, labels, DSRBConfig(), training, on_epoch=on_epoch)
    stages.read()
    floor = stages.fit_floor(stages.labels, training.floor_l2)
    rows, columns = np.nonzero(stages.labels)
    logits = floor.out_of_fold.cpu().numpy()[rows, columns]
    held = Holdout(stages.rows[rows], columns, stages.labels[rows, columns], logits, logits)
    return Learnt(stages.start(floor).eval(), held, Folds.of(stages.rows, floor))
