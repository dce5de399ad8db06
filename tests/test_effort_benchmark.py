"""The effort simulation: its figures, and what it may not do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.effort import needed
from benchmarks.effort_loop import Clock, Point, Problem, Run, Way, in_turn, play, take
from tests.references import localised

ROOT = Path(__file__).resolve().parents[1]
KEYS = {"share_of_exhaustive", "share_of_best_baseline", "precision", "recall"}


def _point(answers: int, recall: float, precision: float, answered: float) -> Point:
    return Point(answers, 2.0 * answers, recall, precision, answered, None)


def test_the_last_line_is_the_result(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/effort.py", "--quick", "--threads", "1", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    name, figures = done.stdout.strip().splitlines()[-1].split(" ", 1)
    found = json.loads(figures)
    assert name == "RESULT" and set(found) == KEYS
    assert found["share_of_exhaustive"] < 0.7 and found["share_of_best_baseline"] < 1
    assert found["recall"] >= 0.9 and found["precision"] >= 0.95
    assert (tmp_path / "effort.png").read_bytes()[:4] == b"\x89PNG"


def test_a_share_is_reached_between_two_rounds_and_only_with_enough_precision() -> None:
    run = Run("ours", 0, [_point(100, 0.5, 0.99, 0.4), _point(200, 1.0, 0.99, 0.6)])
    assert needed(run, 0.9) == pytest.approx(180)
    assert needed(run, 0.9, what="seconds") == pytest.approx(360)
    careless = Run("ours", 0, [_point(100, 0.5, 0.99, 0.4), _point(200, 1.0, 0.90, 0.6)])
    assert needed(careless, 0.9) is None, "what was taken unasked was too often wrong"
    assert needed(careless, 0.55) == pytest.approx(150)


def test_nothing_but_answered_cells_is_read_by_what_is_taken() -> None:
    rng = np.random.default_rng(0)
    p, known = rng.random((40, 5)).astype(np.float32), rng.random((40, 5)) < 0.5
    truth = rng.random((40, 5)) < 0.3
    other = np.where(known, truth, ~truth)
    assert np.array_equal(take(p, known, truth), take(p, known, other))
    assert not (take(p, known, truth) & known).any()


def test_every_cell_is_asked_once_and_the_model_sees_no_other() -> None:
    source, labels, _ = localised(60, categories=4, dim=16, side=2)
    problem = Problem(source, labels, np.arange(40), np.arange(40, 60))
    way = Way("ours", "linear", in_turn, blind=0.1)
    points = list(play(problem, way, seed=0, growth=0.5, most=1.0))
    answers = [one.answers for one in points]
    assert answers[0] == 80 and answers == sorted(set(answers)) and answers[-1] <= 160
    assert points[-1].answered >= 0.995 and points[-1].answered >= points[0].answered


def test_exhaustive_answers_every_cell_of_picture_after_picture() -> None:
    source, labels, _ = localised(30, categories=4, dim=16, side=2)
    problem = Problem(source, labels, np.arange(30), np.arange(0))
    points = list(play(problem, Way("exhaustive"), seed=0, growth=0.5, most=1.0))
    assert points[-1].answers == 120 and points[-1].recall == 1.0
    assert all(one.answers % 4 == 0 for one in points)


def test_a_grid_is_quicker_than_the_same_cells_one_by_one() -> None:
    grid, single = Clock(), Clock()
    grid.give(np.arange(36) * 4, 4)  # 36 pictures, one category
    single.give(np.arange(8) * 5, 40)  # 8 cells of 8 categories
    assert grid.seconds == pytest.approx(1.0 + 36 * 0.6)
    assert single.seconds == pytest.approx(len({n * 5 // 40 for n in range(8)}) * 1.0 + 8 * 1.7)
