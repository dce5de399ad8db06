"""From an order to pictures that can be shown, each with the cell that leads it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from sqlalchemy import Connection

from annotator.errors import ArtifactDamaged
from annotator.ordering import words
from annotator.ordering.board import Chosen, in_turn
from annotator.ordering.cells import Cells, Positions, best_of, scorer
from annotator.ordering.named import Guess
from annotator.ordering.pace import Pace
from annotator.ordering.room import Room, Table
from annotator.records import Image, ImageState
from annotator.store import images
from annotator.suggesting import LoadedGeneration, Suggester
from dsrb_core.calibration import sigmoid

_ASIDE = 40  # cells passed over for one that is wanted, at most: almost every picture is passed over then


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Everything about one request."""

    conn: Connection
    project_id: int
    suggester: Suggester
    room: Room
    table: Table
    everything: Cells  # the cells of all active categories
    names: dict[int, str]  # of the categories asked about
    every_name: dict[int, str]  # of all active categories
    single: int | None  # the one category asked about
    pace: Pace
    most: int  # cells of a picture that are shown
    generation: LoadedGeneration | None
    note: str  # what is damaged

    @cached_property
    def guess(self) -> Guess | None:
        """Where the one category asked about may be, by its name; None after its first yes."""
        if self.single is None or self.generation is None or self.table.cells.states.positives(self.single):
            return None
        vectors = self.suggester.name_vectors(self.project_id)
        if vectors is None:
            return None
        return self.room.named(self.table.cells, self.generation, vectors, self.every_name, self.single)

    @property
    def similar(self) -> tuple[str, ...]:
        """Names that told where to look, the most similar first."""
        return () if self.guess is None else self.guess.similar


