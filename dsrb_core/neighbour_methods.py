"""Methods that let decided instances of a category vote, as the assistant's suggestions do.

Letters: N images, C categories, D token features, M held-out cells.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from dsrb_core.calibration import category_prior, fit_with_neighbours, neighbour_logits
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.labels import Labels, check_trainable
from dsrb_core.method import OnEpoch, Rows, Scores, Subset, scattered
from dsrb_core.model import DSRB
from dsrb_core.predictor import predict
from dsrb_core.propagation import smooth
from dsrb_core.stages import Stages
from dsrb_core.tokens import MapSource
from dsrb_core.trainer import FitResult, fit

NEIGHBOURS = 20
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NeighbourMethod:
    """A `Method`: a model and the vote of the nearest decided instances, combined on held-out cells.

    `residual`: the model is DSRB with its gate; otherwise the linear floor alone, and nothing is trained by
    gradient steps. `propagation`: similar unknown cells speak too, with the model's own probability.
    """

    name: str
    about: str
    residual: bool
    propagation: bool = True

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
        learnt = _with_residual if self.residual else _floor_alone
        model, held = learnt(part, partial, replace(training, seed=seed), on_epoch)
        rows = np.concatenate([train_rows, test_rows])
        found = suggested(
            model, source, rows, partial, held, propagation=self.propagation, device=training.device
        )
        return scattered(len(source), rows, found)


@dataclass(frozen=True)
class Held:
    """Known cells with logits of models that never saw them: rows (M,) of the training part, columns (M,)."""

    rows: Rows
    columns: npt.NDArray[np.int64]
    logits: Array

    @classmethod
    def of(cls, result: FitResult) -> Self:
        """The cells a run of `fit` has held out."""
        held = result.holdout
        return cls(held.rows, held.columns, held.model_logits)


def suggested(
    model: DSRB,
    source: MapSource,
    rows: Rows,
    labels: Labels,
    held: Held,
    *,
    propagation: bool = True,
    device: str = "cpu",
) -> Array:
    """What the assistant makes of a trained model: logits (len(rows), C), propagated and with neighbours.

    `labels` (n, C) are those of the first n rows, the training part.
    """
    parts = list(predict(model, source, rows=rows, device=device))
    logits = np.concatenate([one.logits for one in parts])
    instances = np.concatenate([one.instances.astype(np.float16) for one in parts])
    if propagation:
        logits, held = _smoothed(logits, instances, labels, held)
    return combined(logits, instances, labels, held)


def _smoothed(
    logits: Array, instances: npt.NDArray[np.floating], labels: Labels, held: Held
) -> tuple[Array, Held]:
    everywhere = np.zeros(logits.shape, dtype=np.int8)
    everywhere[: len(labels)] = labels
    found = smooth(
        instances,
        logits,
        everywhere,
        held=(held.rows, held.columns),
        held_logits=held.logits,
        candidates=len(labels),
    )
    assert found is not None  # nobody can stop it
    return found.logits, replace(held, logits=found.held_logits)


def combined(logits: Array, instances: npt.NDArray[np.floating], labels: Labels, held: Held) -> Array:
    """Logits (N, C) of model and neighbours; the first len(labels) rows are the training part.

    `instances` (N, C, D). Only cells known in `labels` vote, never on themselves.
    """
    prior = category_prior((labels == 1).sum(axis=0), (labels == -1).sum(axis=0))
    similar = np.full((*logits.shape, NEIGHBOURS), -np.inf, dtype=np.float32)
    states = np.zeros(similar.shape, dtype=np.int8)
    for column in range(logits.shape[1]):
        _nearest(instances[:, column], labels[:, column], similar[:, column], states[:, column])
    cells = (held.rows, held.columns)
    combiner = fit_with_neighbours(
        held.logits, similar[cells], states[cells], labels[cells], held.columns, prior=prior
    )
    votes = neighbour_logits(
        similar, states, prior=prior, temperature=combiner.temperature, strength=combiner.strength
    )
    return combiner.logit(np.arange(logits.shape[1])[None], logits, votes).astype(np.float32)


def _nearest(
    vectors: npt.NDArray[np.floating],
    known: npt.NDArray[np.int8],
    similar: Array,
    states: npt.NDArray[np.int8],
) -> None:
    """Fill similarities and states (N, k) of one category's nearest known instances, each without itself."""
    decided = np.flatnonzero(known)
    if len(decided) < 2:
        return
    centred = vectors.astype(np.float32)
    centred = centred - centred[decided].mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    near = unit @ unit[decided].T
    near[decided, np.arange(len(decided))] = -np.inf
    k = min(NEIGHBOURS, len(decided) - 1)
    top = np.argpartition(-near, k - 1, axis=1)[:, :k]
    similar[:, :k] = np.take_along_axis(near, top, axis=1)
    states[:, :k] = known[decided][top]


def _with_residual(
    source: MapSource, labels: Labels, training: TrainConfig, on_epoch: OnEpoch | None
) -> tuple[DSRB, Held]:
    result = fit(source, labels, config=DSRBConfig(), training=training, on_epoch=on_epoch)
    return result.model, Held.of(result)


def _floor_alone(
    source: MapSource, labels: Labels, training: TrainConfig, on_epoch: OnEpoch | None
) -> tuple[DSRB, Held]:
    stages = Stages(source, labels, DSRBConfig(), training, on_epoch=on_epoch)
    stages.read()
    floor = stages.fit_floor(stages.labels, training.floor_l2)
    rows, columns = np.nonzero(stages.labels)
    logits = floor.out_of_fold.cpu().numpy()[rows, columns]
    return stages.start(floor).eval(), Held(stages.rows[rows], columns, logits)
