"""What held-out cells hear from their neighbours when nothing around them has seen their answer.

Instance features are made where the floor looks, and the floor has learnt from the known cells: a known
cell's own features, and the beliefs of its unknown look-alikes, carry its answer. Measured on them neighbours
look better than they are (on scenes5 by 1 to 2 mAP, docs/results.md). So each fold of the floor makes its own
features and beliefs here, and the cells it was left out of ask there.

Letters: N images, C categories, D features of a token, d of an instance, M held-out cells, k neighbours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dsrb_core.baselines import LinearFloor
from dsrb_core.calibration import (
    LIMIT,
    Combiner,
    category_prior,
    choose_neighbour_settings,
    logit,
    neighbour_logits,
)
from dsrb_core.labels import Labels
from dsrb_core.mixing import CONTEXT, PROPAGATION, VOTE, fit_weights
from dsrb_core.model import DSRB, focus, map_spread
from dsrb_core.propagation import Array, Rows, beliefs, shift, speakers
from dsrb_core.reliability import Judged, fit_and_judge
from dsrb_core.reports import Folds, Holdout
from dsrb_core.similar import nearest
from dsrb_core.splits import evenly
from dsrb_core.tokens import MapSource, TokenStore

NEIGHBOURS = 20
_CELLS = (10, 600)  # fewest and most held-out cells of a category that ask: enough for a curve
_ALL_CELLS = 48_000  # of all categories together, as long as each has its fewest
_ROWS = 4096  # most pictures they come from
_FEATURES = 128 * 2**20  # most numbers of instance features kept at a time
_BATCH = 256
_SAMPLE = 64  # pictures that the spread of a map is measured on


@dataclass(frozen=True)
class Heard:
    """`cells` (M',) are places in the hold-out; shifts (M',) by propagation; similarities and states (M', k)
    of the nearest decided instances, -inf and 0 where there are fewer.
    """

    cells: Rows
    shifts: Array
    similarities: Array
    states: npt.NDArray[np.int8]


def hear(
    model: DSRB,
    source: MapSource,
    labels: Labels,
    holdout: Holdout,
    folds: Folds,
    *,
    dim: int,
    seed: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> Heard | None:
    """Let the held-out cells ask, each in the features of the floor that has not seen it.

    `labels` (N, C) of the first N rows of `source`; `dim` is d, the leading numbers of an instance that are
    compared. At most 600 cells of a category ask. None when `should_stop` turned true.
    """
    asking = _Asking(model, source, labels, holdout, folds, dim=dim, seed=seed)
    for fold, floor in enumerate(folds.floors):
        for column, vectors in asking.instances(fold, floor):
            if should_stop is not None and should_stop():
                return None
            asking.ask(fold, column, vectors)
    return asking.heard()


class _Asking:
    """The pictures and cells that take part, and what was heard so far."""

    def __init__(
        self,
        model: DSRB,
        source: MapSource,
        labels: Labels,
        holdout: Holdout,
        folds: Folds,
        *,
        dim: int,
        seed: int,
    ) -> None:
        self.cells = _drawn(holdout, categories=labels.shape[1], seed=seed)
        rows, columns = holdout.rows[self.cells], holdout.columns[self.cells]
        parts = folds.parts[np.searchsorted(folds.rows, rows), columns]
        self.groups = _groups(parts, columns)
        speaking = speakers(len(labels), labels.shape[1], dim)
        used = np.union1d(speaking, rows).astype(np.int64)
        self.labels, self.dim = labels[used], dim
        self.prior = category_prior((labels == 1).sum(axis=0), (labels == -1).sum(axis=0))
        self.speaking = np.searchsorted(used, speaking)
        self.asked = np.searchsorted(used, rows)
        self.pooled = model.frame.standardise(torch.from_numpy(source.pooled()[used]).to(model.gate.device))
        self.directions = model.frame.projection
        self.tokens = TokenStore(source, model.frame, used, limit_bytes=2**62)  # `used` bounds it
        self.tokens.load(on_chunk=lambda done, total: None, should_stop=lambda: False)
        self.shifts = np.zeros(len(self.cells), dtype=np.float32)
        self.similarities = np.full((len(self.cells), NEIGHBOURS), -np.inf, dtype=np.float32)
        self.states = np.zeros((len(self.cells), NEIGHBOURS), dtype=np.int8)
        self.believed = np.zeros((len(speaking), labels.shape[1]), dtype=np.float32)

    @torch.inference_mode()
    def instances(self, fold: int, floor: LinearFloor) -> Iterator[tuple[int, Tensor]]:
        """Column by column the instances (n, d) of all pictures in the features of `floor`."""
        wanted = np.array([column for part, column in self.groups if part == fold], dtype=np.int64)
        device = self.directions.device
        floor = LinearFloor(floor.weight.to(device), floor.bias.to(device))
        logits = floor(self.pooled[torch.from_numpy(self.speaking)]).cpu().numpy()
        self.believed = beliefs(logits, self.labels[self.speaking])
        sample = self.tokens.read(evenly(len(self.tokens), _SAMPLE))
        step = max(1, _FEATURES // (len(self.tokens) * self.dim))
        for low in range(0, len(wanted), step):
            part = wanted[low : low + step]
            weight = floor.weight[torch.from_numpy(part)] @ self.directions
            spread = map_spread(sample, weight)
            made = torch.cat(
                [
                    focus(self.tokens.read(batch), weight, spread)[..., : self.dim].half().cpu()
                    for batch in np.array_split(np.arange(len(self.tokens)), -(-len(self.tokens) // _BATCH))
                ]
            )
            for place, column in enumerate(part.tolist()):
                yield column, made[:, place]

    def ask(self, fold: int, column: int, vectors: Tensor) -> None:
        """The cells of a category that `fold` has not seen ask their neighbours in `vectors` (n, d)."""
        mine = self.groups[fold, column]
        asked, prior = torch.from_numpy(self.asked[mine]), float(self.prior[column])
        self.shifts[mine] = shift(
            vectors, torch.from_numpy(self.speaking), self.believed[:, column], prior=prior, asked=asked
        )
        decided = np.flatnonzero(self.labels[:, column])
        similar, where = nearest(vectors, torch.from_numpy(decided), NEIGHBOURS, asked=asked)
        self.similarities[mine, : similar.shape[1]] = similar.numpy()
        self.states[mine, : similar.shape[1]] = self.labels[decided, column][where.numpy()]

    def heard(self) -> Heard:
        """What all cells have heard."""
        return Heard(self.cells, self.shifts, self.similarities, self.states)


@dataclass(frozen=True)
class Mix:
    """What counts beside the model: weights of propagation and context, and the combiner with the vote.

    The combiner takes the model's logit with both shifts added at these weights; `judged` are the cells it
    was fitted on, each by a combiner of others.
    """

    propagation: float
    context: float
    combiner: Combiner
    judged: Judged = field(default_factory=Judged.nothing)


def fit_mix(
    heard: Heard,
    holdout: Holdout,
    labels: Labels,
    *,
    propagation: bool = True,
    context: Array | None = None,
    asking: npt.NDArray[np.floating] | None = None,
) -> Mix:
    """Weigh the witnesses on the cells that were heard, and calibrate.

    `labels` (N, C) give each category's prior; without `propagation` its weight is 0; `context` (M,) are the
    context's shifts of the held-out cells, None = no context; `asking` (M,) is how many cells each held-out
    cell counts for by how it came to be asked (`asking_weights`), None = 1.
    """
    cells = heard.cells
    counts = np.ones(len(cells)) if asking is None else np.asarray(asking, np.float64)[cells]
    prior = category_prior((labels == 1).sum(axis=0), (labels == -1).sum(axis=0))
    columns, signs = holdout.columns[cells], holdout.labels[cells]
    model, base = np.clip(holdout.model_logits[cells], -LIMIT, LIMIT), prior[columns]
    temperature, strength = choose_neighbour_settings(
        heard.similarities, heard.states, signs, prior=base, weights=counts
    )
    votes = neighbour_logits(
        heard.similarities, heard.states, prior=base, temperature=temperature, strength=strength
    )
    shifts = {"vote": votes - logit(base)}
    usual = {"vote": VOTE, "propagation": PROPAGATION, "context": CONTEXT}
    if propagation:
        shifts["propagation"] = np.asarray(heard.shifts, np.float64)
    if context is not None:
        shifts["context"] = np.asarray(context[cells], np.float64)
    table, start = np.column_stack(list(shifts.values())), [usual[name] for name in shifts]
    fitted = fit_weights(model, table, logit(base), signs, usual=start, weights=counts)
    weights = dict(zip(shifts, fitted.tolist(), strict=True))
    mixed = model + sum(weights[name] * shifts[name] for name in shifts if name != "vote")
    combiner, judged = fit_and_judge(
        mixed,
        votes,
        signs,
        columns,
        len(prior),
        rows=holdout.rows[cells],
        prior=prior,
        weights=counts,
        temperature=temperature,
        strength=strength,
        k=NEIGHBOURS,
    )
    return Mix(weights.get("propagation", 0.0), weights.get("context", 0.0), combiner, judged)


def _groups(parts: npt.NDArray[np.int8], columns: npt.NDArray[np.int64]) -> dict[tuple[int, int], Rows]:
    """(fold, column) -> places of its cells, folds and columns ascending."""
    order = np.lexsort((columns, parts))
    keys = np.stack([parts[order], columns[order]], axis=1)
    borders = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
    return {(int(parts[one[0]]), int(columns[one[0]])): one for one in np.split(order, borders) if len(one)}


def _drawn(holdout: Holdout, *, categories: int, seed: int) -> Rows:
    """Places (M',) of the cells that ask: at most 600 of a category, from at most 4,096 pictures."""
    most = max(_CELLS[0], min(_CELLS[1], _ALL_CELLS // categories))
    rng = np.random.default_rng([seed, 3])
    rows = np.unique(holdout.rows)
    if len(rows) > _ROWS:
        rows = rng.permutation(rows)[:_ROWS]
    order = rng.permutation(np.flatnonzero(np.isin(holdout.rows, rows)))
    columns = holdout.columns[order]
    by_column = np.argsort(columns, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    starts = np.searchsorted(columns[by_column], columns[by_column])
    rank[by_column] = np.arange(len(order)) - starts
    return np.sort(order[rank < most]).astype(np.int64)
