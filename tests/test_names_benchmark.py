"""The benchmark of names: its figures, against a plain count."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.names import Problem, first_yes

ROOT = Path(__file__).resolve().parents[1]


def test_the_last_line_is_the_result() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/names.py", "--quick", "--threads", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    name, figures = done.stdout.strip().splitlines()[-1].split(" ", 1)
    found = json.loads(figures)
    assert name == "RESULT"
    assert set(found) == {"first_yes_named", "first_yes_diverse", "first_yes_random", "share_better"}
    assert found["first_yes_named"] < found["first_yes_diverse"] < found["first_yes_random"]


def test_a_category_is_found_by_the_scores_of_the_others_only() -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((60, 4)) < 0.1, 1, -1).astype(np.int8)
    labels[7] = 1
    scores = rng.normal(size=(60, 4)).astype(np.float32)
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0, 1.1]], np.float32)
    pooled = rng.normal(size=(60, 3)).astype(np.float32)
    found = first_yes(Problem(scores, labels, pooled, vectors), seed=0, temperature=0.001)
    for category, alike in enumerate((1, 0, 3, 2)):
        order = sorted(range(60), key=lambda i: -scores[i, alike])
        assert found["named"][category] == 1 + next(
            p for p, i in enumerate(order) if labels[i, category] == 1
        )
    assert np.allclose(found["random"], 61 / ((labels == 1).sum(axis=0) + 1))
    scores[:, 0] = 0  # the category's own scores are never looked at
    again = first_yes(Problem(scores, labels, pooled, vectors), seed=0, temperature=0.001)
    assert again["named"][0] == found["named"][0]
