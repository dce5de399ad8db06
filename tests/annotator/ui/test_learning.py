"""What the Learn tab says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from annotator.actions import CategoryView, Counts, Status, WorkerView
from annotator.records import Category, CategoryCount, Generation, GenerationStatus, Job, JobStatus
from annotator.ui import learning

JOB = Job(id=1, project_id=1, kind="retrain", status=JobStatus.RUNNING, wanted_seq=9)
STATUS = Status(
    counts=Counts(),
    generation=None,
    new_decisions=32,
    trains_after=18,
    job=None,
    worker=WorkerView(alive=True),
)
GENERATION = Generation(
    id=4,
    project_id=1,
    snapshot_id=2,
    up_to_seq=1234,
    backbone="tiny",
    folder="projects/1/generations/000004",
    manifest_sha256="",
    metrics={"map": 0.612, "floor_map": 0.58, "heldout_cells": 240},
    status=GenerationStatus.CURRENT,
    created_at=1_790_000_000_000,
)


def test_the_next_training_is_announced() -> None:
    html = learning.status_html(STATUS)
    assert "32 new answers since the last training; it trains by itself after 18 more." in html
    assert "the next one is due" in learning.status_html(replace(STATUS, trains_after=0))


def test_a_missing_worker_is_said_first() -> None:
    html = learning.status_html(replace(STATUS, worker=WorkerView()))
    assert html.index("No worker is running") < html.index("new answers")


def test_a_running_training_shows_how_far_it_is() -> None:
    html = learning.status_html(replace(STATUS, job=replace(JOB, stage="training", done=3, total=12)))
    assert "Training · training · 3 of 12" in html
    assert '<progress max="12" value="3">' in html


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (replace(JOB, status=JobStatus.QUEUED), "waiting for the worker"),
        (replace(JOB, status=JobStatus.FAILED, message="No space <left>."), "No space &lt;left&gt;."),
        (replace(JOB, status=JobStatus.CANCELLED), "was cancelled"),
        (replace(JOB, status=JobStatus.DONE, message="Generation 4 is ready."), "Generation 4 is ready."),
        (replace(JOB, cancel_requested=True), "stopping as asked"),
        (
            replace(JOB, lease_until=99, stage="the worker died; attempt 2 follows"),
            "Training rests · the worker died; attempt 2 follows",
        ),
    ],
)
def test_every_end_of_a_job_has_plain_words(job: Job, words: str) -> None:
    assert words in learning.status_html(replace(STATUS, job=job))
    assert learning.busy(job) == (job.status in (JobStatus.QUEUED, JobStatus.RUNNING))


def test_a_damaged_generation_is_told_above_everything_else() -> None:
    html = learning.status_html(replace(STATUS, problem="Generation 4: logits.npy <is> not right."))
    assert html.index("A generation is damaged.") < html.index("logits.npy &lt;is&gt; not right.")
    assert "damaged" not in learning.status_html(STATUS)


def test_a_generation_tells_its_quality_with_the_number_of_cells_behind_it() -> None:
    html = learning.generation_html(GENERATION)
    for part in ("61.2 % on 240 held-out cells", "58.0 %", "1,234", "2026-09-21"):
        assert part in html
    assert "no generation yet" in learning.generation_html(None)


@pytest.mark.parametrize(("gate", "words"), [(0.0, "not kept: no clear gain"), (0.25, "kept at 25.0 %")])
def test_a_generation_says_whether_the_residual_speaks(gate: float, words: str) -> None:
    made = replace(GENERATION, metrics={**GENERATION.metrics, "gate": gate})
    assert words in learning.generation_html(made)


@pytest.mark.parametrize(("weight", "words"), [(0.0, "not used"), (0.946261, "with weight 0.95")])
def test_a_generation_says_whether_similar_pictures_speak(weight: float, words: str) -> None:
    made = replace(GENERATION, metrics={**GENERATION.metrics, "propagation": weight})
    html = learning.generation_html(made)
    assert "Similar pictures" in html and words in html
    assert "Similar pictures" not in learning.generation_html(GENERATION), "an older generation"


@pytest.mark.parametrize(("warm", "words"), [(True, "warm start"), (False, "from scratch")])
def test_a_generation_says_where_its_training_began(warm: bool, words: str) -> None:
    made = replace(GENERATION, metrics={**GENERATION.metrics, "warm_start": warm})
    assert words in learning.generation_html(made)
    assert "from scratch" not in learning.generation_html(GENERATION), "an older generation"


def view(number: int, name: str) -> CategoryView:
    category = Category(id=number, project_id=1, name=name, position=number)
    return CategoryView(
        category=category, count=CategoryCount(category_id=number, positive=3, negative=5, unsure=1)
    )


def test_categories_carry_what_was_measured() -> None:
    found = {"threshold": 0.6, "estimate": 0.97, "low": 0.952, "high": 0.99, "cells": 214}
    none = {"threshold": None, "reason": "3 of 29 yes needed"}
    facts = {7: {"ap": 0.5, "heldout": 12, "ece": 0.021, "thresholds": {"precision": found, "recall": none}}}
    rows = learning.category_rows([view(7, "dog"), view(8, "cat")], facts)
    assert rows[0][:7] == ["dog", 3, 5, 1, "50.0 %", "12", "2.1 %"]
    assert rows[0][7] == "from 60.0 %: 97.0 % (95.2–99.0), 214 cells"
    assert rows[0][8] == "– 3 of 29 yes needed"
    assert rows[1] == ["cat", 3, 5, 1, "–", "–", "–", "–", "–"], "an older generation, or a new category"
    assert len(learning.CATEGORY_HEADERS) == len(learning.CATEGORY_TYPES) == len(rows[0])


def test_curves_become_two_plots_and_gaps_stay_gaps() -> None:
    curves = [
        {"stage": "choose", "epoch": 1, "loss": 0.9, "heldout_map": None, "floor_map": 0.4},
        {"stage": "choose", "epoch": 2, "loss": 0.7, "heldout_map": 0.5, "floor_map": 0.4},
        {"stage": "refit", "epoch": 1, "loss": float("nan"), "heldout_map": None, "floor_map": None},
    ]
    loss, quality = learning.loss_plot(curves), learning.ap_plot(curves)
    assert loss is not None and loss["data"] == [[1, 0.9], [2, 0.7]]
    assert quality is not None
    assert quality["data"] == [[2, 50.0, "model"], [1, 40.0, "linear floor"], [2, 40.0, "linear floor"]]
    assert learning.loss_plot([]) is None
