"""The trust benchmark runs without any data and ends with its figures; its measures agree with plain ones."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks import trust, trust_method, trust_service
from benchmarks.trust_method import Problem, Trained, calibration, precision, recall, train
from dsrb_core.config import TrainConfig
from dsrb_core.labels import hide_labels
from tests.references import localised

ROOT = Path(__file__).resolve().parents[1]
KEYS = {
    "ece_pooled",
    "ece_worst",
    "precision_at_10_category",
    "precision_at_10_image",
    "suggest_p95_ms",
    "next_p95_ms",
    "neighbour_update_ms",
    "recall_at_10",
}


def test_the_last_line_is_the_result() -> None:
    command = [sys.executable, "benchmarks/trust.py", "--quick", "--threads", "1"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    name, figures = done.stdout.strip().splitlines()[-1].split(" ", 1)
    found = json.loads(figures)
    assert name == "RESULT" and set(found) == KEYS
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    assert found["ece_pooled"] < found["ece_worst"] < 1
    assert found["precision_at_10_category"] > found["precision_at_10_image"], "the evidence is local"
    assert found["recall_at_10"] >= 0.99


@pytest.mark.parametrize(
    ("program", "options", "sentence"),
    [
        (trust, [], "--data is needed unless --quick is given."),
        (trust, ["--quick", "--known", "1"], "--known must lie between 0 and 1, both left out, not 1."),
        (trust_service, ["--images", "10"], "--images must be at least 1000."),
    ],
)
def test_a_wrong_option_is_one_sentence(
    program: ModuleType,
    options: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["trust", *options])
    with pytest.raises(SystemExit) as stopped:
        program.main()
    assert stopped.value.code == 2 and sentence in capsys.readouterr().err


def test_the_floor_alone_is_trained_and_suggests_for_every_picture() -> None:
    source, labels, _ = localised(60, categories=3, dim=16, side=2)
    problem = Problem(source, labels, ["a", "b", "c"], np.arange(40), np.arange(40, 60))
    partial = hide_labels(labels[:40], 0.5, seed=0)
    trained = train(problem, partial, TrainConfig(), floor=True)
    assert trained.gate == 0 and trained.suggested.shape == trained.logits.shape == (60, 3)
    assert trained.instances.shape[:2] == (60, 3) and np.isfinite(trained.instances).all()
    assert not np.allclose(trained.suggested, trained.logits), "neighbours and calibration say something"


def test_calibration_counts_labelled_cells_of_large_categories() -> None:
    """Column 0 says 0.5 of certain cells, column 1 is right half the time, column 2 is too small."""
    log_odds = np.zeros((400, 3), np.float32)
    labels = np.zeros((400, 3), np.int8)
    labels[:, 0] = 1
    labels[:, 1] = np.where(np.arange(400) % 2, 1, -1)
    labels[:199, 2] = -1
    log_odds[:, 2] = 30.0
    found = calibration(log_odds, labels)
    assert (found.measured, found.worst_column) == (2, 0)
    assert found.worst == pytest.approx(0.5)
    assert found.pooled == pytest.approx((0.5 * 400 + 1.0 * 199) / 999)
    with pytest.raises(ValueError, match="No category has 200 cells"):
        calibration(log_odds[:100], labels[:100])


def test_precision_is_that_of_ten_nearest_by_hand() -> None:
    rng = np.random.default_rng(0)
    truth = np.where(rng.random((120, 2)) < 0.3, 1, -1).astype(np.int8)
    instances = rng.normal(size=(120, 2, 8)).astype(np.float16)
    pooled = rng.normal(size=(120, 16)).astype(np.float32)
    known = np.where(np.arange(120)[:, None] % 3 == 0, truth, 0).astype(np.int8)[:90]
    allowed = rng.random(truth.shape) < 0.7
    empty = np.zeros((120, 2), np.float32)
    trained = Trained(empty, instances, empty, 0.0)

    def by_hand(vectors: np.ndarray) -> float:
        shares = []
        for column in range(2):
            own = vectors[:, column].astype(np.float64)
            own = own - own.mean(axis=0)
            own /= np.linalg.norm(own, axis=1, keepdims=True)
            found = []
            for row in np.flatnonzero(known[:, column] == 1):
                others = [other for other in range(120) if other != row and allowed[other, column]]
                near = sorted(others, key=lambda other: -float(own[other] @ own[row]))[:10]
                found.append(np.mean([truth[other, column] == 1 for other in near]))
            shares.append(np.mean(found))
        return float(np.mean(shares))

    found = precision(trained, pooled, truth, known, seed=0, candidates=allowed)
    assert found.categories == 2
    assert found.category == pytest.approx(by_hand(instances))
    assert found.image == pytest.approx(by_hand(np.repeat(pooled[:, None], 2, axis=1)))
    assert found.base == pytest.approx(np.mean([(truth[allowed[:, c], c] == 1).mean() for c in (0, 1)]))


def test_neighbours_that_show_the_category_are_all_right() -> None:
    truth = np.where(np.arange(60)[:, None] < 20, 1, -1).astype(np.int8)
    instances = np.where(truth[..., None] == 1, [1.0, 0.1], [-1.0, 0.1]).astype(np.float16)
    empty = np.zeros((60, 1), np.float32)
    noise = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    found = precision(Trained(empty, instances, empty, 0.0), noise, truth, truth, seed=0)
    assert found.category == 1.0 and found.image < 1.0
    with pytest.raises(ValueError, match="No category has 11 positives"):
        precision(Trained(empty, instances, empty, 0.0), noise, -truth[:10].repeat(6, 0), truth, seed=0)


def test_recall_is_measured_above_the_exact_limit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(2).normal(size=(300, 3, 8)).astype(np.float16)
    with pytest.raises(ValueError, match="searched exactly"):
        recall(vectors, size=20_000, columns=2, seed=0)
    blind = trust_method.InstanceIndex.build

    def one_list(ids: np.ndarray, rows: np.ndarray, **options: int) -> trust_method.InstanceIndex:
        built = blind(ids, rows, **options)
        if not options:
            built._index.nprobe = 1
        return built

    monkeypatch.setattr(trust_method.InstanceIndex, "build", one_list)
    assert recall(vectors, size=20_001, columns=1, seed=0) < 0.9, "an index that reads one list misses some"
