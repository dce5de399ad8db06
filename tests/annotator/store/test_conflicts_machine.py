"""Two to five people with stale views, in any order, over a line that loses receipts: nothing is lost.

The model knows nothing of revisions. It says which answer each person had before their eyes, and what the
store must hold is the answers it acknowledged, in that order.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Connection

from annotator.records import CellState, NewDecision, Source
from annotator.store import Store, categories, checks, decisions, history, images, merging, projects, users
from annotator.store.registers import CellsMoved
from tests.conftest import new_image

FULL = os.environ.get("FAULTS") == "full"
EXAMPLES, STEPS = (100, 50) if FULL else (8, 40)  # 5,000 steps, or 320
STATES = st.sampled_from(list(CellState))
UNKNOWN = CellState.UNKNOWN
PEOPLE = 5
_numbers = count(1)

Cell = tuple[int, int]


class Shown(NamedTuple):
    """What a page shows for a cell: the store's answer when it was read, and an own one on top of it."""

    read_op: str | None  # who knows which answer it was; the store speaks of `read_seq`
    read_seq: int
    read_state: CellState
    own: str | None = None
    state: CellState = UNKNOWN


@dataclass
class Sent:
    """An answer on its way, with what its author had before their eyes."""

    decision: NewDecision
    saw: Shown

    @property
    def cell(self) -> Cell:
        return (self.decision.image_id, self.decision.category_id)


@dataclass
class Client:
    """One open page."""

    user_id: int
    shown: dict[Cell, Shown] = field(default_factory=dict)
    outbox: list[Sent] = field(default_factory=list)
    given: list[Sent] = field(default_factory=list)  # what undo takes back, last first
    newest: dict[Cell, Sent] = field(default_factory=dict)  # the last own answer of each cell
    aside: list[Sent] = field(default_factory=list)  # conflicts that wait for the person


class World:
    """The store of one test and its people."""

    def __init__(self, store: Store) -> None:
        self.store = store
        first = store.write(lambda c: users.owner(c, now=1))
        more = [
            store.write(lambda c, n=number: users.create(c, f"person {n}", None, now=1)).id
            for number in range(1, PEOPLE)
        ]
        self.user_ids = [first, *more]

    def fresh(self) -> tuple[int, list[Cell]]:
        """A project of two pictures and two categories; its id and cells."""
        number = next(_numbers)

        def work(c: Connection) -> tuple[int, list[Cell]]:
            project = projects.create(c, f"machine {number}", now=1)
            named, _ = categories.ensure(c, project.id, ["dog", "cat"], now=1)
            for place in range(2):
                images.add(c, project.id, new_image(f"{place}.jpg"), now=1)
            ids = images.ids(c, project.id)
            return project.id, [(image, one.id) for image in ids for one in named]

        return self.store.write(work)


