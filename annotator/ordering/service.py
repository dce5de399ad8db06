"""Which question to ask next: the deck of a project, the grid of a category."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np
from sqlalchemy import Connection

from annotator.errors import BadInput, NotFound
from annotator.ordering import picking, words
from annotator.ordering.board import in_turn
from annotator.ordering.hands import Hands
from annotator.ordering.pace import questions_since_blind
from annotator.ordering.picking import Desk, Drawn, Pick
from annotator.ordering.proposals import best_picture
from annotator.ordering.records import Grid, GridCell, Ordered, Proposal, Question
from annotator.ordering.room import Room
from annotator.ordering.stream import places_of_blind
from annotator.settings import Settings
from annotator.store import categories
from annotator.suggesting import Suggester

Taken = Collection[int]  # pictures that others look at
UPCOMING = 500  # questions of a deck of the usual length


class Ordering:
    """Orders the questions of a project; keeps what is the same for a whole generation. Thread-safe.

    The first question after a training looks at every cell, the next ones at a few hundred pictures. What
    others were given a short while ago comes last (`hands.py`), unless the settings want an overlap.
    """

    def __init__(
        self, suggester: Suggester, settings: Settings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._suggester = suggester
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._rooms: dict[int, Room] = {}

    def deck(
        self,
        conn: Connection,
        project_id: int,
        limit: int,
        *,
        strategy: str | None = None,
        category_id: int | None = None,
        user_id: int | None = None,
    ) -> Ordered:
        """At most `limit` questions about pictures that still have unknown cells.

        With a `category_id` all are about that category, and none is blind. Times are those of the user, or
        of everybody. BadInput for an unknown strategy, NotFound for a category that is not active.
        """
        wished = _known(strategy)
        room = self._room(project_id)
        with room.lock:
            desk = self._desk(conn, room, project_id, category_id, user_id)
            used = picking.way(desk, wished)
            taken = () if self._settings.overlap else room.hands.of_others(user_id)
            questions = self._questions(desk, used, limit, user_id, taken)
            room.hands.take(user_id, dict.fromkeys(one.image_id for one in questions))
            return Ordered(
                questions=tuple(questions),
                generation_id=_id(desk),
                strategy=used,
                note=_note(desk, questions, "" if strategy in (None, used) else wished),
                proposal=_proposal(desk) if used == words.DEFAULT and category_id is None else None,
            )

    def grid(
        self,
        conn: Connection,
        project_id: int,
        category_id: int,
        limit: int,
        *,
        strategy: str | None = None,
        user_id: int | None = None,
    ) -> Grid:
        """At most `limit` unknown cells of one category over as many pictures; errors as `deck`."""
        wished = _known(strategy)
        room = self._room(project_id)
        with room.lock:
            desk = self._desk(conn, room, project_id, category_id, user_id)
            used = picking.way(desk, wished)
            taken = () if self._settings.overlap else room.hands.of_others(user_id, grid_of=category_id)
            picks = self._of_one(desk, used, limit, user_id, taken)
            room.hands.take_grid(user_id, category_id, [one.image.id for one in picks])
            name = desk.names[category_id]
            why = words.grid_why(used, name, desk.similar)
        return Grid(
            category_id=category_id,
            generation_id=_id(desk),
            why=why if picks else f"No open cell of {name} is left.",
            seconds=desk.pace.opening + desk.pace.grid * len(picks) if picks else 0.0,
            cells=tuple(
                GridCell(image_id=one.image.id, name=one.image.name, probability=one.probability)
                for one in picks
            ),
        )

    def _room(self, project_id: int) -> Room:
        with self._lock:
            if project_id not in self._rooms:
                self._rooms[project_id] = Room(project_id, self._settings.seed, Hands(self._clock))
            return self._rooms[project_id]

    def _desk(
        self, conn: Connection, room: Room, project_id: int, category_id: int | None, user_id: int | None
    ) -> Desk:
        names = {one.id: one.name for one in categories.list_active(conn, project_id)}
        every = dict(names)
        if category_id is not None:
            if category_id not in names:
                raise NotFound(f"There is no active category {category_id} in project {project_id}.")
            names = {category_id: names[category_id]}
        states = self._suggester.states(conn, project_id)
        generation, problem = self._suggester.generation(conn, project_id)
        table = room.table(conn, states, generation, list(names))
        return Desk(
            conn=conn,
            project_id=project_id,
            suggester=self._suggester,
            room=room,
            table=table,
            everything=replace(table.cells, category_ids=tuple(every)),
            names=names,
            every_name=every,
            single=category_id,
            pace=room.pace(conn, states, user_id),
            most=self._settings.candidates,
            generation=generation,
            note=problem,
        )

    def _questions(
        self, desk: Desk, used: str, limit: int, user_id: int | None, taken: Taken
    ) -> list[Question]:
        """Pictures, and among them the blind ones that are due; no cell stands for both."""
        if desk.single is not None:
            return [_asked(desk, one) for one in self._of_one(desk, used, limit, user_id, taken)]
        share, since = self._settings.random_share, _since_blind(desk, user_id)
        places = places_of_blind(share, since=since, total=limit)
        blind = picking.draw(desk, desk.everything, len(places), last=taken)
        picks = _free_first(desk, used, limit - len(blind), taken, blind)
        if blind and len(picks) + len(blind) < limit:  # few are left: the share is one of these
            total = len(picking.pick(desk, used, limit))
            blind = blind[: len(places_of_blind(share, since=since, total=total))]
            picks = _free_first(desk, used, limit - len(blind), taken, blind)
        pictures = [_asked(desk, one) for one in picks]
        drawn = [
            Question(image_id=one.image.id, category_id=one.category_id, why=words.BLIND, blind=True)
            for one in blind
        ]
        return merged(pictures, drawn, places)

    def _of_one(self, desk: Desk, used: str, limit: int, user_id: int | None, taken: Taken) -> list[Pick]:
        """Cells of the one category; those that a deck would soon ask blind come last.

        Here their probability is shown beside them, and who has seen it is no blind judge any more.
        """
        total = min(UPCOMING, len(desk.everything.image_ids))
        places = places_of_blind(self._settings.random_share, since=_since_blind(desk, user_id), total=total)
        due = picking.draw(desk, desk.everything, len(places))
        mine = [one for one in due if one.category_id == desk.single]
        picks = _free_first(desk, used, limit, taken, mine)
        if mine and len(picks) < limit:
            waiting = {one.position for one in mine}
            last = picking.pick(desk, used, len(picks) + len(mine))
            picks += [one for one in last if one.position in waiting][: limit - len(picks)]
        return picks


def _free_first(desk: Desk, used: str, limit: int, taken: Taken, blind: Sequence[Drawn] = ()) -> list[Pick]:
    """As `picking.pick`, but what others look at comes behind all that they do not."""
    picks = picking.pick(desk, used, limit, blind, skip=taken)
    if taken and len(picks) < limit:
        every = picking.pick(desk, used, limit, blind)
        picks += [one for one in every if one.image.id in taken][: limit - len(picks)]
    return picks


def _id(desk: Desk) -> int | None:
    return None if desk.generation is None else desk.generation.id


def _since_blind(desk: Desk, user_id: int | None) -> int:
    return questions_since_blind(desk.room.answers(desk.conn, desk.everything.states), user_id)


def _asked(desk: Desk, one: Pick) -> Question:
    return Question(image_id=one.image.id, category_id=one.category_id, why=picking.why(desk, one))


def merged(pictures: Sequence[Question], blind: Sequence[Question], places: Sequence[int]) -> list[Question]:
    """Blind questions at their `places`, or at the end when there are fewer pictures.

    A picture with a blind question is shown with its suggestions only after it: they would be seen before.
    """
    waiting = {question.image_id: place for place, question in enumerate(blind)}  # its last blind question
    held: list[tuple[int, Question]] = []
    found: list[Question] = []
    rest = iter(pictures)
    for number, (place, question) in enumerate(zip(places, blind, strict=False)):
        while len(found) < place and (following := next(rest, None)) is not None:
            last = waiting.get(following.image_id, -1)
            if last >= number:
                held.append((last, following))
            else:
                found.append(following)
        found.append(question)
        found += [one for last, one in held if last <= number]
        held = [(last, one) for last, one in held if last > number]
    return [*found, *rest]


def _known(strategy: str | None) -> str:
    if strategy is None:
        return words.DEFAULT
    if strategy not in words.STRATEGIES:
        raise BadInput(f'There is no order "{strategy[:40]}"; there is: {", ".join(words.STRATEGIES)}.')
    return strategy


def _proposal(desk: Desk) -> Proposal | None:
    table, grids = desk.table, desk.room.grids(desk.table)
    if grids is None or table.learnt is None:
        return None
    grid = grids.best(table.known, desk.pace)
    chosen = picking.best(desk, table, words.DEFAULT, 1)
    picture = best_picture(table.known, table.learnt, chosen, desk.pace, desk.most)
    if grid is not None and (picture is None or grid.rate > picture.rate):
        category_id = table.known.category_ids[grid.column]
        return words.grid_proposal(grid, category_id, desk.names[category_id], desk.pace)
    return None if picture is None else words.picture_proposal(picture, desk.pace)


def _note(desk: Desk, questions: Sequence[Question], missed: str) -> str:
    """What a person should know: what is damaged, an order that could not be used, why there is nothing."""
    cells = desk.table.cells
    if desk.note:
        return desk.note
    if not len(cells.image_ids):
        return "There are no pictures yet; import some in the Import tab."
    if questions:
        return f'Too little is known yet for the order "{missed}".' if missed else ""
    if len(in_turn(cells, np.arange(len(cells.image_ids)), 1).positions):
        return (
            "The files of all pictures with open questions are missing; put them back into the data folder."
        )
    which = "Every category" if desk.single is None else f"The category {desk.names[desk.single]}"
    return f"{which} is decided for every picture; add a category or more pictures, or export."
