"""Held-out cells follow their images and categories into a later snapshot."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from annotator.worker import heldout
from dsrb_core.reports import Holdout


def snapshot(images: list[int], categories: list[int]) -> Any:
    return SimpleNamespace(image_ids=np.array(images), category_ids=np.array(categories))


def test_cells_are_found_again_by_their_ids_and_those_that_left_are_dropped(tmp_path: Path) -> None:
    held = Holdout(
        np.array([0, 1, 2]),
        np.array([1, 0, 1]),
        np.array([1, -1, 1], np.int8),
        np.array([0.5, -2.0, 3.0], np.float32),
        np.array([0.25, -1.0, 2.0], np.float32),
    )
    heldout.write(tmp_path, snapshot([10, 20, 30], [5, 7]), held)
    found = heldout.read(tmp_path, snapshot([3, 10, 30], [4, 7]))
    assert found is not None
    assert found.rows.tolist() == [1, 2] and found.columns.tolist() == [1, 1]
    assert found.labels.tolist() == [1, 1]
    assert found.model_logits.tolist() == [0.5, 3.0] and found.floor_logits.tolist() == [0.25, 2.0]


def test_a_generation_without_such_cells_has_none(tmp_path: Path) -> None:
    assert heldout.read(tmp_path, snapshot([1], [1])) is None
