"""fit(): learns where the evidence is local, never trusts noise, stops, resumes, and repeats itself."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dsrb_core.checkpoint import load_model, save_model
from dsrb_core.config import DSRBConfig, TrainConfig
from dsrb_core.labels import hide_labels
from dsrb_core.metrics import average_precision, mean_average_precision
from dsrb_core.predictor import predict
from dsrb_core.stages import choose_gate
from dsrb_core.trainer import EpochReport, FitResult, fit
from tests.references import ArraySource, localised

SMALL = DSRBConfig(dim=16, attention_dim=8, graph_dim=8, hidden=16)
QUICK = TrainConfig(epochs=4, learning_rate=5e-3, blend_from=1, prototypes_every=2, floor_l2=(0.1, 1.0))


def problem(images: int = 80, *, known: float = 0.6, seed: int = 0) -> tuple[ArraySource, np.ndarray]:
    source, labels, _ = localised(images, categories=3, dim=16, side=3, seed=seed)
    return source, hide_labels(labels, known)


def same(first: FitResult, second: FitResult) -> bool:
    a, b = first.model.state_dict(), second.model.state_dict()
    equal = all(torch.equal(a[name], b[name]) for name in a)
    return equal and np.array_equal(first.holdout.model_logits, second.holdout.model_logits)


@pytest.fixture(scope="module")
def learnt() -> FitResult:
    source, labels, _ = localised(300, seed=0)
    training = TrainConfig(epochs=10, learning_rate=5e-3, floor_l2=(0.1, 0.3, 1.0))
    return fit(source, hide_labels(labels, 0.5), config=DSRBConfig(dim=24), training=training)


def test_attention_finds_local_evidence_that_mean_pooling_misses(learnt: FitResult) -> None:
    source, labels, _ = localised(400, seed=1)
    parts = list(predict(learnt.model, source))
    logits = np.concatenate([part.logits for part in parts])
    floor = learnt.model.floor(torch.from_numpy(source.pooled())).numpy()
    assert mean_average_precision(floor, labels) < 0.75
    assert mean_average_precision(logits, labels) > 0.85
    assert float(learnt.model.gate) > 0
    assert learnt.heldout_map > learnt.floor_map


def test_relevance_points_at_the_place_of_the_evidence(learnt: FitResult) -> None:
    source, labels, places = localised(200, seed=2)
    relevance = np.concatenate([part.relevance for part in predict(learnt.model, source)])
    found = relevance.argmax(-1)[labels > 0] == places[labels > 0]
    assert found.mean() > 0.8


def test_vectors_are_specific_to_their_category(learnt: FitResult) -> None:
    source, labels, _ = localised(200, seed=2)
    vectors = np.concatenate([part.vectors for part in predict(learnt.model, source)])
    both = np.flatnonzero((labels[:, 0] > 0) & (labels[:, 1] > 0))
    assert np.abs(vectors[both, 0] - vectors[both, 1]).max(-1).min() > 1.0
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    inside = [float(np.median(unit[p, c] @ unit[p, c].T)) for c in range(4) for p in [labels[:, c] > 0]]
    across = [float(np.median(unit[labels[:, c] > 0, c] @ unit[labels[:, c] < 0, c].T)) for c in range(4)]
    assert min(inside) > max(across) + 0.3


def test_reports_name_every_loss_and_blending_starts_when_it_should(learnt: FitResult) -> None:
    checks = [report for report in learnt.history if report.stage == "checking"]
    assert {report.stage for report in learnt.history} == {"floor", "checking", "learning"}
    assert all(set(report.losses) == {"known", "contrastive", "l2"} for report in checks[:2])
    everything = {"known", "instance", "prototype", "contrastive", "l2"}
    assert all(set(report.losses) == everything for report in checks[2:])
    assert checks[-1].losses["known"] < checks[0].losses["known"]
    assert all(report.heldout_map is not None and report.floor_map is not None for report in checks)
    assert int(learnt.model.bank.counts.sum()) > 0


def test_with_a_tenth_known_the_loss_falls_and_the_model_is_not_below_its_floor() -> None:
    source, labels, _ = localised(400, categories=8, dim=24, seed=3)
    training = TrainConfig(epochs=6, learning_rate=5e-3, blend_from=2, floor_l2=(0.1, 0.3))
    result = fit(source, hide_labels(labels, 0.1), config=DSRBConfig(dim=24), training=training)
    epochs = [report for report in result.history if report.stage == "checking"]
    assert epochs[-1].losses["known"] < epochs[0].losses["known"]
    assert next(report.epoch for report in epochs if "prototype" in report.losses) == 3
    unseen, truth, _ = localised(400, categories=8, dim=24, seed=4)
    logits = np.concatenate([part.logits for part in predict(result.model, unseen)])
    floor = result.model.floor(torch.from_numpy(unseen.pooled())).numpy()
    assert mean_average_precision(logits, truth) >= mean_average_precision(floor, truth) - 0.02


def test_holdout_is_known_cells_with_their_labels(learnt: FitResult) -> None:
    _, complete, _ = localised(300, seed=0)
    labels, held = hide_labels(complete, 0.5), learnt.holdout
    assert (labels[held.rows, held.columns] == held.labels).all()
    assert len(set(zip(held.rows.tolist(), held.columns.tolist(), strict=True))) == len(held.labels)
    assert held.model_logits.shape == held.floor_logits.shape == held.labels.shape


def out_of_fold(result: FitResult, source: ArraySource, training: TrainConfig) -> np.ndarray:
    """Logits of the folds, made again from their floors, at the rows with a known cell."""
    folds = result.folds
    assert folds is not None and len(folds.floors) == training.floor_folds
    z = result.model.frame.standardise(torch.from_numpy(source.pooled()[folds.rows]))
    whole = z @ result.model.floor_weight.T + result.model.floor_bias
    logits = torch.stack([*(floor(z) for floor in folds.floors), whole]).numpy()
    rows, columns = np.indices(folds.parts.shape)
    return logits[folds.parts, rows, columns]  # -1, unknown: the whole one stands last


def test_folds_are_those_of_the_kept_floor_also_when_the_residual_speaks(learnt: FitResult) -> None:
    source, complete, _ = localised(300, seed=0)
    labels, folds, held = hide_labels(complete, 0.5), learnt.folds, learnt.holdout
    assert folds is not None and float(learnt.model.gate) > 0
    assert np.array_equal(folds.rows, np.flatnonzero(labels.any(axis=1)))
    assert np.array_equal(folds.parts >= 0, labels[folds.rows] != 0)
    assert np.allclose(folds.logits, out_of_fold(learnt, source, TrainConfig()), atol=1e-3)
    places = np.searchsorted(folds.rows, held.rows)
    assert (folds.parts[places, held.columns] >= 0).all(), "every held-out cell has a floor that missed it"


def test_folds_of_a_silent_residual_are_what_its_figures_come_from() -> None:
    source, labels = problem(60)
    labels[[0, 7, 59]] = 0
    never = TrainConfig.from_dict(QUICK.to_dict() | {"gate_margin": 1.0, "floor_folds": 4})
    result = fit(source, labels, config=SMALL, training=never)
    folds, held = result.folds, result.holdout
    assert folds is not None and float(result.model.gate) == 0
    assert not {0, 7, 59} & set(folds.rows.tolist())
    assert np.allclose(folds.logits, out_of_fold(result, source, never), atol=1e-3)
    places = np.searchsorted(folds.rows, held.rows)
    assert np.array_equal(folds.rows[places], held.rows)
    assert np.array_equal(folds.logits[places, held.columns], held.model_logits)


def test_noise_keeps_the_floor_and_every_known_cell_calibrates() -> None:
    rng = np.random.default_rng(0)
    source = ArraySource(rng.standard_normal((60, 4, 8)).astype(np.float16), (2, 2))
    labels = hide_labels(np.where(rng.random((60, 4)) < 0.3, 1, -1), 0.7)
    result = fit(source, labels, config=SMALL, training=QUICK)
    assert float(result.model.gate) == 0
    assert len(result.holdout.labels) == (labels != 0).sum()
    assert np.array_equal(result.holdout.model_logits, result.holdout.floor_logits)
    logits = np.concatenate([part.logits for part in predict(result.model, source)])
    floor = result.model.floor(torch.from_numpy(source.pooled())).numpy()
    assert np.allclose(logits, floor, atol=1e-5)


def test_gate_needs_a_gain_beyond_margin_and_standard_error() -> None:
    rng = np.random.default_rng(0)
    truth = np.where(rng.random((200, 6)) < 0.3, 1, -1).astype(np.int8)
    base = rng.standard_normal((200, 6)).astype(np.float32)
    ap = average_precision(base, truth)
    useful, useless = truth.astype(np.float32) * 3, rng.standard_normal((200, 6)).astype(np.float32) * 1e-3
    assert choose_gate(base, useful, truth, base_ap=ap, training=TrainConfig())[1] == 1.0
    assert choose_gate(base, useless, truth, base_ap=ap, training=TrainConfig())[1] == 0.0
    one = useful * np.array([1, -0.2, -0.2, -0.2, 0, 0], np.float32)  # one category gains, three lose
    assert choose_gate(base, one, truth, base_ap=ap, training=TrainConfig())[1] == 0.0


def test_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    source, labels = problem()
    first, second = (fit(source, labels, config=SMALL, training=QUICK) for _ in range(2))
    assert same(first, second)
    other = TrainConfig.from_dict(QUICK.to_dict() | {"seed": 1})
    assert not same(first, fit(source, labels, config=SMALL, training=other))


def test_global_random_state_is_neither_read_nor_moved() -> None:
    source, labels = problem(30)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(source, labels, config=SMALL, training=QUICK)
    assert torch.equal(before, torch.get_rng_state())


def test_maps_are_read_once_and_only_of_labelled_images() -> None:
    source, labels = problem(60)
    labels[40:] = 0
    fit(source, labels, config=SMALL, training=QUICK)
    assert sorted(source.read_rows) == sorted(set(source.read_rows))
    assert max(source.read_rows) < 40


def test_a_memory_limit_changes_how_often_maps_are_read_and_nothing_else() -> None:
    source, labels = problem(40)
    roomy = fit(source, labels, config=SMALL, training=QUICK)
    tight = TrainConfig.from_dict(QUICK.to_dict() | {"memory_bytes": 0})
    source.read_rows.clear()
    assert same(roomy, fit(source, labels, config=SMALL, training=tight))
    assert len(source.read_rows) > 3 * 40


class StopAfter:
    """Asks to stop once `count` reports of `stage` were made."""

    def __init__(self, stage: str, count: int) -> None:
        self.stage, self.left = stage, count

    def report(self, report: EpochReport) -> None:
        self.left -= report.stage == self.stage

    def asked(self) -> bool:
        return self.left <= 0


@pytest.mark.parametrize(("stage", "count"), [("checking", 2), ("learning", 1)])
def test_resume_equals_uninterrupted_run(tmp_path: Path, stage: str, count: int) -> None:
    source, labels = problem()
    whole = fit(source, labels, config=SMALL, training=QUICK)
    path, stop = tmp_path / "run.safetensors", StopAfter(stage, count)
    cut = fit(
        source,
        labels,
        config=SMALL,
        training=QUICK,
        checkpoint=path,
        on_epoch=stop.report,
        should_stop=stop.asked,
    )
    assert cut.stopped == "cancelled"
    assert path.exists()
    again: list[EpochReport] = []
    resumed = fit(source, labels, config=SMALL, training=QUICK, checkpoint=path, on_epoch=again.append)
    assert same(whole, resumed)
    assert resumed.history == whole.history
    assert sum(r.stage == stage for r in again) == sum(r.stage == stage for r in whole.history) - count
    assert not path.exists()


def test_checkpoint_of_other_labels_is_not_taken_up(tmp_path: Path) -> None:
    source, labels = problem()
    path, stop = tmp_path / "run.safetensors", StopAfter("checking", 2)
    fit(
        source,
        labels,
        config=SMALL,
        training=QUICK,
        checkpoint=path,
        on_epoch=stop.report,
        should_stop=stop.asked,
    )
    changed = labels.copy()
    changed[0] = -changed[0] | 1
    fresh = fit(source, changed, config=SMALL, training=QUICK)
    assert same(fresh, fit(source, changed, config=SMALL, training=QUICK, checkpoint=path))


@pytest.mark.parametrize("stage", ["reading", "floor", "checking", "learning"])
def test_cancelled_run_leaves_a_usable_floor(stage: str) -> None:
    source, labels = problem(40)
    stop = StopAfter(stage, 1)
    result = fit(source, labels, config=SMALL, training=QUICK, on_epoch=stop.report, should_stop=stop.asked)
    assert result.stopped == "cancelled"
    assert float(result.model.gate) == 0
    assert all(np.isfinite(part.logits).all() for part in predict(result.model, source))
    assert (result.folds is None) is (stage != "learning"), "before that stage there is no floor of all cells"
    assert (float(result.model.floor_l2) > 0) is (stage == "learning")


def test_diverging_run_drops_steps_and_keeps_the_floor(caplog: pytest.LogCaptureFixture) -> None:
    source, labels = problem()
    wild = TrainConfig(epochs=3, learning_rate=1e30, batch_size=8, floor_l2=(0.1,))
    result = fit(source, labels, config=SMALL, training=wild)
    assert result.stopped == "diverged"
    assert float(result.model.gate) == 0
    assert result.folds is not None and len(result.holdout.labels) == int((labels != 0).sum())
    assert "3 so far" in caplog.text
    assert all(bool(torch.isfinite(value).all()) for value in result.model.state_dict().values())
    assert np.isfinite(result.heldout_map)


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels[:, :1],
        lambda labels: np.where(labels > 0, 1, 0),
        lambda labels: np.concatenate([labels, np.zeros_like(labels), -np.abs(labels)], 1),
        lambda labels: np.where(np.arange(labels.size).reshape(labels.shape) == int(np.argmax(labels)), 1, 0),
        lambda labels: np.abs(labels),
    ],
    ids=[
        "one category",
        "positives only",
        "empty and one-sided categories",
        "a single label",
        "all positive",
    ],
)
def test_missing_labels_of_every_kind_work(change: Callable[[np.ndarray], np.ndarray]) -> None:
    source, labels = problem(30)
    result = fit(source, change(labels).astype(np.int8), config=SMALL, training=QUICK)
    assert result.stopped == "finished"
    for part in predict(result.model, source):
        assert np.isfinite(part.logits).all()
        assert np.isfinite(part.vectors).all()
        assert np.isfinite(part.relevance).all()


@pytest.mark.parametrize(
    "options",
    [
        {"prototypes": "mean", "partner": "reversal", "targets": "soft"},
        {"prototypes": "kmeans", "clusters": 3, "weight": "learnable", "targets": "soft"},
        {"graph": False, "weight": "beta", "partner": "permutation", "negative_pairs": True},
        {"instance_weight": 0.0, "prototype_weight": 0.0, "attention_start": 0.0},
        {"graph_dim": 16, "cells": 3, "detach_targets": False, "weight": "learnable", "targets": "soft"},
    ],
)
def test_every_published_variant_trains(options: dict[str, object]) -> None:
    source, labels = problem(40)
    config = DSRBConfig.from_dict(SMALL.to_dict() | options)
    result = fit(source, labels, config=config, training=QUICK)
    assert result.stopped == "finished"
    assert all(np.isfinite(value) for report in result.history for value in report.losses.values())


def test_mixed_precision_trains_to_finite_losses() -> None:
    source, labels = problem(40)
    mixed = TrainConfig.from_dict(QUICK.to_dict() | {"amp": True})
    result = fit(source, labels, config=SMALL, training=mixed)
    assert result.stopped == "finished"
    assert result.history[-1].losses["known"] > 0


def stages_of(result: FitResult) -> set[str]:
    return {report.stage for report in result.history}


@pytest.mark.parametrize(("gate", "checked"), [(0.0, False), (0.5, True)])
def test_only_a_residual_that_speaks_is_checked_again_in_a_quick_warm_run(gate: float, checked: bool) -> None:
    source, labels = problem()
    first = fit(source, labels, config=SMALL, training=QUICK)
    first.model.gate.fill_(gate)
    again = fit(source, labels, config=SMALL, training=QUICK, warm_start=first.model, recheck=False)
    assert ("checking" in stages_of(again)) is checked
    if not checked:
        assert float(again.model.gate) == 0
        assert len(again.holdout.labels) == int((labels != 0).sum()), "every known cell, out of fold"


def with_l2(*values: float, **changed: object) -> TrainConfig:
    return TrainConfig.from_dict(QUICK.to_dict() | {"floor_l2": values} | changed)


def test_a_quick_warm_run_keeps_the_floors_l2_and_a_checked_one_chooses_it_again(tmp_path: Path) -> None:
    source, labels = problem()
    first = fit(source, labels, config=SMALL, training=with_l2(1.0, gate_margin=1.0))
    assert first.floor_l2 == 1.0 == float(first.model.floor_l2)
    save_model(first.model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert float(again.floor_l2) == 1.0
    for warm in (first.model, again, again.for_columns([1, None, 2, 0]).for_columns([3, 0, 2])):
        kept = fit(source, labels, config=SMALL, training=with_l2(0.03, 0.1), warm_start=warm, recheck=False)
        assert kept.floor_l2 == float(kept.model.floor_l2) == 1.0
        assert torch.allclose(kept.model.floor_weight, first.model.floor_weight, atol=2e-3)
    checked = fit(source, labels, config=SMALL, training=with_l2(0.1), warm_start=again)
    assert checked.floor_l2 == pytest.approx(0.1) == float(checked.model.floor_l2)
    unheld = fit(source, labels, config=SMALL, training=with_l2(0.1, heldout=0.0), warm_start=again)
    assert unheld.floor_l2 == pytest.approx(0.1), (
        "a checked run tries the grid also where nothing is held out"
    )


def test_a_warm_model_whose_floor_was_never_fitted_gives_no_l2() -> None:
    source, labels = problem()
    first = fit(source, labels, config=SMALL, training=QUICK)
    first.model.gate.zero_()
    first.model.floor_l2.zero_()
    again = fit(source, labels, config=SMALL, training=with_l2(0.3), warm_start=first.model, recheck=False)
    assert again.floor_l2 == 0.3


def test_a_warm_floor_is_where_it_begins_and_not_where_it_ends() -> None:
    source, labels = problem()
    one = with_l2(0.1, gate_margin=1.0)
    first = fit(source, labels, config=SMALL, training=one)
    changed = labels.copy()
    changed[:20] = -changed[:20]
    cold = fit(source, changed, config=SMALL, training=one)
    warm = fit(source, changed, config=SMALL, training=one, warm_start=first.model)
    assert torch.allclose(warm.model.floor_weight, cold.model.floor_weight, atol=2e-3)
    assert np.allclose(warm.holdout.floor_logits, cold.holdout.floor_logits, atol=2e-2)


def test_a_cold_run_is_always_checked() -> None:
    source, labels = problem()
    assert "checking" in stages_of(fit(source, labels, config=SMALL, training=QUICK, recheck=False))


def test_warm_start_begins_the_last_stage_from_the_earlier_model() -> None:
    source, labels = problem()
    first = fit(source, labels, config=SMALL, training=QUICK)
    still = TrainConfig.from_dict(QUICK.to_dict() | {"learning_rate": 1e-5})
    warm = fit(source, labels, config=SMALL, training=still, warm_start=first.model)
    assert torch.allclose(warm.model.class_weight, first.model.class_weight, atol=1e-3)
    cold = fit(source, labels, config=SMALL, training=still)
    assert not torch.allclose(cold.model.class_weight, first.model.class_weight, atol=1e-3)
    with pytest.raises(ValueError, match="other features, categories or options"):
        fit(source, labels[:, :2], config=SMALL, training=QUICK, warm_start=first.model)


def test_given_category_vectors_are_used_and_stay_frozen() -> None:
    source, labels = problem(40)
    words = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    result = fit(source, labels, config=SMALL, training=QUICK, category_vectors=words)
    assert result.model.attention.words is not None
    assert np.array_equal(result.model.attention.words.numpy(), words)


def test_what_cannot_be_learnt_is_refused_in_a_sentence() -> None:
    source, labels = problem(20)
    with pytest.raises(ValueError, match="19 rows of labels for 20 images"):
        fit(source, labels[:-1], config=SMALL, training=QUICK)
    with pytest.raises(ValueError, match="no positive label"):
        fit(source, -np.abs(labels), config=SMALL, training=QUICK)
    source.grid = (2, 2)
    with pytest.raises(ValueError, match="does not have 9 locations"):
        fit(source, labels, config=SMALL, training=QUICK)


def test_a_warm_run_takes_over_a_gate_with_the_cells_it_was_chosen_on(learnt: FitResult) -> None:
    source, labels, _ = localised(300, seed=0)
    partial = hide_labels(labels, 0.5)
    cleared, turned = (0, 1), (2, 3)
    held = learnt.holdout
    for cell in (cleared, turned):
        partial[held.rows[cell[0]], held.columns[cell[0]]] = 0
    partial[held.rows[turned[1]], held.columns[turned[1]]] *= -1
    training = TrainConfig(epochs=10, learning_rate=5e-3, floor_l2=(0.1, 0.3, 1.0))
    options = {"config": DSRBConfig(dim=24), "training": training, "warm_start": learnt.model}
    again = fit(source, partial, recheck=False, earlier=held, **options)
    assert [report.stage for report in again.history if report.stage == "checking"] == []
    assert sum(report.stage == "learning" for report in again.history) == 1
    assert float(again.model.gate) == float(learnt.model.gate) > 0
    assert len(again.holdout.labels) == len(held.labels) - 2
    known = partial[again.holdout.rows, again.holdout.columns]
    assert np.array_equal(again.holdout.labels, known), "answers as they are now"
    before = {(r, c): v for r, c, v in zip(held.rows, held.columns, held.model_logits, strict=True)}
    now = zip(again.holdout.rows, again.holdout.columns, again.holdout.model_logits, strict=True)
    assert all(before[r, c] == value for r, c, value in now)
    alone = fit(source, partial, recheck=False, **options)
    assert any(report.stage == "checking" for report in alone.history), "a gate needs cells to stand on"