class Conflicts(RuleBasedStateMachine):
    """See the module."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.project_id, self.cells = world.fresh()
        self.log: list[Sent] = []  # acknowledged, in the order of the store
        self.dropped: set[str] = set()  # given up by their author, knowingly
        self.all: dict[str, Sent] = {}
        self.ops = count(1)

    @initialize(people=st.integers(2, PEOPLE))
    def open_pages(self, people: int) -> None:
        self.clients = [Client(user_id) for user_id in self.world.user_ids[:people]]
        for client in self.clients:
            for cell in self.cells:
                client.shown[cell] = Shown(None, 0, UNKNOWN)

    def client(self, number: int) -> Client:
        return self.clients[number % len(self.clients)]

    # ---- what the model knows

    def last(self, cell: Cell) -> tuple[str | None, CellState]:
        for sent in reversed(self.log):
            if sent.cell == cell:
                return sent.decision.op_id, sent.decision.state
        return None, UNKNOWN

    def unseen(self, sent: Sent, batch: list[Sent]) -> bool:
        """Whether storing this answer, after `batch`, would overwrite what its author has not seen."""
        stored = [*self.log, *batch]
        here = [one.decision for one in stored if one.cell == sent.cell]
        last, value = (here[-1].op_id, here[-1].state) if here else (None, UNKNOWN)
        if sent.decision.base_seq is None or value is sent.decision.state:
            return False
        arrived = {one.decision.op_id: one.decision.state for one in stored}
        own = sent.saw.own
        seen, state = (own, arrived[own]) if own in arrived else (sent.saw.read_op, sent.saw.read_state)
        return not (last == seen or (value is UNKNOWN and state is UNKNOWN))

    # ---- what people do

    @rule(who=st.integers(0, 4), cell=st.integers(0, 3), state=STATES)
    def answer(self, who: int, cell: int, state: CellState) -> None:
        client, where = self.client(who), self.cells[cell]
        if client.shown[where].state is not state:
            client.given.append(self.push(client, where, state, client.shown[where]))

    def push(
        self, client: Client, cell: Cell, state: CellState, saw: Shown, undo_of: str | None = None
    ) -> Sent:
        op = f"op-{self.project_id}-{next(self.ops)}"
        decision = NewDecision(
            op_id=op,
            image_id=cell[0],
            category_id=cell[1],
            state=state,
            base_seq=saw.read_seq,
            after=saw.own,
            undo_of=undo_of,
        )
        sent = self.all[op] = Sent(decision, saw)
        client.outbox.append(sent)
        client.newest[cell] = sent
        client.shown[cell] = saw._replace(own=op, state=state)
        return sent

    @rule(who=st.integers(0, 4))
    def undo(self, who: int) -> None:
        client = self.client(who)
        if client.given:
            taken = client.given.pop()
            own = client.newest[taken.cell].decision
            saw = taken.saw._replace(own=own.op_id, state=own.state)
            self.push(client, taken.cell, taken.saw.state, saw, undo_of=taken.decision.op_id)

    @rule(who=st.integers(0, 4))
    def reload(self, who: int) -> None:
        """The page reads everything anew."""
        client = self.client(who)
        for cell in self.cells:
            client.shown[cell] = self.look(client, cell)

    def look(self, client: Client, cell: Cell) -> Shown:
        """What the store holds, with the newest own answer that has not arrived on top of it."""
        with self.world.store.read() as c:
            label = decisions.labels_of(c, [cell[0]]).get(cell[0], {}).get(cell[1])
        op, state = self.last(cell)
        waiting = [one.decision for one in client.outbox if one.cell == cell]
        own, shown = (waiting[-1].op_id, waiting[-1].state) if waiting else (None, state)
        return Shown(op, label.seq if label else 0, state, own, shown)

    # ---- what the line does

    @rule(who=st.integers(0, 4), most=st.integers(1, 6), receipt_lost=st.booleans())
    def send(self, who: int, most: int, receipt_lost: bool) -> None:
        client = self.client(who)
        batch = client.outbox[:most]
        if batch and self.deliver(client, batch) and not receipt_lost:
            del client.outbox[: len(batch)]

    def deliver(self, client: Client, batch: list[Sent]) -> bool:
        known = {one.decision.op_id for one in self.log}
        fresh: list[Sent] = []
        against: list[tuple[Sent, CellState]] = []  # and what it met
        for sent in batch:
            if sent.decision.op_id in known:
                continue
            if self.unseen(sent, fresh):
                against.append((sent, self.value(sent.cell, fresh)))
            else:
                fresh.append(sent)
        new = [sent.decision for sent in batch]
        head = self.head()
        try:
            results = self.world.store.write(
                lambda c: decisions.record(c, self.project_id, new, user_id=client.user_id, now=len(self.log))
            )
        except CellsMoved as error:
            assert [cell.op_id for cell in error.cells] == [sent.decision.op_id for sent, _ in against]
            assert self.head() == head
            for (sent, met), cell in zip(against, error.cells, strict=True):
                assert (cell.theirs, cell.mine) == (met, sent.decision.state)
                self.set_aside(client, sent)
            return False
        assert against == [], "an answer that nobody had seen was overwritten"
        assert [one.stored for one in results] == [sent in fresh for sent in batch]
        self.log += fresh
        return True

    def value(self, cell: Cell, batch: list[Sent]) -> CellState:
        here = [one.decision.state for one in batch if one.cell == cell]
        return here[-1] if here else self.last(cell)[1]

    def set_aside(self, client: Client, sent: Sent) -> None:
        """As the page does it: one open question per cell, about the newest answer of the person."""
        client.outbox.remove(sent)
        for older in [one for one in client.aside if one.cell == sent.cell]:
            self.give_up(client, older)
        client.given = [one for one in client.given if one.cell != sent.cell]
        newer = any(one.cell == sent.cell for one in client.outbox)
        takes_back = sent.decision.undo_of is not None and sent.decision.state is UNKNOWN
        client.aside.append(sent)
        if newer or takes_back:
            self.give_up(client, sent)
        client.shown[sent.cell] = self.look(client, sent.cell)

    def give_up(self, client: Client, sent: Sent) -> None:
        client.aside.remove(sent)
        self.dropped.add(sent.decision.op_id)

    @rule(number=st.integers(0, 10_000))
    def an_old_packet_comes_again(self, number: int) -> None:
        if self.log:
            sent = self.log[number % len(self.log)]
            again = self.world.store.write(
                lambda c: decisions.record(c, self.project_id, [sent.decision], user_id=1, now=0)
            )
            assert [one.stored for one in again] == [False]

    # ---- conflicts and imports

    @rule(who=st.integers(0, 4))
    def use_mine(self, who: int) -> None:
        client = self.client(who)
        if client.aside:
            mine, seen = client.aside[0], self.look(client, client.aside[0].cell)
            self.give_up(client, mine)  # the new answer stands for it
            self.push(client, mine.cell, mine.decision.state, seen)

    @rule(who=st.integers(0, 4))
    def keep_theirs(self, who: int) -> None:
        client = self.client(who)
        if client.aside:
            self.give_up(client, client.aside[0])

    @rule(cell=st.integers(0, 3), state=STATES)
    def a_program_without_a_view_writes(self, cell: int, state: CellState) -> None:
        image, category = self.cells[cell]
        decision = NewDecision(
            op_id=f"op-{self.project_id}-{next(self.ops)}",
            image_id=image,
            category_id=category,
            state=state,
            source=Source.BULK,
        )
        sent = self.all[decision.op_id] = Sent(decision, Shown(None, 0, UNKNOWN))
        self.world.store.write(lambda c: decisions.record(c, self.project_id, [decision], user_id=1, now=0))
        self.log.append(sent)

    # ---- categories that are merged under the open pages

    @rule(back=st.booleans())
    def one_category_takes_the_other_over(self, back: bool) -> None:
        """The merged answers are those of one more person, who has seen that the cells are unknown."""
        columns = sorted({column for _, column in self.cells}, reverse=back)
        source, target = columns
        with self.world.store.read() as c:
            labels = decisions.labels_of(c, [image for image, _ in self.cells])
        for image in sorted({image for image, _ in self.cells}):
            op, state = self.last((image, source))
            if state is UNKNOWN or self.last((image, target))[1] is not UNKNOWN:
                continue
            name = f"merge/{source}/{target}/{image}/{labels[image][source].seq}"
            if name in self.all:
                continue  # taken over before, and cleared since
            assert op is not None
            decision = NewDecision(op_id=name, image_id=image, category_id=target, state=state)
            self.all[name] = Sent(decision, Shown(None, 0, UNKNOWN))
            self.log.append(self.all[name])

        def work(c: Connection) -> None:
            merging.merge(c, self.project_id, source, target, user_id=1, now=len(self.log))
            categories.restore(c, source)

        self.world.store.write(work)

    # ---- what always holds

    def head(self) -> int:
        with self.world.store.read() as c:
            return decisions.head_seq(c, self.project_id)

    @invariant()
    def the_store_holds_what_it_acknowledged_in_that_order(self) -> None:
        with self.world.store.read() as c:
            labels = decisions.labels_of(c, [image for image, _ in self.cells])
            lines = [
                line
                for image in {image for image, _ in self.cells}
                for line in history.of_image(c, image, limit=999)
            ]
            counts = {count.category_id: count for count in decisions.counts(c, self.project_id)}
            assert (checks.wrong_labels(c), checks.wrong_counts(c)) == (0, 0)
        held = {(image, key): one.state for image, found in labels.items() for key, one in found.items()}
        values = {cell: self.last(cell)[1] for cell in self.cells}
        assert held == {cell: state for cell, state in values.items() if state is not UNKNOWN}
        stored = [line.op_id for line in sorted(lines, key=lambda line: line.seq)]
        assert stored == [sent.decision.op_id for sent in self.log]
        for key in {key for _, key in self.cells}:
            yes = sum(values[cell] is CellState.POSITIVE for cell in self.cells if cell[1] == key)
            assert counts[key].positive == yes

    @invariant()
    def every_answer_is_somewhere(self) -> None:
        stored = {sent.decision.op_id for sent in self.log}
        clients = getattr(self, "clients", [])
        kept = {one.decision.op_id for client in clients for one in [*client.outbox, *client.aside]}
        assert set(self.all) == stored | kept | self.dropped
        assert not stored & self.dropped

    def teardown(self) -> None:
        """Everybody sends what is left: only open questions remain."""
        for client in getattr(self, "clients", []):
            while client.outbox:
                if self.deliver(client, client.outbox[:3]):
                    del client.outbox[:3]
        self.the_store_holds_what_it_acknowledged_in_that_order()
        self.every_answer_is_somewhere()


def test_no_update_is_lost_and_none_is_overwritten_unseen(store: Store) -> None:
    world = World(store)
    run_state_machine_as_test(
        lambda: Conflicts(world),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
