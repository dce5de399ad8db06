"""A batch of answers: what the database says about it, and the rows that follow from it, in a few statements.

Rows travel as one JSON text: the driver lets go of the interpreter at every row it reads or writes, and the
thread that writes for everybody then waits, beside threads that compute, until it is its turn again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from annotator.records import CellState
from db import schema

Cell = tuple[int, int]
Content = tuple[int, int, int]  # image, category, state
Row = dict[str, Any]


class Value(NamedTuple):
    """What a cell holds, and since which decision."""

    revision: int
    state: int


UNKNOWN = Value(0, int(CellState.UNKNOWN))

LABEL_COLUMNS = (
    "image_id",
    "category_id",
    "state",
    "source",
    "user_id",
    "seq",
    "decided_at",
    "generation_id",
    "score",
)
_WORDS = {CellState.POSITIVE: "positive", CellState.NEGATIVE: "negative", CellState.UNSURE: "unsure"}
_DECISION_COLUMNS = tuple(column.key for column in schema.Decision.__table__.columns)


def _values(count: int) -> str:
    return ", ".join(f"json_extract(value, '$[{place}]')" for place in range(count))


_ADD = text(
    f"INSERT INTO decision ({', '.join(_DECISION_COLUMNS)}) "
    f"SELECT {_values(len(_DECISION_COLUMNS))} FROM json_each(:rows)"
)
_STRANGE = (
    "(SELECT json_group_array(value) FROM json_each(:{many}) WHERE NOT EXISTS "
    "(SELECT 1 FROM {one} WHERE {one}.id = value AND {one}.project_id = :project))"
)
_LOOK = text(
    "SELECT "
    + _STRANGE.format(one="image", many="images")
    + ", "
    + _STRANGE.format(one="category", many="categories")
    + ", (SELECT json_group_array(json_array(op_id, seq, image_id, category_id, state)) "
    "FROM json_each(:names) JOIN decision ON decision.op_id = value)"
    ", (SELECT json_group_array(json_array(label.image_id, label.category_id, label.seq, label.state)) "
    "FROM json_each(:cells) JOIN label "
    "ON label.image_id = json_extract(value, '$[0]') AND label.category_id = json_extract(value, '$[1]'))"
    ", (SELECT coalesce(max(seq), 0) FROM decision)"
)
# In the order of `seq`, so that of several decisions about a cell the last one stays.
_PUT = text(
    f"INSERT INTO label ({', '.join(LABEL_COLUMNS)}) SELECT {', '.join(LABEL_COLUMNS)} FROM decision "
    "WHERE seq >= :first AND state <> 0 ORDER BY seq "
    "ON CONFLICT (image_id, category_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in LABEL_COLUMNS[2:])
    + " WHERE excluded.seq > label.seq"
)
_CLEAR = text(
    "DELETE FROM label WHERE (image_id, category_id) IN "
    "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:cells))"
)
_COUNT = text(
    "UPDATE category_stat SET "
    + ", ".join(
        f"{word} = category_stat.{word} + json_extract(moved.value, '$[{place}]')"
        for place, word in enumerate(_WORDS.values(), 1)
    )
    + " FROM json_each(:moved) AS moved WHERE category_id = json_extract(moved.value, '$[0]')"
)


class Known(NamedTuple):
    """What the database holds about a batch."""

    strange_images: list[int]  # asked about but not of the project
    strange_categories: list[int]
    seen: dict[str, tuple[int, Content]]  # operations that are stored already, with their `seq`
    cells: dict[Cell, Value]  # the cells that are decided
    newest: int  # the highest `seq` of all


def look(c: Connection, project_id: int, cells: Iterable[Cell], names: Iterable[str]) -> Known:
    """Everything that has to be known before answers to `cells` can be stored; `names` are operation ids."""
    asked = sorted(set(cells))
    row = c.execute(
        _LOOK,
        {
            "project": project_id,
            "images": json.dumps(sorted({image for image, _ in asked})),
            "categories": json.dumps(sorted({category for _, category in asked})),
            "names": json.dumps(list(names)),
            "cells": json.dumps(asked),
        },
    ).one()
    images, categories, seen, decided = (json.loads(text_) for text_ in row[:4])
    return Known(
        strange_images=sorted(images),
        strange_categories=sorted(categories),
        seen={name: (seq, (image, category, state)) for name, seq, image, category, state in seen},
        cells={(image, category): Value(seq, state) for image, category, seq, state in decided},
        newest=row[4],
    )


def add(c: Connection, rows: Sequence[Row], before: Mapping[Cell, Value]) -> None:
    """Append decisions and bring labels and counts to the last one of each cell.

    `rows`: a dictionary with every column for each, in the order of `seq`, all above those in the table.
    `before`: what their cells held, without those that were unknown.
    """
    table = json.dumps([[row[name] for name in _DECISION_COLUMNS] for row in rows])
    after: dict[Cell, int] = {(row["image_id"], row["category_id"]): row["state"] for row in rows}
    c.execute(_ADD, {"rows": table})
    c.execute(_PUT, {"first": min(row["seq"] for row in rows)})
    cleared = [cell for cell, state in after.items() if state == CellState.UNKNOWN]
    if cleared:
        c.execute(_CLEAR, {"cells": json.dumps(cleared)})
    _count(c, before, after)


def _count(c: Connection, before: Mapping[Cell, Value], after: Mapping[Cell, int]) -> None:
    change: dict[int, dict[str, int]] = {}
    for cell, state in after.items():
        for value, step in ((before.get(cell, UNKNOWN).state, -1), (state, +1)):
            word = _WORDS.get(CellState(value))
            if word is not None:
                per_word = change.setdefault(cell[1], dict.fromkeys(_WORDS.values(), 0))
                per_word[word] += step
    moved = [[category, *steps.values()] for category, steps in change.items() if any(steps.values())]
    if moved:
        c.execute(_COUNT, {"moved": json.dumps(moved)})
