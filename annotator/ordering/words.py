"""Why a question is asked, in one line each."""

from __future__ import annotations

from collections.abc import Sequence

from annotator.ordering.pace import Pace
from annotator.ordering.proposals import BestGrid, BestPicture
from annotator.ordering.records import Proposal
from annotator.ordering.strategies import PRECISION

RARE = 20  # known positives up to which a category is called rare
STRATEGIES = {
    "value": "worth most per second",
    "likely": "most likely yes first",
    "uncertain": "most uncertain first",
    "random": "at random",
    "diverse": "pictures unlike each other",
    "disagreement": "model and similar pictures disagree",
    "coverage": "categories with few known yes first",
}
DEFAULT = "value"

BLIND = "drawn at random: asked without a suggestion"
OUTSIDE = "nothing was learnt of its open cells in the last training"
PLAIN = {
    "diverse": "unlike the pictures before it",
    "interleaved": "spread over the order of import: nothing has been learnt yet",
}


def percent(p: float) -> str:
    """A probability as a whole percentage; never 0 or 100, which would say certain."""
    return f"{min(99, max(1, round(100 * p)))} %"


def why(strategy: str, name: str, p: float, *, positives: int, opinions: tuple[float, float] | None) -> str:
    """Why the cell of category `name` with probability `p` leads; `opinions` of the model and neighbours."""
    if strategy == "random":
        return f"{name}: drawn at random, the model had no say"
    if strategy == "diverse":
        return f"unlike the pictures before it; least sure of {name} ({percent(p)})"
    if strategy == "uncertain":
        return f"{name}: uncertain ({percent(p)} yes)"
    if strategy == "disagreement" and opinions is not None:
        return f"{name}: model says {percent(opinions[0])}, similar pictures {percent(opinions[1])}"
    if strategy == "coverage":
        return f"{name}: {positives} known yes so far, {_likely(p)}"
    rare = f", rare so far ({positives} known yes)" if positives <= RARE else ""
    return f"{name}: {_likely(p)}{rare}"


def _likely(p: float) -> str:
    word = "almost surely yes" if p >= PRECISION else "likely yes" if p >= 0.5 else "possibly yes"
    return f"{word} ({percent(p)})"


def grid_why(strategy: str, name: str, similar: Sequence[str] = ()) -> str:
    """How the cells of a grid were chosen; `similar` names where a guess by name led."""
    ways = {
        "named": f"guessed from its name until the first yes: pictures that look like {_or(similar)} first",
        "value": "likely but not certain first",
        "nearby": "pictures most like the known yes first; the next training learns it",
        "interleaved": "spread over the order of import; nothing has been learnt of it yet",
        "coverage": "most likely yes first",
    }
    return f"{name}: {ways.get(strategy, STRATEGIES.get(strategy, strategy))}"


def unlearnt(way: str, name: str, similar: Sequence[str] = ()) -> str:
    """Why a cell of a category leads that no generation has learnt; `similar` as in `grid_why`."""
    ways = {
        "named": f"guessed from its name, the picture looks like {_or(similar)}",
        "random": "drawn at random, the model had no say",
        "nearby": "among the pictures most like the known yes",
    }
    return f"{name}: {ways.get(way) or PLAIN.get(way, OUTSIDE)}"


def grid_proposal(grid: BestGrid, category_id: int, name: str, pace: Pace) -> Proposal:
    """The grid in words. What it says of yes is the sum of the probabilities of its cells."""
    return Proposal(
        mode="grid",
        category_id=category_id,
        cells=grid.cells,
        seconds=grid.seconds,
        words=f"Grid of {grid.cells} × {name}: about {_seconds(grid.seconds, 'grid' in pace.measured)}, "
        f"about {grid.expected:.0f} yes expected",
    )


def picture_proposal(picture: BestPicture, pace: Pace) -> Proposal:
    """Going on picture by picture, in words."""
    return Proposal(
        mode="image",
        category_id=None,
        cells=picture.cells,
        seconds=picture.seconds,
        words=f"Picture by picture: about {_seconds(picture.seconds, 'cell' in pace.measured)} "
        f"for the {_answers(picture.cells)} worth most on the next one",
    )


def _seconds(seconds: float, measured: bool) -> str:
    return f"{max(1, round(seconds))} s" + ("" if measured else " (typical)")


def _or(names: Sequence[str]) -> str:
    return " or ".join(names)


def _answers(count: int) -> str:
    return f"{count} answer" + ("" if count == 1 else "s")
