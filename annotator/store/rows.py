"""Small helpers of the store: id checks, chunks, rows to records.

Statements that requests of people run are built once, when a module is imported, with `bindparam` in place
of values: building one takes several times as long as running it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from annotator.errors import NotFound

T = TypeVar("T")
MAX_ID = 2**63 - 1
CHUNK = 5_000  # bound parameters per statement stay far below SQLite's limit


def known_id(value: int, noun: str) -> int:
    """`value` when it can be an id at all; a number the database cannot hold is simply not found."""
    if not 0 < value <= MAX_ID:
        raise NotFound(f"There is no {noun} {value}.")
    return int(value)


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """`values` in pieces of at most `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def fields(row: Any) -> dict[str, Any]:
    """A result row as keyword arguments."""
    return dict(row._mapping)
