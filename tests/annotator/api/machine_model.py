"""What four people did: a list of acknowledged answers and a dictionary of categories, without revisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.testclient import TestClient

from annotator.people import Role
from annotator.store import Store

PEOPLE = {"ann": Role.ANNOTATOR, "ben": Role.ANNOTATOR, "rae": Role.REVIEWER, "ada": Role.ADMIN}

Cell = tuple[int, int]
Body = dict[str, Any]


class Seen(NamedTuple):
    """What a person has before their eyes of a cell."""

    op: str | None = None
    state: str = "unknown"
    seq: int = 0


class Op(NamedTuple):
    """An acknowledged answer."""

    op: str
    cell: Cell
    state: str
    who: str
    seq: int
    body: Body


class Sent(NamedTuple):
    """An answer on its way; `saw` is None for a program that keeps no view."""

    cell: Cell
    state: str
    saw: Seen | None
    body: Body


@dataclass
class Category:
    """A category as the model has it."""

    name: str
    archived: bool = False


@dataclass
class World:
    """One server for all examples, and the people on it."""

    store: Store
    client: TestClient
    ids: dict[str, int] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)

    def ask(self, who: str, method: str, path: str, **what: Any) -> Any:
        self.client.cookies.clear()
        return self.client.request(method, path, headers=self.headers[who], **what)


class Model:
    """What a project must hold, and what each person has before their eyes."""

    def __init__(self) -> None:
        self.archived = False
        self.members = set(PEOPLE)
        self.images: list[int] = []
        self.categories: dict[int, Category] = {}
        self.log: list[Op] = []
        self.imported: set[tuple[str, Cell, str]] = set()  # text of the file, cell, state
        self.views: dict[str, dict[Cell, Seen]] = {who: {} for who in PEOPLE}

    @property
    def cells(self) -> list[Cell]:
        return [(image, category) for image in self.images for category in self.categories]

    def active(self) -> dict[int, Category]:
        return {key: one for key, one in self.categories.items() if not one.archived}

    def last(self, cell: Cell, batch: list[Sent] | None = None) -> Seen:
        for sent in reversed(batch or []):
            if sent.cell == cell:
                return Seen(sent.body["op_id"], sent.state)
        for op in reversed(self.log):
            if op.cell == cell:
                return Seen(op.op, op.state, 0 if op.state == "unknown" else op.seq)
        return Seen()

    def unseen(self, sent: Sent, batch: list[Sent]) -> bool:
        """Whether storing this after `batch` would overwrite what its author has not seen."""
        held, saw = self.last(sent.cell, batch), sent.saw
        if saw is None or held.state == sent.state:
            return False
        own = sent.body.get("after")
        if own in {one.body["op_id"] for one in batch}:
            saw = self.last(sent.cell, [one for one in batch if one.body["op_id"] == own])
        return not (held.op == saw.op or held.state == saw.state == "unknown")

    def name_taken(self, name: str, besides: int = 0) -> bool:
        return any(one.name == name for key, one in self.active().items() if key != besides)

    def nothing_happens(self, who: str, answer: Any, least: Role = Role.VIEWER) -> bool:
        """Whether the request had to be refused because of who asks or where; and then it was."""
        if who not in self.members:
            assert answer.status_code == 404
        elif not PEOPLE[who].reaches(least):
            assert answer.status_code == 403
        elif self.archived:
            assert answer.status_code == 410
        else:
            return False
        return True