@dataclass(frozen=True, kw_only=True)
class Pick:
    """One picture to ask about, and the cell that leads."""

    image: Image
    position: int
    way: str  # how it was found: a strategy, or "interleaved", "nearby", "named", "outside"
    category_id: int | None
    probability: float | None
    opinions: tuple[float, float] | None  # probability by model and by neighbours alone


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One cell of the random stream."""

    image: Image
    position: int
    category_id: int


def way(desk: Desk, wished: str) -> str:
    """The order that can be used in the place of the one wished for."""
    learnt = desk.table.learnt
    if wished == "random":
        return wished
    if wished != "diverse" and learnt is not None:
        return "uncertain" if wished == "disagreement" and not learnt.has_votes else wished
    if learnt is None and _nearby(desk) is not None:
        return "nearby"
    if learnt is None and desk.guess is not None:
        return "named"
    return "interleaved" if _diverse(desk) is None else "diverse"


def pick(
    desk: Desk, used: str, limit: int, blind: Sequence[Drawn] = (), *, skip: Collection[int] = ()
) -> list[Pick]:
    """The first `limit` pictures that can be shown; the `blind` cells do not count as open.

    Pictures whose ids are in `skip` are left out, at no cost.
    """
    table = desk.table.withholding([(one.position, one.category_id) for one in blind])
    places, there = table.cells.places(np.array(sorted(skip), np.int64))
    out = places[there]
    if used in words.STRATEGIES and used != "diverse":
        chosen, shown = _shown(desk, limit, lambda n: best(desk, table, used, n, skip=out))
    else:
        order = _plain(desk, used)
        chosen, shown = _shown(desk, limit, lambda n: in_turn(table.cells, order, n, skip=out))
    picks = _led(desk, table, used, chosen, shown)
    if len(picks) < limit:  # pictures and categories that came later
        seen = np.append(out, [one.position for one in picks]).astype(np.int64)
        spread = desk.room.interleaved()
        more = limit - len(picks)
        chosen, shown = _shown(desk, more, lambda n: in_turn(table.cells, spread, n, skip=seen))
        picks += _led(desk, table, "outside", chosen, shown)
    return picks


def best(desk: Desk, table: Table, used: str, limit: int, *, skip: Positions | None = None) -> Chosen:
    """The `limit` best pictures by a strategy that scores cells, but for some positions."""
    return desk.room.best(table, used, limit, pace=desk.pace, most=desk.most, skip=skip)


def draw(desk: Desk, cells: Cells, count: int, *, last: Collection[int] = ()) -> list[Drawn]:
    """The next `count` cells of the random stream whose picture can be shown; `cells` of all categories.

    Cells of the pictures in `last` are taken only where there are hardly any others.
    """
    found: list[Drawn] = []
    later: list[tuple[int, int]] = []
    stream = desk.room.stream.draw(cells) if count else iter(())
    while len(found) < count:
        part = [cell for cell, _ in zip(stream, range(count), strict=False)]
        if not part or len(later) > _ASIDE * count:
            return [*found, *_drawn(desk, cells, later[: 2 * count])][:count]
        aside = [cell for cell in part if int(cells.image_ids[cell[0]]) in last] if last else []
        later += aside
        found += _drawn(desk, cells, [cell for cell in part if cell not in aside])
    return found[:count]


def _drawn(desk: Desk, cells: Cells, wanted: Sequence[tuple[int, int]]) -> list[Drawn]:
    """Those of the cells (position, category id) whose picture can be shown."""
    shown = _ready(desk.conn, [int(cells.image_ids[position]) for position, _ in wanted])
    return [
        Drawn(image=image, position=position, category_id=category_id)
        for image, (position, category_id) in zip(shown, wanted, strict=True)
        if image is not None
    ]


def why(desk: Desk, one: Pick) -> str:
    """Why this picture is asked about, in a line."""
    if one.category_id is None:
        return words.PLAIN.get(one.way, words.OUTSIDE)
    name = desk.names[one.category_id]
    if one.probability is None:
        return words.unlearnt(one.way, name, desk.similar)
    return words.why(
        "uncertain" if one.way == "outside" else one.way,
        name,
        one.probability,
        positives=desk.table.cells.states.positives(one.category_id),
        opinions=one.opinions,
    )


def _nearby(desk: Desk) -> Positions | None:
    states = desk.table.cells.states
    if desk.single is None or not states.positives(desk.single):
        return None
    features = desk.suggester.features(desk.conn, desk.project_id)
    if features is None:
        return None
    try:
        return desk.room.nearby(features).order(desk.conn, desk.table.cells, desk.single)
    except ArtifactDamaged:
        return None  # the suggestions of the next picture name the file


def _diverse(desk: Desk) -> Positions | None:
    try:
        return desk.room.diverse(desk.conn, desk.suggester.features(desk.conn, desk.project_id))
    except ArtifactDamaged:
        return None


def _plain(desk: Desk, used: str) -> Positions:
    if used == "nearby" and (near := _nearby(desk)) is not None:
        return near
    if used == "named" and desk.guess is not None:
        return desk.guess.order
    order = _diverse(desk) if used == "diverse" else None
    return desk.room.untouched_first(desk.room.interleaved() if order is None else order, desk.table.cells)


def _shown(desk: Desk, limit: int, find: Callable[[int], Chosen]) -> tuple[Chosen, list[Image]]:
    """The first `limit` of what `find(n)` finds, without those whose files cannot be shown."""
    wanted = limit
    while True:
        chosen = find(wanted)
        found = _ready(desk.conn, desk.table.cells.image_ids[chosen.positions].tolist())
        ready = [(place, image) for place, image in enumerate(found) if image is not None]
        if len(ready) >= limit or len(found) < wanted:
            kept = np.array([place for place, _ in ready[:limit]], np.int64)
            chosen = replace(chosen, positions=chosen.positions[kept], columns=chosen.columns[kept])
            return chosen, [image for _, image in ready[:limit]]
        wanted *= 2


def _ready(conn: Connection, image_ids: Sequence[int]) -> list[Image | None]:
    """The pictures; None for one that cannot be shown, or came after the moment this request sees."""
    there = images.there(conn, image_ids)
    found = [there.get(image_id) for image_id in image_ids]
    return [None if image is None or image.state is not ImageState.READY else image for image in found]


def _led(desk: Desk, table: Table, used: str, chosen: Chosen, shown: Sequence[Image]) -> list[Pick]:
    """The pictures with the cell that leads each, and what the generation says of it."""
    learnt, cells, columns = table.learnt, table.cells, chosen.columns
    if learnt is not None and used != "random":
        cells = table.known
        if used in ("diverse", "outside"):  # these orders are of pictures: the least sure cell leads
            scores = scorer("uncertain", cells, learnt, ())(chosen.positions)
            columns = best_of(cells, chosen.positions, scores, cells.open(chosen.positions)).columns
    leads = [desk.single if column < 0 else cells.category_ids[column] for column in columns.tolist()]
    p, opinions = _said(table, chosen.positions, leads, both=used == "disagreement")
    return [
        Pick(
            image=image,
            position=int(chosen.positions[i]),
            way=used,
            category_id=leads[i],
            probability=p[i],
            opinions=opinions[i],
        )
        for i, image in enumerate(shown)
    ]


def _said(
    table: Table, positions: Positions, leads: Sequence[int | None], *, both: bool
) -> tuple[list[float | None], list[tuple[float, float] | None]]:
    """Probability of each leading cell, and what model and neighbours say apart; None where nothing is."""
    learnt, known = table.learnt, {c: column for column, c in enumerate(table.known.category_ids)}
    if learnt is None or not len(positions):
        return [None] * len(positions), [None] * len(positions)
    columns = np.array([-1 if lead is None else known.get(lead, -1) for lead in leads], np.int64)
    at = np.arange(len(positions)), np.maximum(columns, 0)
    p = np.where(columns >= 0, learnt.probabilities(positions)[at], np.nan)
    said = [None if np.isnan(one) else float(one) for one in p]
    if not both:
        return said, [None] * len(positions)
    model, votes = (sigmoid(one[at]).tolist() for one in learnt.opinions(positions))
    return said, [
        None if one is None else pair for one, pair in zip(said, zip(model, votes, strict=True), strict=True)
    ]
