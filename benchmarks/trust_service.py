"""How fast the service answers on a large project: suggestions, next question, neighbours of an answer.

    python benchmarks/trust_service.py [--images 100000] [--categories 80] [--answers 200] [--seed 0]
    python benchmarks/trust_service.py --quick

A project is drawn into a folder for temporary files (1.6 GB at the full size; `TMPDIR` moves it): a real
database with 8 % of the cells decided, and a published generation of random arrays. Everything goes through
`Actions`, in one process without torch, one question after another. Each round asks for the next ten
questions, opens the first picture, answers one cell of it; then a cell of another picture is answered and the
time runs from the stored answer until a look-alike picture shows another probability. Compared in one run:
the first call after a training, which opens the generation, against those that follow. `benchmarks/trust.py`
runs this as one of its parts, with OMP_NUM_THREADS=1. The last line is `RESULT {json}`:

    suggest_p95_ms        the suggestion list of one picture, 95th percentile without the first call
    next_p95_ms           the next ten questions after an answer, the same
    neighbour_update_ms   from the stored answer to the moved probability of a look-alike, 95th percentile
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script's own folder is on the path, the repository is not

from annotator.actions import Actions, Item  # noqa: E402
from annotator.records import CellState, NewDecision  # noqa: E402
from benchmarks.trust_project import Drawn, draw, told  # noqa: E402

LIMIT = 10
LONGEST_S = 5.0  # a probability that has not moved by then does not move
_TRIES = 100  # pictures looked at for an open cell with an open look-alike
QUICK = {"images": 3000, "categories": 20, "answers": 30}

T = TypeVar("T")


@dataclass
class Times:
    """Seconds of one kind of call, by the clock and of the processor; the first one stands apart."""

    what: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def of(self, call: Callable[[], T]) -> T:
        """Do the call and keep its time."""
        wall, cpu = time.perf_counter(), time.thread_time()
        found = call()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.thread_time() - cpu)
        return found

    def p95(self, *, first: bool = False) -> float:
        """95th percentile in milliseconds by the clock; the first call counts only where it is said so."""
        return _percentile(self.wall[0 if first else 1 :], 95)

    def tell(self, *, first: bool = False) -> None:
        """Print the spread of the times."""
        wall, cpu = self.wall[0 if first else 1 :], self.cpu[0 if first else 1 :]
        opened = "" if first else f"first {1e3 * self.wall[0]:.0f} ms (cpu {1e3 * self.cpu[0]:.0f}); then "
        print(
            f"{self.what}: {opened}{len(wall)} calls, p50 {_percentile(wall, 50):.1f} ms, p95 "
            f"{_percentile(wall, 95):.1f}, most {1e3 * max(wall):.1f} "
            f"(cpu p50 {_percentile(cpu, 50):.1f}, p95 {_percentile(cpu, 95):.1f})",
            flush=True,
        )


def _percentile(seconds: list[float], share: float) -> float:
    return float(np.percentile(1e3 * np.array(seconds), share))


class Person:
    """Somebody who answers questions of a drawn project as fast as they come."""

    def __init__(self, drawn: Drawn, seed: int) -> None:
        self._actions = Actions(drawn.store, drawn.settings)
        self._drawn = drawn
        self._rng = np.random.default_rng([seed, 1])
        self._given = 0
        self._decided = drawn.labels != 0  # grows with the answers
        self._row = {int(one): row for row, one in enumerate(drawn.image_ids)}
        self._column = {int(one): column for column, one in enumerate(drawn.category_ids)}
        self.suggest = Times("suggestion list")
        self.following = Times("next ten questions")
        self.update = Times("look-alike moved")

    def round(self) -> None:
        """The next question and its answer; then an answer whose look-alike is watched."""
        project = self._drawn.project_id
        deck = self.following.of(lambda: self._actions.deck(project, LIMIT))
        question = deck.questions[0]
        item = self._opened(question.image_id)
        asked = question.category_id or item.suggested.suggestions[0].category_id
        self._answer(question.image_id, asked, blind=question.blind)
        self._watch()

    def _opened(self, image_id: int) -> Item:
        return self.suggest.of(lambda: self._actions.item(self._drawn.project_id, image_id))

    def _watch(self) -> None:
        """Answer a cell of a picture that looks like another one, until the other shows it."""
        shown, category_id, similar = self._pair()
        before = _probability(shown, category_id)
        self._answer(similar, category_id)
        self.update.of(lambda: self._moved(shown.image.id, category_id, before))

    def _moved(self, image_id: int, category_id: int, before: float | None) -> None:
        began = time.perf_counter()
        while _probability(self._actions.item(self._drawn.project_id, image_id), category_id) == before:
            if time.perf_counter() - began > LONGEST_S:
                raise SystemExit(
                    f"The probability of category {category_id} on picture {image_id} did not move within "
                    f"{LONGEST_S:.0f} s of the answer on a picture like it."
                )

    def _pair(self) -> tuple[Item, int, int]:
        """A picture, a category suggested on it, and a picture of its group where that is unknown."""
        for row in self._rng.permutation(len(self._row))[:_TRIES].tolist():
            shown = self._opened(int(self._drawn.image_ids[row]))
            suggested = shown.suggested.suggestions
            group = np.arange(row % self._drawn.groups, len(self._row), self._drawn.groups)
            for one in self._rng.permutation(len(suggested)).tolist():
                category_id = suggested[one].category_id
                free = group[~self._decided[group, self._column[category_id]] & (group != row)]
                if len(free):
                    return shown, category_id, int(self._drawn.image_ids[self._rng.choice(free)])
        raise SystemExit("Every look-alike of every suggested cell is decided; draw more pictures.")

    def _answer(self, image_id: int, category_id: int, *, blind: bool = False) -> None:
        self._given += 1
        new = NewDecision(
            op_id=f"person-{self._given:09d}",
            image_id=image_id,
            category_id=category_id,
            state=CellState.POSITIVE if self._given % 3 == 0 else CellState.NEGATIVE,
            mode="blind" if blind else "image",
            random_stream=blind,
            shown_ms=1500,
        )
        self._actions.decide(self._drawn.project_id, [new])
        self._decided[self._row[image_id], self._column[category_id]] = True


def _probability(item: Item, category_id: int) -> float | None:
    """The probability on the list; None when the category has fallen off it."""
    found = {one.category_id: one.probability for one in item.suggested.suggestions}
    return found.get(category_id)


def measured(*, pictures: int, categories: int, answers: int, seed: int) -> dict[str, float]:
    """The figures of the last line, by name."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(Path(folder), pictures=pictures, categories_=categories, seed=seed)
        try:
            person = Person(drawn, seed)
            with told(f"{answers} rounds of two answers"):
                for number in range(answers):
                    person.round()
                    if (number + 1) % 50 == 0 and number + 1 < answers:
                        print(f"round {number + 1}/{answers}", flush=True)
        finally:
            drawn.store.close()
    person.suggest.tell()
    person.following.tell()
    person.update.tell(first=True)
    return {
        "suggest_p95_ms": person.suggest.p95(),
        "next_p95_ms": person.following.p95(),
        "neighbour_update_ms": person.update.p95(first=True),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--categories", type=int, default=80)
    parser.add_argument("--answers", type=int, default=200, help="rounds of two answers each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="3,000 pictures, a few seconds")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    for name, least in (("images", 1000), ("categories", 10), ("answers", 2)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}.")
    found = measured(
        pictures=options.images, categories=options.categories, answers=options.answers, seed=options.seed
    )
    print("RESULT " + json.dumps({name: round(value, 4) for name, value in found.items()}))


if __name__ == "__main__":
    main()
