"""fit(): from feature maps and partial labels to a model that is not below its linear floor."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsrb_core.baselines import FloorFit
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.labels import check_trainable
from dsrb_core.metrics import average_precision, nan_mean
from dsrb_core.model import DSRB
from dsrb_core.reports import Check, EpochReport, FitResult, Folds, Holdout, Stopped
from dsrb_core.resume import Progress
from dsrb_core.stages import Stages
from dsrb_core.tokens import MapSource
from dsrb_core.training import Cancelled, Diverged

__all__ = ["EpochReport", "FitResult", "Holdout", "MapSource", "fit"]

log = logging.getLogger(__name__)


def fit(
    source: MapSource,
    labels: npt.NDArray[np.int8],
    *,
    config: DSRBConfig,
    training: TrainConfig,
    warm_start: DSRB | None = None,
    recheck: bool = True,
    earlier: Holdout | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoint: Path | None = None,
    category_vectors: npt.NDArray[np.float32] | None = None,
) -> FitResult:
    """Train DSRB on the maps of `source` and labels (N, C) in {-1, 0, +1}.

    The linear floor is fitted first. The residual then learns without a held-out part of the known cells,
    which decides how many epochs and which gate to keep (0: the floor alone speaks), and once more with all
    known cells.

    `warm_start` (same options and categories in the same order; see `DSRB.for_columns`) gives its frame and
    starts the last stage only: the check starts afresh, because an earlier model has seen the held-out cells.
    Without `recheck` it keeps its gate and the floor's L2: a gate above 0 with the held-out cells of the
    `earlier` check (without them there is a new one), and one gentle epoch. `checkpoint` names a file written
    after every epoch, from which the same call goes on as if never interrupted; it stays when the run is
    cancelled and is removed otherwise. `category_vectors` (C, S) replace learned ones.

    ValueError when nothing can be learnt (no known cell, no known positive), when shapes do not fit, or when
    the checkpoint is damaged.
    """
    stages = Stages(
        source,
        check_trainable(labels),
        config,
        training,
        warm_start=warm_start,
        words=None if category_vectors is None else np.asarray(category_vectors, dtype=np.float32),
        on_epoch=on_epoch,
        should_stop=should_stop,
    )
    saved = (progress := Progress(checkpoint, stages.identity)).load()
    floor, grid = None, training.floor_l2 if recheck else _usual_l2(warm_start, training)
    taken, stopped = None if recheck else _taken_over(warm_start, earlier), Stopped.FINISHED
    checks, check = taken is None and bool(stages.held.any()), taken or NO_CHECK
    try:
        stages.read()
        if checks:
            check = stages.check(progress, saved)
        floor = stages.fit_floor(stages.labels, (check.l2,) if checks else grid)
        model = stages.learn(floor, check, progress, saved, gently=not checks)
    except (Cancelled, Diverged) as reason:
        log.warning("%s The linear floor is kept.", reason)
        stopped = Stopped.CANCELLED if isinstance(reason, Cancelled) else Stopped.DIVERGED
        check = NO_CHECK
        if floor is None and stopped is Stopped.DIVERGED:
            floor = stages.fit_floor(stages.labels, training.floor_l2)
        model = stages.start(floor)
    if stopped is not Stopped.CANCELLED:
        progress.forget()
    return _result(stages, model.cpu().eval(), floor, check, stopped)


NO_CHECK = Check(l2=float("nan"))


def _taken_over(warm: DSRB | None, earlier: Holdout | None) -> Check | None:
    """What a run without a check of its own takes over; None where it needs one."""
    if warm is None or (float(warm.gate) > 0 and earlier is None):
        return None
    return replace(NO_CHECK, gate=float(warm.gate), earlier=earlier)


def _usual_l2(warm: DSRB | None, training: TrainConfig) -> tuple[float, ...]:
    """The L2 of the earlier floor where there is one, else all that are to be tried."""
    if warm is None or not float(warm.floor_l2) > 0:
        return training.floor_l2
    return (float(f"{float(warm.floor_l2):.6g}"),)  # 0.003 is no float32


def _result(stages: Stages, model: DSRB, floor: FloorFit | None, check: Check, stopped: Stopped) -> FitResult:
    """Held-out figures: of the check when the residual is kept, else of every known cell out of fold."""
    if check.gate > 0 and check.earlier is not None:
        kept, base, logits = stages.places(check.earlier)
    elif check.gate > 0:
        kept, base = stages.held, check.floor_logits
        logits = base + np.float32(check.gate) * check.residual
    elif floor is not None:
        kept = stages.labels != 0
        logits = base = floor.out_of_fold.cpu().numpy()[kept]
    else:  # cancelled before there was a floor: nothing was measured
        kept, logits = np.zeros(stages.labels.shape, dtype=np.bool_), np.zeros(0, dtype=np.float32)
        base = logits
    rows, columns = np.nonzero(kept)
    truth = np.where(kept, stages.labels, 0).astype(np.int8)
    category_ap = average_precision(_dense(kept, logits), truth)
    return FitResult(
        model=model,
        history=stages.history,
        holdout=Holdout(stages.rows[rows], columns, stages.labels[kept], logits, base),
        stopped=stopped,
        category_ap=category_ap,
        heldout_map=nan_mean(category_ap),
        floor_map=nan_mean(average_precision(_dense(kept, base), truth)),
        floor_l2=float("nan") if floor is None else floor.l2,
        folds=None if floor is None else Folds.of(stages.rows, floor),
    )


def _dense(kept: npt.NDArray[np.bool_], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    dense = np.zeros(kept.shape, dtype=np.float32)
    dense[kept] = values
    return dense
