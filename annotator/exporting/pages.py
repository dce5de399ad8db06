"""Images with the labels of their active categories, a page at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import Connection

from annotator.records import Category, Image, Label
from annotator.store import Store, decisions, images

PAGE = 1_000
# An export computes without a pause, and whoever saves meanwhile waits for the interpreter again and again: a
# breath after every few pictures halves those waits (p95 183 to 113 ms), but an export of sparse labels then
# rests longer than it works. So it breathes only while somebody saves.
STRIDE, REST_S, QUIET_S = 8, 0.001, 5.0


def go_on() -> None:
    """The check of an export that nobody ends before its time."""


def labelled_images(
    store: Store, c: Connection, project_id: int, categories: Sequence[Category], check: Callable[[], None]
) -> Iterator[tuple[Image, list[Label]]]:
    """Every image in id order, with its labels in category id order; `check` may end it before each page.

    Read from `c`; `store` tells whether anybody saves meanwhile.
    """
    active = {category.id for category in categories}
    after = 0
    while page := images.page(c, project_id, after=after, limit=PAGE):
        check()
        found = decisions.labels_of(c, [image.id for image in page])
        for place, image in enumerate(page):
            labels = found.get(image.id, {})
            if place % STRIDE == 0 and store.unasked_s < QUIET_S:
                time.sleep(REST_S)
            yield image, [labels[key] for key in sorted(labels) if key in active]
        after = page[-1].id
