"""The stages of a run: the data in the frame, the check on held-out known cells, the final learning."""

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from dsrb_core.baselines import FloorFit, LinearFloor, fit_floor, log_odds
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.labels import Labels, cooccurrence
from dsrb_core.metrics import average_precision, nan_mean
from dsrb_core.model import DSRB
from dsrb_core.reports import Check, EpochReport, Holdout
from dsrb_core.resume import Progress, Saved, fingerprint
from dsrb_core.splits import evenly, hold_out
from dsrb_core.tokens import MapSource, Rows, TokenStore, check_source
from dsrb_core.training import Cancelled, Learner

log = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]


class Stages:
    """Everything one call of `fit` works on. Only rows with a known cell are read and learnt from."""

    def __init__(
        self,
        source: MapSource,
        labels: Labels,
        config: DSRBConfig,
        training: TrainConfig,
        *,
        warm_start: DSRB | None = None,
        words: Floats | None = None,
        on_epoch: Callable[[EpochReport], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        check_source(source)
        if len(labels) != len(source):
            raise ValueError(f"There are {len(labels)} rows of labels for {len(source)} images.")
        pooled = np.asarray(source.pooled(), dtype=np.float32)
        if pooled.shape != (len(source), source.dim):
            raise ValueError(
                f"The source gave pooled features of the shape {pooled.shape} for {len(source)} images."
            )
        self.source, self.config, self.training, self.warm = source, config, training, warm_start
        self.words = None if words is None else torch.from_numpy(words)
        self.on_epoch = on_epoch or (lambda report: None)
        self.should_stop = should_stop or (lambda: False)
        self.history: list[EpochReport] = []
        self.rows: Rows = np.flatnonzero((labels != 0).any(axis=1)).astype(np.int64)
        self.labels = labels[self.rows]
        self.held = hold_out(self.labels, training.heldout, seed=training.seed)
        self.device = torch.device(training.device)
        self.frame = self._model().frame
        if warm_start is None:
            self.frame.measure(torch.from_numpy(pooled).to(self.device))
        else:
            _check_warm(warm_start, self._model())
            self.frame.load_state_dict(warm_start.frame.state_dict())
        self.features = self.frame.standardise(torch.from_numpy(pooled[self.rows]).to(self.device))
        self.tokens = TokenStore(source, self.frame, self.rows, limit_bytes=training.memory_bytes)
        weights = [] if warm_start is None else [p.detach().cpu().numpy() for p in warm_start.parameters()]
        self.identity = fingerprint(
            arrays=[labels, pooled, *weights, *([] if words is None else [words])],
            options={"config": config.to_dict(), "training": training.to_dict(), "grid": list(source.grid)},
        )

    def read(self) -> None:
        """Read the maps once, when their tokens fit in memory. Raises Cancelled."""

        def report(done: int, total: int) -> None:
            self.on_epoch(EpochReport("reading", done, total, {}))

        if not self.tokens.load(on_chunk=report, should_stop=self.should_stop):
            raise Cancelled("Training was asked to stop.")

    def fit_floor(self, labels: Labels, l2: tuple[float, ...]) -> FloorFit:
        """The linear floor on `labels`, L2 by cross-fitting, from the warm start's on. Raises Cancelled."""
        if self.should_stop():
            raise Cancelled("Training was asked to stop.")
        warm = None
        if self.warm is not None:
            warm = LinearFloor(self.warm.floor_weight.to(self.device), self.warm.floor_bias.to(self.device))
        found = fit_floor(
            self.features,
            labels,
            l2=l2,
            folds=self.training.floor_folds,
            seed=self.training.seed,
            start=warm,
            should_stop=self.should_stop,
        )
        self.report(EpochReport("floor", 1, 1, {"known": found.losses[found.l2]}))
        return found

    def start(self, floor: FloorFit | None) -> DSRB:
        """A fresh model around a floor (None: log-odds alone), its attention leaning towards the floor's own
        map.
        """
        model = self._model()
        model.frame.load_state_dict(self.frame.state_dict())
        if floor is None:
            model.floor_bias.copy_(log_odds(torch.from_numpy(self.labels)))
            return model
        model.floor_weight.copy_(floor.floor.weight)
        model.floor_bias.copy_(floor.floor.bias)
        model.floor_l2.fill_(floor.l2)
        sample = self._sample()
        model.measure_map(sample)
        if self.config.attention_start > 0:
            weights = floor.floor.weight @ self.frame.projection
            model.attention.lean_towards(weights, sample, spread=self.config.attention_start)
        return model

    def check(self, progress: Progress, saved: Saved | None) -> Check:
        """Learn without the held-out cells; the best epoch there and its gate, 0 unless the residual clearly
        helps.
        """
        if saved is not None and saved.stage == "learning":
            return saved.check
        labels = np.where(self.held, 0, self.labels).astype(np.int8)
        floor = self.fit_floor(labels, self.training.floor_l2)
        learner = self._learner(self.start(floor), labels, floor, stage=0)
        rows = np.flatnonzero(self.held.any(axis=1))
        cells, truth = self.held[rows], np.where(self.held, self.labels, 0)[rows]
        base = floor.floor(self.features[torch.from_numpy(rows).to(self.device)]).cpu().numpy()
        base_ap = average_precision(base, truth)
        best, begin = Check(l2=floor.l2, floor_logits=base[cells]), 0
        if saved is not None:
            best, begin = saved.check, self._take_up(saved, learner)
        for index in range(begin, self.training.epochs):
            if best.epoch and index - best.epoch >= self.training.patience:
                break
            losses = learner.epoch(index)
            residual = learner.residual(rows).cpu().numpy()
            score, gate = choose_gate(base, residual, truth, base_ap=base_ap, training=self.training)
            if score > best.score:
                best = replace(best, score=score, epoch=index + 1, gate=gate, residual=residual[cells])
            self.report(
                EpochReport(
                    "checking",
                    index + 1,
                    self.training.epochs,
                    losses,
                    _or_none(score),
                    _or_none(nan_mean(base_ap)),
                )
            )
            progress.save(learner, "checking", index + 1, check=best, history=self.history)
        return best

    def learn(
        self,
        floor: FloorFit,
        check: Check,
        progress: Progress,
        saved: Saved | None,
        *,
        gently: bool = False,
    ) -> DSRB:
        """All known cells, for as many epochs as the check found best.

        A residual that stays silent is learnt no longer than its vectors need: one epoch, none when warm.
        `gently`: a warm one that speaks has one epoch more, like the last of a long run.
        """
        model, first, epochs = self.start(floor), 0, max(1, check.epoch)
        if check.gate == 0 and not self.training.learn_silent:
            epochs = 1 if self.warm is None else 0
        elif gently and self.warm is not None:
            first, epochs = self.training.epochs - 1, self.training.epochs
        if self.warm is not None:
            _take_over(model, self.warm)
            if self.config.attention_start > 0:
                leaning = floor.floor.weight @ self.frame.projection
                model.attention.lean_fresh_rows(leaning, self._sample(), spread=self.config.attention_start)
        learner, begin = self._learner(model, self.labels, floor, stage=1), first
        if saved is not None and saved.stage == "learning":
            begin = self._take_up(saved, learner)
        for index in range(begin, epochs):
            losses = learner.epoch(index)
            self.report(EpochReport("learning", index + 1 - first, epochs - first, losses))
            progress.save(learner, "learning", index + 1, check=check, history=self.history)
        learner.refresh_prototypes()
        model.gate.fill_(check.gate)
        return model

    def places(self, earlier: Holdout) -> tuple[npt.NDArray[np.bool_], Floats, Floats]:
        """Which of an earlier check's cells are known now (n, C), and their logits (M,): floor's, model's."""
        place = np.full(len(self.source), -1)
        place[self.rows] = np.arange(len(self.rows))
        rows = place[earlier.rows]
        known = rows >= 0
        known[known] = self.labels[rows[known], earlier.columns[known]] != 0
        kept = np.zeros(self.labels.shape, dtype=np.bool_)
        dense = np.zeros((2, *self.labels.shape), dtype=np.float32)
        cells = rows[known], earlier.columns[known]
        kept[cells] = True
        dense[0][cells], dense[1][cells] = earlier.floor_logits[known], earlier.model_logits[known]
        return kept, dense[0][kept], dense[1][kept]

    def _sample(self) -> torch.Tensor:
        """Tokens (B, N, D) of at most 64 pictures, drawn evenly."""
        return self.tokens.read(evenly(len(self.rows), 64))

    def report(self, report: EpochReport) -> None:
        """Add to the history and tell the caller."""
        self.history.append(report)
        self.on_epoch(report)

    def _take_up(self, saved: Saved, learner: Learner) -> int:
        learner.restore(saved.tensors)
        self.history = list(saved.history)
        log.info("Going on after epoch %d of %s.", saved.epoch, saved.stage)
        return saved.epoch

    def _model(self) -> DSRB:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            model = DSRB(
                features=self.source.dim,
                grid=self.source.grid,
                categories=self.labels.shape[1],
                config=self.config,
                words=self.words,
            )
        return model.to(self.device)

    def _learner(self, model: DSRB, labels: Labels, floor: FloorFit, *, stage: int) -> Learner:
        if model.graph is not None:
            edges = cooccurrence(labels, shrinkage=self.config.graph_shrinkage)
            model.graph.adjacency.copy_(torch.from_numpy(edges))
        return Learner(
            model,
            self.tokens,
            torch.from_numpy(labels).to(self.device),
            floor.out_of_fold,
            training=self.training,
            stage=stage,
            should_stop=self.should_stop,
        )


def choose_gate(
    base: Floats,
    residual: Floats,
    truth: Labels,
    *,
    base_ap: npt.NDArray[np.float64],
    training: TrainConfig,
) -> tuple[float, float]:
    """The best held-out mAP over the gates (-1 where undefined), and the gate for it.

    The gate is 0 unless the mean gain over the floor reaches the margin and two standard errors over
    categories: the best of several gates and epochs looks good by chance too.
    """
    best, chosen = -1.0, 0.0
    for gate in training.gates:
        ap = average_precision(base + np.float32(gate) * residual, truth)
        gain = (ap - base_ap)[~np.isnan(ap)]
        if not gain.size or nan_mean(ap) <= best:
            continue
        # With one category there is no spread to measure, and a handful of cells must not decide alone.
        error = float(gain.std(ddof=1) / gain.size**0.5) if gain.size > 1 else 0.0
        best = nan_mean(ap)
        chosen = gate if float(gain.mean()) >= max(training.gate_margin, 2 * error) else 0.0
    return best, chosen


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) or value < 0 else value


def _check_warm(warm: DSRB, fresh: DSRB) -> None:
    here = (fresh.features, tuple(fresh.grid), fresh.categories, fresh.config)
    if here != (warm.features, tuple(warm.grid), warm.categories, warm.config):
        raise ValueError("The model to start from has other features, categories or options than this run.")


@torch.no_grad()
def _take_over(model: DSRB, warm: DSRB) -> None:
    learnt = dict(warm.named_parameters())
    for name, parameter in model.named_parameters():
        parameter.copy_(learnt[name])
