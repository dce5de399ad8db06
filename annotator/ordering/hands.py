"""What people have in hand: pictures given to somebody a short while ago are asked of others last.

So two people who ask for the next question at the same time look at different pictures, and nobody has to
wait: where nothing else is left, others get the same pictures. It is kept in memory only. Whoever loses it,
by a new start of the server, has two people at one picture at worst, and their answers meet as registers do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

LEASE_S = 900.0  # of somebody who vanishes the pictures come back after this
FIRST = 16  # pictures in hand after the first question; a page asks for more after every eight
MORE = 8
MOST = 200  # pictures of one person at a time, however often more are asked for


class Hands:
    """The pictures in hand in one project. Not thread-safe. `clock` gives seconds and never jumps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pictures: dict[int, dict[int, float]] = {}  # user -> picture -> until when
        self._grids: dict[int, tuple[int, frozenset[int], float]] = {}  # user -> category, pictures, until

    def of_others(self, user_id: int | None, *, grid_of: int | None = None) -> frozenset[int]:
        """Pictures that others than this user look at; for a `grid_of` a category only its grids count.

        Nobody else is known to somebody without a name.
        """
        if user_id is None:
            return frozenset()
        self._forget()
        found = {image for who, held in self._pictures.items() if who != user_id for image in held}
        for who, (category_id, pictures, _) in self._grids.items():
            if who != user_id and grid_of in (None, category_id):
                found |= pictures
        return frozenset(found)

    def take(self, user_id: int | None, image_ids: Iterable[int]) -> None:
        """The next pictures of this order, besides those in hand already, are now this user's."""
        if user_id is None:
            return
        self._forget()
        held = self._pictures.setdefault(user_id, {})
        most = min(MORE if held else FIRST, MOST - len(held))
        fresh = [image for image in image_ids if image not in held][:most]
        held |= dict.fromkeys(fresh, self._clock() + LEASE_S)

    def take_grid(self, user_id: int | None, category_id: int, image_ids: Sequence[int]) -> None:
        """These pictures are on this user's grid, in the place of the grid before."""
        if user_id is not None:
            self._grids[user_id] = category_id, frozenset(image_ids), self._clock() + LEASE_S

    def _forget(self) -> None:
        now = self._clock()
        for user_id, held in list(self._pictures.items()):
            kept = {image: until for image, until in held.items() if until > now}
            if kept:
                self._pictures[user_id] = kept
            else:
                del self._pictures[user_id]
        for user_id, (_, _, until) in list(self._grids.items()):
            if until <= now:
                del self._grids[user_id]
