"""What the Learn tab says of how far probabilities can be believed."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from annotator.errors import BadInput
from annotator.records import Generation, GenerationStatus
from annotator.ui import reliability
from annotator.ui.reliability import Wanted, measured, reliability_html, reliability_plot, threshold_words
from dsrb_core.reliability import JUDGED, Judged
from dsrb_core.thresholds import thresholds

BINS = [
    {
        "low": 0.0,
        "high": 0.1,
        "cells": 1200,
        "probability": 0.02,
        "share": 0.018,
        "lower": 0.01,
        "upper": 0.03,
    },
    {"low": 0.5, "high": 0.6, "cells": 0, "probability": None, "share": None, "lower": None, "upper": None},
    {"low": 0.8, "high": 0.9, "cells": 60, "probability": 0.85, "share": 0.8, "lower": 0.7, "upper": 0.87},
]
SUGGESTED = {
    "low": 0.5,
    "high": 1.0,
    "cells": 60,
    "probability": 0.85,
    "share": 0.82,
    "lower": 0.7,
    "upper": 0.87,
}
GENERATION = Generation(
    id=4,
    project_id=1,
    snapshot_id=2,
    up_to_seq=3,
    backbone="tiny",
    folder="generations/000004",
    manifest_sha256="",
    metrics={"ece": 0.012, "ece_cells": 1260, "reliability": BINS, "suggested": SUGGESTED},
    status=GenerationStatus.CURRENT,
    created_at=0,
)
OLDER = replace(GENERATION, metrics={"map": 0.5})


def judged() -> Judged:
    """Two categories; the second has too little for any threshold."""
    rng = np.random.default_rng(0)
    p = np.concatenate([np.linspace(0, 1, 600), [0.2, 0.9]]).astype(np.float32)
    labels = np.where(rng.random(602) < np.where(p > 0.4, 0.99, 0.01), 1, -1).astype(np.int8)
    return Judged(np.repeat([0, 1], [600, 2]), labels, p, np.ones(602, np.float32))


def written(data_dir: Path, generation: Generation = GENERATION, *, cells: bool = True) -> Path:
    folder = data_dir / generation.folder
    folder.mkdir(parents=True)
    usual = asdict(thresholds(*judged().of(0).scored()))
    facts = [{"id": 30, "ece": 0.1, "thresholds": usual}, {"id": 20, "ece": None}]
    (folder / "manifest.json").write_text(json.dumps({"categories": facts}), encoding="utf-8")
    if cells:
        judged().save(folder / JUDGED)
    return folder


def test_the_error_and_the_share_of_right_suggestions_stand_with_their_cells() -> None:
    html = reliability_html(GENERATION, None)
    assert "1.2 % on 1,260 held-out cells" in html
    assert "82 of 100 such suggestions were right; they said 85, measured on 60 held-out cells" in html
    for part in ("0 to 10 %", "1.8 %", "1.0 – 3.0 %", "1,200", "80 to 90 %"):
        assert part in html
    assert "50 to 60 %" not in html, "no cell, nothing to say"


def test_the_plot_has_the_diagonal_and_the_count_of_every_point() -> None:
    plot = reliability_plot(GENERATION)
    assert plot is not None
    points = [row for row in plot["data"] if row[3] == reliability.MEASURED]
    assert points == [[2.0, 1.8, 1200, reliability.MEASURED], [85.0, 80.0, 60, reliability.MEASURED]]
    line = [row[:2] for row in plot["data"] if row[3] == reliability.EXACT]
    assert line == [[0, 0], [100, 100]]
    assert plot["columns"] == list(plot["datatypes"]) and {len(row) for row in plot["data"]} == {4}


@pytest.mark.parametrize("generation", [None, OLDER])
def test_an_older_generation_and_none_say_nothing(generation: Generation | None, tmp_path: Path) -> None:
    assert reliability_html(generation, None) == "" and reliability_plot(generation) is None
    assert measured(tmp_path, generation, Wanted()).categories == {}
    if generation is not None:
        written(tmp_path, generation, cells=False)
        found = measured(tmp_path, generation, Wanted(0.8, 0.8))
        assert found.pooled is None and set(found.categories) == {20, 30}


def test_thresholds_follow_what_is_wanted(tmp_path: Path) -> None:
    written(tmp_path)
    usual, other = measured(tmp_path, GENERATION, Wanted()), measured(tmp_path, GENERATION, Wanted(0.7, 0.99))
    expected = thresholds(*judged().of(0).scored(), precision=0.7, recall=0.99)
    assert other.categories[30]["thresholds"] == asdict(expected)
    assert other.categories[30]["ece"] == 0.1
    before = usual.categories[30]["thresholds"]["precision"]
    assert before["wanted"] == 0.95 and before["threshold"] > expected.precision.threshold  # type: ignore[operator]
    assert "of 59 yes needed" in threshold_words(usual.categories[20]["thresholds"]["precision"])
    assert other.pooled == asdict(thresholds(*judged().scored(), precision=0.7, recall=0.99))
    html = reliability_html(GENERATION, other.pooled)
    assert "70 % precision, all categories" in html and "99 % recall, all categories" in html


def test_damaged_cells_are_logged_and_the_rest_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (written(tmp_path) / JUDGED).write_bytes(b"no zip file")
    with caplog.at_level(logging.WARNING):
        found = measured(tmp_path, GENERATION, Wanted())
    assert found.pooled is None and set(found.categories) == {20, 30}
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    ("precision", "recall", "named"),
    [(0, 90, "precision"), (100, 90, "precision"), (95, float("nan"), "recall"), ("high", 90, "precision")],
)
def test_what_cannot_be_wanted_is_named(precision: object, recall: object, named: str) -> None:
    with pytest.raises(BadInput, match=f"wanted {named} must lie between 1 and 99.9 %"):
        Wanted.from_percent(precision, recall)


def test_an_empty_field_is_the_usual_value() -> None:
    assert Wanted.from_percent(None, None) == Wanted()
    assert Wanted.from_percent(80, 99.5) == Wanted(0.8, 0.995)
