"""What the Learn tab says, from records to HTML and tables; no Gradio here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Literal

from annotator.actions import CategoryView, Status
from annotator.records import Generation, Job, JobStatus
from annotator.ui import words
from annotator.ui.reliability import threshold_words

WORK = {"retrain": "Training", "features": "Reading pictures"}
CATEGORY_HEADERS = [
    "Category",
    "Yes",
    "No",
    "Unsure",
    "Held-out AP",
    "Held-out cells",
    "Calibration error",
    "For the wanted precision",
    "For the wanted recall",
]
CATEGORY_TYPES: list[Literal["str", "number"]]
CATEGORY_TYPES = ["str", "number", "number", "number", "str", "str", "str", "str", "str"]
CATEGORY_WIDTHS: list[str | int] = ["13%", "6%", "6%", "8%", "9%", "9%", "12%", "18%", "19%"]
Plot = dict[str, Any]


def busy(job: Job | None) -> bool:
    """True while a job waits or runs."""
    return job is not None and job.status in (JobStatus.QUEUED, JobStatus.RUNNING)


def status_html(status: Status) -> str:
    """What the worker does, in words, with a bar while it knows how far it is."""
    lines = (_problem_line(status), _worker_line(status), _job_line(status.job), _next_line(status))
    return f'<div class="learn-status">{"".join(lines)}</div>'


def _problem_line(status: Status) -> str:
    if not status.problem:
        return ""
    return f'<p class="trouble" role="alert"><b>A generation is damaged.</b> {escape(status.problem)}</p>'


def _worker_line(status: Status) -> str:
    if status.worker.alive:
        return ""
    return (
        '<p class="trouble"><b>No worker is running.</b> Answers are kept; nothing new is learned until one '
        "starts (<code>annotator worker</code>).</p>"
    )


def _job_line(job: Job | None) -> str:
    if job is None:
        return words.sentence("Nothing has been learned yet.")
    work = WORK.get(job.kind, job.kind)
    if job.status is JobStatus.QUEUED:
        return words.sentence(f"{work} is waiting for the worker.")
    if job.status is JobStatus.RUNNING and job.owner is None and job.lease_until is not None:
        return words.sentence(words.joined([f"{work} rests", job.stage]))
    if job.status is JobStatus.RUNNING:
        how_far = f"{job.done:,} of {job.total:,}" if job.total else ""
        stopping = "stopping as asked" if job.cancel_requested else ""
        line = words.sentence(words.joined([work, job.stage, how_far, stopping]))
        return line + (f'<progress max="{job.total}" value="{job.done}"></progress>' if job.total else "")
    if job.status is JobStatus.FAILED:
        return (
            f'<p class="trouble" role="alert"><b>{work} failed.</b> {words.sentence(job.message)[3:-4]}</p>'
        )
    if job.status is JobStatus.CANCELLED:
        return words.sentence(f"{work} was cancelled; the suggestions stayed as they were.")
    return words.sentence(job.message or f"{work} is done.")


def _next_line(status: Status) -> str:
    new = words.number(status.new_decisions, "new answer")
    if status.trains_after > 0:
        return words.sentence(
            f"{new} since the last training; it trains by itself after {status.trains_after:,} more."
        )
    return words.sentence(f"{new} since the last training; the next one is due.")


def generation_html(generation: Generation | None) -> str:
    """Facts of the generation whose suggestions are shown."""
    if generation is None:
        return "<h3>Suggestions</h3>" + words.sentence(
            "There is no generation yet. Answer yes and no for a few pictures; "
            "the first training starts by itself."
        )
    metrics = generation.metrics
    made = datetime.fromtimestamp(generation.created_at / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    rows = [
        ("Generation", str(generation.id)),
        ("Trained", made),
        ("Answers it has seen", f"up to number {generation.up_to_seq:,}"),
        ("Backbone", generation.backbone),
        *_begun(metrics.get("warm_start")),
        ("Held-out mAP", _with_cells(metrics.get("map"), metrics.get("heldout_cells"))),
    ]
    if metrics.get("floor_map") is not None:
        rows.append(("Linear floor alone", words.percent(metrics["floor_map"])))
    if metrics.get("gate") is not None:
        rows.append(("DSRB on top of it", _kept(float(metrics["gate"]))))
    if metrics.get("propagation") is not None:
        rows.append(("Similar pictures", _speaking(float(metrics["propagation"]))))
    return "<h3>Suggestions</h3>" + words.facts(rows)


def _begun(warm: object) -> list[tuple[str, str]]:
    """Where the training began; nothing for a generation from before there was a choice."""
    if not isinstance(warm, bool):
        return []
    return [("Training", "warm start, from the generation before" if warm else "from scratch")]


def _kept(gate: float) -> str:
    """How much of the part that DSRB adds to the linear floor speaks in the scores."""
    if gate == 0:
        return "not kept: no clear gain on held-out answers"
    return f"kept at {words.percent(gate)}"


def _speaking(weight: float) -> str:
    """What the scores owe to the propagation from similar pictures."""
    if weight == 0:
        return "not used: held-out answers speak against it"
    return f"correct the model, with weight {weight:.2f}"


def _with_cells(value: object, cells: object) -> str:
    measured = words.percent(value)
    if isinstance(cells, int):
        return f"{measured} on {words.number(cells, 'held-out cell')}"
    return measured


def category_rows(
    categories: Sequence[CategoryView], measured: Mapping[int, Mapping[str, Any]]
) -> list[list[str | int]]:
    """Known cells of every category, how well it was ranked, how far its probability can be believed and from
    where on a suggestion is what is wanted; `measured` is by category id.
    """
    rows: list[list[str | int]] = []
    for view in categories:
        facts = measured.get(view.category.id, {})
        count = view.count
        held_out, found = facts.get("heldout"), facts.get("thresholds") or {}
        rows.append(
            [
                view.category.name,
                count.positive,
                count.negative,
                count.unsure,
                words.percent(facts.get("ap")),
                "–" if held_out is None else str(held_out),
                words.percent(facts.get("ece")),
                threshold_words(found.get("precision")),
                threshold_words(found.get("recall")),
            ]
        )
    return rows


def loss_plot(curves: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Loss over all epochs, the check on held-out answers first, then all answers; None before the first."""
    rows = [
        [step, float(point["loss"])]
        for step, point in enumerate(curves, start=1)
        if _usable(point.get("loss"))
    ]
    return _plot(["epoch", "loss"], rows)


def ap_plot(curves: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Held-out mAP of the model and of the linear floor under it; None before the first measurement."""
    rows = [
        [step, 100 * float(point[key]), name]
        for key, name in (("heldout_map", "model"), ("floor_map", "linear floor"))
        for step, point in enumerate(curves, start=1)
        if _usable(point.get(key))
    ]
    return _plot(["epoch", "mAP in %", "scores"], rows)


def _usable(value: object) -> bool:
    return isinstance(value, int | float) and value == value and abs(value) != float("inf")


def _plot(columns: list[str], rows: list[list[Any]]) -> Plot | None:
    """The form that Gradio's line plot sends to the browser, made without pandas."""
    if not rows:
        return None
    types = dict(zip(columns, ("quantitative", "quantitative", "nominal"), strict=False))
    return {"columns": columns, "data": rows, "datatypes": types, "mark": "line"}
