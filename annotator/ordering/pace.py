"""How long a person takes over a question of each kind, from the milliseconds their answers were shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotator.records import Source
from annotator.store.decisions import GivenAnswer

LATEST = 200  # answers of a kind that count, the newest first
ENOUGH = 20  # answers of a kind from which on the measured median counts
CUT_S = 60.0  # longer than this is a pause, not an answer
LEAST_S = 0.05
STEP = 0.1  # seconds move in steps of about 10 %, so that the order does not change with every answer


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Median seconds of a person.

    Until they are measured: 1.7 s for a yes/no question about a picture is what conventional verification
    takes in Krishna et al. (2016, "Embracing Error to Enable Rapid Crowdsourcing"); 0.6 s for a cell of a
    grid is the time this page is built for; the second that opening takes is an assumption.
    """

    opening: float = 1.0  # opening a picture or a grid, before the first answer is thought about
    cell: float = 1.7  # one cell of an open picture
    grid: float = 0.6  # one cell of a grid
    blind: float = 1.7  # one cell asked without a suggestion
    measured: frozenset[str] = frozenset()


def measure(answers: Sequence[GivenAnswer], user_id: int | None = None) -> Pace:
    """Pace of one person, or of everybody together, from their `answers`, newest first.

    The first answer about a picture takes opening and cell, a further one the cell alone. Answers given to
    several cells by one key, taken back, imported, or without a time say nothing.
    """
    times: dict[str, list[float]] = {"first": [], "cell": [], "grid": [], "blind": []}
    before: int | None = None
    for given in reversed(answers):
        if user_id is not None and given.user_id != user_id:
            continue
        kind = _kind(given, before)
        before = given.image_id
        if kind and given.shown_ms is not None and not given.takes_back:
            times[kind].append(min(given.shown_ms / 1000, CUT_S))
    medians = {
        kind: float(np.median(found[-LATEST:])) for kind, found in times.items() if len(found) >= ENOUGH
    }
    plain = Pace()
    seconds = {kind: medians.get(kind, getattr(plain, kind)) for kind in ("cell", "grid", "blind")}
    opening = medians["first"] - seconds["cell"] if "first" in medians else plain.opening
    steps = {kind: _stepped(value) for kind, value in (seconds | {"opening": opening}).items()}
    return Pace(**steps, measured=frozenset("opening" if kind == "first" else kind for kind in medians))


def _kind(given: GivenAnswer, before: int | None) -> str:
    if given.source != Source.HUMAN.value:
        return "grid" if given.mode == "grid" and given.source == Source.GROUP.value else ""
    if given.mode == "image":
        return "cell" if given.image_id == before else "first"
    return given.mode if given.mode in ("grid", "blind") else ""


def _stepped(seconds: float) -> float:
    return round(math.exp(round(math.log(max(seconds, LEAST_S)) / STEP) * STEP), 3)


def questions_since_blind(answers: Sequence[GivenAnswer], user_id: int | None = None) -> int:
    """How many pictures were asked about since the last blind question, from `answers`, newest first."""
    asked = 0
    before: int | None = None
    for given in answers:
        if user_id is not None and given.user_id != user_id:
            continue
        if given.random_stream:
            break
        if given.mode == "image" and given.source in (Source.HUMAN.value, Source.GROUP.value):
            asked += given.image_id != before
            before = given.image_id
    return asked
