"""How far probabilities can be believed, from a generation's figures to HTML, a plot and table cells."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from annotator.errors import BadInput
from annotator.records import Generation
from annotator.ui import words
from dsrb_core.reliability import JUDGED, Judged
from dsrb_core.thresholds import PRECISION, RECALL, thresholds

log = logging.getLogger(__name__)

SAID, FOUND, CELLS, LINE = "probability in %", "yes in %", "held-out cells", "line"
PLOT_COLUMNS = [SAID, FOUND, CELLS, LINE]
MEASURED, EXACT = "held-out answers", "exactly as said"
COLOURS = {MEASURED: "#2f74b8", EXACT: "#9aa6b4"}
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """The precision and the recall that thresholds are asked for, as shares."""

    precision: float = PRECISION
    recall: float = RECALL

    @classmethod
    def from_percent(cls, precision: object, recall: object) -> Wanted:
        """From two number fields, an empty one is the usual value; BadInput names the one that cannot be."""
        return cls(_share("precision", precision, usual=PRECISION), _share("recall", recall, usual=RECALL))


def _share(name: str, value: object, *, usual: float) -> float:
    if value is None:
        return usual
    if not isinstance(value, int | float) or not 1 <= value <= 99.9:
        raise BadInput(f"The wanted {name} must lie between 1 and 99.9 %, not {value}.")
    return round(value / 100, 6)


def reliability_html(generation: Generation | None, pooled: Facts | None) -> str:
    """Calibration error, how many suggestions were right, and thresholds over all categories.

    `pooled` are the thresholds of all cells together. Empty without a generation that has measured it.
    """
    metrics: Facts = {} if generation is None else generation.metrics
    if not metrics.get("ece_cells"):
        return ""
    cells = words.number(int(metrics["ece_cells"]), "held-out cell")
    rows = [("Calibration error", f"{words.percent(metrics.get('ece'))} on {cells}")]
    suggested = metrics.get("suggested") or {}
    if suggested.get("cells"):
        rows.append(("Suggestions of 50 % and more", _right(suggested)))
    for kind in ("precision", "recall"):
        if pooled is not None:
            name = f"{_wanted(pooled[kind]['wanted'])} {kind}, all categories"
            rows.append((name, threshold_words(pooled[kind])))
    return "<h3>How far a probability can be believed</h3>" + words.facts(rows) + _bins(metrics)


def _right(one: Facts) -> str:
    """`82 of 100 such suggestions were right (they said 84), measured on 412 held-out cells`."""
    cells = words.number(int(one["cells"]), "held-out cell")
    said, right = 100 * float(one["probability"]), 100 * float(one["share"])
    return f"{right:.0f} of 100 such suggestions were right; they said {said:.0f}, measured on {cells}"


def _bins(metrics: Facts) -> str:
    """The numbers behind the plot, one row per tenth that has a cell."""
    rows = "".join(
        f"<tr><th scope='row'>{100 * one['low']:.0f} to {100 * one['high']:.0f} %</th>"
        f"<td>{escape(words.percent(one['share']))}</td>"
        f"<td>{100 * one['lower']:.1f} – {100 * one['upper']:.1f} %</td><td>{one['cells']:,}</td></tr>"
        for one in metrics.get("reliability") or ()
        if one["cells"]
    )
    if not rows:
        return ""
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("Said", "Were yes", "95 % interval", "Cells"))
    return f'<div class="facts"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def reliability_plot(generation: Generation | None) -> dict[str, Any] | None:
    """Mean probability against the share of yes per bin, and the diagonal; None when it was not measured.

    The form that Gradio's plots send to the browser, made without pandas.
    """
    metrics: Facts = {} if generation is None else generation.metrics
    rows = [
        [round(100 * one["probability"], 1), round(100 * one["share"], 1), one["cells"], MEASURED]
        for one in metrics.get("reliability") or ()
        if one["cells"]
    ]
    if not rows:
        return None
    rows += [[0, 0, 0, EXACT], [100, 100, 0, EXACT]]
    types = dict(zip(PLOT_COLUMNS, ("quantitative", "quantitative", "quantitative", "nominal"), strict=True))
    return {"columns": PLOT_COLUMNS, "data": rows, "datatypes": types, "mark": "line"}


def threshold_words(one: Facts | None) -> str:
    """`from 62.0 %: 97.1 % (95.2–98.6), 214 cells`, or why there is none."""
    if not one:
        return "–"
    if one["threshold"] is None:
        return f"– {one['reason']}"
    interval = f"{100 * one['low']:.1f}–{100 * one['high']:.1f}"
    cells = words.number(int(one["cells"]), "cell")
    return f"from {words.percent(one['threshold'])}: {words.percent(one['estimate'])} ({interval}), {cells}"


def _wanted(share: float) -> str:
    return f"{100 * share:g} %"


@dataclass(frozen=True)
class Measured:
    """What a generation's folder says: facts of each category by its id, and the pooled thresholds."""

    categories: Mapping[int, Facts]
    pooled: Facts | None = None


def measured(data_dir: Path, generation: Generation | None, wanted: Wanted) -> Measured:
    """Facts of the manifest with thresholds for what is wanted; nothing where there is no folder."""
    if generation is None:
        return Measured({})
    folder = data_dir / generation.folder
    return _measured(folder, wanted) if (folder / "manifest.json").is_file() else Measured({})


@lru_cache(maxsize=8)  # a generation's folder never changes
def _measured(folder: Path, wanted: Wanted) -> Measured:
    listed: Sequence[dict[str, Any]] = json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get(
        "categories", []
    )
    judged = _judged(folder)
    if judged is None:
        return Measured({int(facts["id"]): facts for facts in listed})
    usual = wanted == Wanted()
    categories = {}
    for column, facts in enumerate(listed):
        kept = facts.get("thresholds") if usual else None
        found = kept or _thresholds(judged.of(column), wanted)
        categories[int(facts["id"])] = facts | {"thresholds": found}
    return Measured(categories, _thresholds(judged, wanted))


def _judged(folder: Path) -> Judged | None:
    """The judged cells of a generation; None in an older one, or where the file is damaged."""
    path = folder / JUDGED
    if not path.is_file():
        return None
    try:
        return Judged.load(path)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile):
        log.warning("%s is damaged: the page shows no thresholds", path)
        return None


def _thresholds(judged: Judged, wanted: Wanted) -> Facts:
    return asdict(thresholds(*judged.scored(), precision=wanted.precision, recall=wanted.recall))
