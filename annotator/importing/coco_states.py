"""Cells of a COCO file as sorted arrays: which are said twice, which contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annotator.importing.cells import Problems
from annotator.records import CellState

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class States:
    """Cells by the file's own ids of image and category; `merged` sorts them and keeps each once."""

    images: Ints
    categories: Ints
    states: npt.NDArray[np.int8]

    def __getitem__(self, chosen: npt.NDArray[np.bool_] | Ints) -> States:
        return States(
            images=self.images[chosen], categories=self.categories[chosen], states=self.states[chosen]
        )


def _joined(parts: Sequence[States]) -> States:
    return States(
        images=np.concatenate([part.images for part in parts]),
        categories=np.concatenate([part.categories for part in parts]),
        states=np.concatenate([part.states for part in parts]),
    )


def _sorted(states: States) -> tuple[States, npt.NDArray[np.bool_]]:
    """In the order of image and category, and which are the same cell as the one before."""
    ordered = states[np.lexsort((states.categories, states.images))]
    again = np.zeros(len(ordered.states), dtype=np.bool_)
    again[1:] = (np.diff(ordered.images) == 0) & (np.diff(ordered.categories) == 0)
    return ordered, again


def repeated(ids: Ints) -> npt.NDArray[np.bool_]:
    """Which of `ids` came before; those below zero never count."""
    order = np.argsort(ids, kind="stable")
    found = np.zeros(len(ids), dtype=np.bool_)
    found[order[1:]] = np.diff(ids[order]) == 0
    return found & (ids >= 0)


def merged(parts: Sequence[States], problems: Problems) -> States:
    """Each cell once; one that is said to be two things is a bad row and left out."""
    ordered, again = _sorted(_joined(parts))
    starts = np.flatnonzero(~again)
    first = np.repeat(starts, np.diff(np.append(starts, len(again))))
    bad_starts: list[int] = []
    for place in np.flatnonzero(ordered.states != ordered.states[first]):
        if not bad_starts or bad_starts[-1] != first[place]:
            bad_starts.append(int(first[place]))
            before, after = (_word(ordered.states[at]) for at in (first[place], place))
            _report(problems, ordered, int(place), f"is both {before} and {after}")
    return ordered[np.setdiff1d(starts, np.array(bad_starts, dtype=np.int64))]


def agreeing(states: States, listed: States, problems: Problems) -> States:
    """The cells of `states`; those of which `listed` says anything else, or nothing, are bad rows."""
    both = _joined([states, listed])
    own = np.arange(len(both.states)) < len(states.states)
    order = np.lexsort((both.categories, both.images))
    ordered, again = _sorted(both)
    paired = again.copy()
    paired[:-1] |= again[1:]
    differs = np.zeros(len(again), dtype=np.bool_)
    differs[1:] = again[1:] & (ordered.states[1:] != ordered.states[:-1])
    for place in np.flatnonzero(~paired | differs):
        here = _word(ordered.states[place])
        one, other = (here, "unknown") if own[order[place]] else ("unknown", here)
        if differs[place]:
            one, other = _word(ordered.states[place - 1]), here  # the sort keeps `states` first
        _report(problems, ordered, int(place), f"is {other} in image_labels and {one} elsewhere")
    differs[:-1] |= differs[1:]
    return ordered[own[order] & paired & ~differs]


def filled(states: States, images: Ints, categories: Ints) -> States:
    """Every cell of these images and categories, negative where `states` does not have it."""
    count = len(images) * len(categories)
    every = States(
        images=np.repeat(images, len(categories)),
        categories=np.tile(categories, len(images)),
        states=np.full(count, CellState.NEGATIVE, dtype=np.int8),
    )
    ordered, again = _sorted(_joined([states, every]))
    return ordered[~again]


def _report(problems: Problems, states: States, place: int, what: str) -> None:
    cell = f"image {states.images[place]}, category {states.categories[place]}"
    problems.add(cell, f"{cell} {what}")


def _word(state: np.int8) -> str:
    return CellState(int(state)).word
