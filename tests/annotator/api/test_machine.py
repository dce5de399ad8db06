"""Four people, any order, over HTTP: answers, old packets, categories, imports, a project that goes.

The model is a list of the answers that were acknowledged and a dictionary of the categories. It knows nothing
of revisions: it says which answer each person had before their eyes.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run
from starlette.testclient import TestClient

from annotator.api.app import create_app
from annotator.people import Role
from annotator.settings import Settings
from annotator.store import Store, categories, checks, images, members, projects, sessions
from tests.annotator.api.machine_model import PEOPLE, Body, Category, Cell, Model, Op, Seen, Sent, World
from tests.annotator.api.people import BASE, NOW, account, session
from tests.annotator.generation_builder import build
from tests.conftest import new_image

FULL = os.environ.get("FAULTS") == "full"
EXAMPLES, STEPS = (60, 60) if FULL else (6, 40)
PHASES = (Phase.explicit, Phase.generate)  # making a failing story shorter would take minutes
STATES = st.sampled_from(["positive", "negative", "unsure", "unknown"])
WHO = st.sampled_from(list(PEOPLE))
ANY = st.integers(0, 1000)  # a place in whatever there is
CSV = {"positive": "1", "negative": "0", "unsure": "?", "unknown": ""}
_numbers = count(1)


class Together(RuleBasedStateMachine):
    """See the module."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.name = f"machine {next(_numbers)}"
        self.model = Model()
        self.given: dict[str, list[tuple[Op, str]]] = {who: [] for who in PEOPLE}  # with the state before
        self.ops = count(1)
        store = world.store
        self.project = store.write(lambda c: projects.create(c, self.name, now=NOW))
        self.base = f"/api/projects/{self.project.id}"
        self.put_in()

    def put_in(self) -> None:
        def work(c: Any) -> tuple[list[int], dict[int, Category]]:
            for who, role in PEOPLE.items():
                members.put(c, self.project.id, self.world.ids[who], role, now=NOW)
            for number in range(3):
                images.add(c, self.project.id, new_image(f"p{number}.jpg"), now=NOW)
            made, _ = categories.ensure(c, self.project.id, ["dog", "cat"], now=NOW)
            return images.ids(c, self.project.id), {one.id: Category(one.name) for one in made}

        self.model.images, self.model.categories = self.world.store.write(work)

    @initialize(learnt=st.booleans())
    def begin(self, learnt: bool) -> None:
        """Half of the projects have suggestions, from one yes that is in the log like any other."""
        if learnt:
            first = self.model.cells[0]
            self.deliver("ada", [self.written("ada", first, "positive")])
            build(self.world.store, self.project, with_instances=False)

    # ---- answers

    def written(self, who: str, cell: Cell, state: str, after: str | None = None, **more: Any) -> Sent:
        saw = self.model.views[who].get(cell, Seen())
        body = {"op_id": f"op-{self.project.id}-{next(self.ops):06d}", "state": state, **more}
        body |= {"image_id": cell[0], "category_id": cell[1], "base_seq": saw.seq}
        return Sent(cell, state, saw, body | ({} if after is None else {"after": after}))

    def deliver(self, who: str, batch: list[Sent]) -> bool:
        answer = self.world.ask(
            who, "POST", f"{self.base}/decisions", json={"decisions": [one.body for one in batch]}
        )
        if self.model.nothing_happens(who, answer, Role.ANNOTATOR):
            return False
        fresh: list[Sent] = []
        against: list[tuple[Sent, Seen, bool]] = []  # what it met, and whether that is in its own batch
        for sent in batch:
            if self.model.unseen(sent, fresh):
                own = sent.cell in [one.cell for one in fresh]
                against.append((sent, self.model.last(sent.cell, fresh), own))
            else:
                fresh.append(sent)
        if against:
            self.refused(who, answer, against)
            return False
        assert answer.status_code == 200, answer.text
        head = self.model.log[-1].seq if self.model.log else 0
        for sent, told in zip(batch, answer.json()["results"], strict=True):
            assert (told["op_id"], told["stored"]) == (sent.body["op_id"], True)
            assert told["seq"] > head
            head = told["seq"]
            before = self.model.last(sent.cell).state
            op = Op(told["op_id"], sent.cell, sent.state, who, head, sent.body)
            self.model.log.append(op)
            self.given[who].append((op, before))
            self.model.views[who][sent.cell] = self.model.last(sent.cell)
        assert answer.json()["head_seq"] == head
        return True

    def refused(self, who: str, answer: Any, against: list[tuple[Sent, Seen, bool]]) -> None:
        assert answer.status_code == 409, answer.text
        told = answer.json()["error"]["cells"]
        for (sent, met, own), cell in zip(against, told, strict=True):
            stored = self.model.last(sent.cell)
            giver = who if own else next(op.who for op in reversed(self.model.log) if op.cell == sent.cell)
            assert (cell["op_id"], cell["mine"]) == (sent.body["op_id"], sent.state)
            assert (cell["image_id"], cell["category_id"]) == sent.cell
            assert (cell["theirs"], cell["user"], cell["seq"]) == (met.state, giver, stored.seq)
            self.model.views[who][sent.cell] = stored

    @rule(who=WHO, wanted=st.lists(st.tuples(ANY, STATES), min_size=1, max_size=4))
    def answer(self, who: str, wanted: list[tuple[int, str]]) -> None:
        """With whatever view the person has, however old; a cell may come twice in a batch."""
        batch: list[Sent] = []
        for place, state in wanted:
            cell = self.model.cells[place % len(self.model.cells)]
            own = [one.body["op_id"] for one in batch if one.cell == cell]
            batch.append(self.written(who, cell, state, own[-1] if own else None))
        self.deliver(who, batch)

    @rule(who=WHO, place=ANY, state=STATES)
    def a_program_without_a_view_answers(self, who: str, place: int, state: str) -> None:
        sent = self.written(who, self.model.cells[place % len(self.model.cells)], state, source="bulk")
        del sent.body["base_seq"]
        self.deliver(who, [sent._replace(saw=None)])

    @rule(who=WHO)
    def undo(self, who: str) -> None:
        if self.given[who]:
            op, before = self.given[who].pop()
            sent = self.written(who, op.cell, before, op.op, undo_of=op.op)
            if self.deliver(who, [sent._replace(saw=Seen(op.op, op.state))]):
                self.given[who].pop()  # an undo is not undone

    @rule(who=WHO, image=ANY, yes=st.booleans())
    def a_suggestion_is_judged(self, who: str, image: int, yes: bool) -> None:
        item = self.read(who, self.model.images[image % len(self.model.images)])
        for one in item.get("candidates", [])[:1]:
            cell = (item["image"]["id"], one["category_id"])
            more = {"score": one["p"], "generation_id": item["generation"]}
            self.deliver(who, [self.written(who, cell, "positive" if yes else "negative", **more)])

    @rule(who=WHO, image=ANY)
    def look(self, who: str, image: int) -> None:
        self.read(who, self.model.images[image % len(self.model.images)])

    def read(self, who: str, image: int) -> Body:
        answer = self.world.ask(who, "GET", f"{self.base}/images/{image}")
        if self.model.nothing_happens(who, answer):
            return {}
        item: Body = answer.json()
        found = {cell["category_id"]: (cell["state"], cell["seq"]) for cell in item["cells"]}
        held = {key: self.model.last((image, key)) for key in self.model.active()}
        assert found == {key: (one.state, one.seq) for key, one in held.items() if one.state != "unknown"}
        self.model.views[who] |= {(image, key): one for key, one in held.items()}
        return item

    # ---- old packets, lost sessions, people who leave

    @precondition(lambda self: any(op.body for op in self.model.log))
    @rule(who=WHO, number=ANY, changed=st.booleans())
    def an_old_packet_comes_again(self, who: str, number: int, changed: bool) -> None:
        sent = [op for op in self.model.log if op.body]
        op = sent[number % len(sent)]
        body = op.body | ({"state": "unsure" if op.state != "unsure" else "positive"} if changed else {})
        answer = self.world.ask(who, "POST", f"{self.base}/decisions", json={"decisions": [body]})
        if self.model.nothing_happens(who, answer, Role.ANNOTATOR):
            return
        if changed:
            assert (answer.status_code, "cells" in answer.json()["error"]) == (409, False)
        else:
            assert answer.json()["results"] == [{"op_id": op.op, "seq": op.seq, "stored": False}]

    @rule(who=WHO, place=ANY, state=STATES)
    def a_session_ends_with_an_answer_on_its_way(self, who: str, place: int, state: str) -> None:
        store, key = self.world.store, self.world.ids[who]
        sent = self.written(who, self.model.cells[place % len(self.model.cells)], state)
        store.write(lambda c: sessions.delete_all(c, key))
        body = {"decisions": [sent.body], "given_by": key}
        assert self.world.ask(who, "POST", f"{self.base}/decisions", json=body).status_code == 401
        self.world.headers[who] = session(store, key)
        self.deliver(who, [sent])

    @rule(who=st.sampled_from(["ann", "ben", "rae"]), rarely=st.integers(0, 5))
    def somebody_leaves_or_comes_back(self, who: str, rarely: int) -> None:
        if rarely > (0 if who in self.model.members else 3):
            return
        path = f"{self.base}/members/{self.world.ids[who]}"
        if who in self.model.members:
            assert self.world.ask("ada", "DELETE", path).status_code == 200
        else:
            back = self.world.ask("ada", "PUT", path, json={"role": PEOPLE[who].value})
            if back.status_code == 404:  # nobody shares a project any more: a server admin brings them
                back = self.world.ask("root", "PUT", path, json={"role": PEOPLE[who].value})
            assert back.status_code == 200, back.text
        self.model.members ^= {who}

    # ---- the project and its categories

    @rule(rarely=st.integers(0, 5))
    def the_project_goes_or_comes_back(self, rarely: int) -> None:
        if rarely > (3 if self.model.archived else 0):
            return
        what = ("restore", {}) if self.model.archived else ("archive", {"json": {"name": self.name}})
        assert self.world.ask("ada", "POST", f"{self.base}/{what[0]}", **what[1]).status_code == 200
        self.model.archived = not self.model.archived

    @rule(who=WHO, place=ANY, fresh=st.booleans())
    def rename(self, who: str, place: int, fresh: bool) -> None:
        key = list(self.model.categories)[place % len(self.model.categories)]
        name = f"name {next(self.ops)}" if fresh else next(iter(self.model.categories.values())).name
        answer = self.world.ask(who, "PATCH", f"{self.base}/categories/{key}", json={"name": name})
        if self.model.nothing_happens(who, answer, Role.REVIEWER):
            return
        taken = not self.model.categories[key].archived and self.model.name_taken(name, key)
        assert answer.status_code == (409 if taken else 200)
        if not taken:
            self.model.categories[key].name = name

    @rule(who=WHO, place=ANY)
    def archive_or_restore(self, who: str, place: int) -> None:
        key = list(self.model.categories)[place % len(self.model.categories)]
        one = self.model.categories[key]
        what = "restore" if one.archived else "archive"
        answer = self.world.ask(who, "POST", f"{self.base}/categories/{key}/{what}")
        if self.model.nothing_happens(who, answer, Role.ADMIN):
            return
        taken = one.archived and self.model.name_taken(one.name, key)
        assert answer.status_code == (409 if taken else 200)
        one.archived = one.archived if taken else not one.archived

    @rule(who=WHO, place=ANY, into=ANY)
    def merge(self, who: str, place: int, into: int) -> None:
        keys = list(self.model.categories)
        source, target = keys[place % len(keys)], keys[into % len(keys)]
        path = f"{self.base}/categories/{source}/merge"
        look = self.world.ask(who, "POST", path, json={"into": target, "preview": True})
        done = self.world.ask(who, "POST", path, json={"into": target})
        if self.model.nothing_happens(who, done, Role.ADMIN):
            return
        if source == target or self.model.categories[target].archived:
            assert done.status_code == look.status_code == (422 if source == target else 409)
            return
        counts = ("taken", "same", "differ", "cleared")
        assert [look.json()[one] for one in counts] == [done.json()[one] for one in counts]
        before = len(self.model.log)
        for image in self.model.images:
            held = self.model.last((image, source))
            name = f"merge/{source}/{target}/{image}/{held.seq}"
            if held.state == "unknown" or self.model.last((image, target)).state != "unknown":
                continue
            if name not in {op.op for op in self.model.log}:  # else taken over before, and cleared since
                seq = self.model.log[-1].seq + 1
                self.model.log.append(Op(name, (image, target), held.state, who, seq, {}))
        assert done.json()["taken"] == len(self.model.log) - before
        self.model.categories[source].archived = True

    @rule(who=WHO, rows=st.lists(st.lists(STATES, min_size=2, max_size=2), min_size=1, max_size=3), new=ANY)
    def import_labels(self, who: str, rows: list[list[str]], new: int) -> None:
        """A table with two columns, the first of a name that there is or was."""
        names = [list(self.model.categories.values())[new % len(self.model.categories)].name, "dog"]
        if names[0] == names[1]:
            names[1] = "bird"
        text = io.StringIO()
        csv.writer(text).writerows(
            [["file_name", *names], *([f"p{i}.jpg", *map(CSV.get, row)] for i, row in enumerate(rows))]
        )
        file = {"file": ("labels.csv", text.getvalue())}
        answer = self.world.ask(who, "POST", f"{self.base}/labels", files=file)
        if self.model.nothing_happens(who, answer, Role.REVIEWER):
            return
        assert answer.status_code == 200, answer.text
        listed = self.world.ask("ada", "GET", f"{self.base}/categories").json()
        key_of = {one["name"]: one["id"] for one in listed}
        for name in names:
            self.model.categories.setdefault(key_of[name], Category(name))
        stored = self.follow_import(who, rows, [key_of[name] for name in names], text.getvalue())
        assert answer.json()["cells"] == stored

    def follow_import(self, who: str, rows: list[list[str]], keys: list[int], text: str) -> int:
        """The model of it; names of the operations are read from the history."""
        stored = 0
        lines = {(line["image_id"], line["category_id"], line["seq"]): line for line in self.history()}
        newest = {(image, key): seq for image, key, seq in sorted(lines, key=lambda one: one[2])}
        for image, row in zip(self.model.images, rows, strict=False):
            for key, state in zip(keys, row, strict=True):
                cell, mark = (image, key), (text, (image, key), state)
                if (
                    state == "unknown"
                    or self.model.last(cell).state != "unknown"
                    or mark in self.model.imported
                ):
                    continue
                self.model.imported.add(mark)
                line = lines[(*cell, newest[cell])]
                assert (line["source"], line["state"]) == ("imported", state)
                self.model.log.append(Op(line["op_id"], cell, state, who, newest[cell], {}))
                stored += 1
        return stored

    # ---- what always holds

    def history(self) -> list[Body]:
        found = [
            self.world.ask("ada", "GET", f"{self.base}/images/{image}/history?limit=500").json()
            for image in self.model.images
        ]
        return sorted((line for lines in found for line in lines), key=lambda line: line["seq"])

    @invariant()
    def the_history_is_what_was_acknowledged_in_that_order(self) -> None:
        with self.world.store.read() as c:
            assert (checks.wrong_labels(c), checks.wrong_counts(c)) == (0, 0)
        if self.model.archived:
            return
        said = [(line["op_id"], line["seq"], line["state"], line["user"]) for line in self.history()]
        assert said == [(op.op, op.seq, op.state, op.who) for op in self.model.log]
        listed = self.world.ask("ada", "GET", f"{self.base}/categories").json()
        assert {one["id"]: one["name"] for one in listed} == {
            k: one.name for k, one in self.model.active().items()
        }
        for one in listed:
            held = [self.model.last((image, one["id"])).state for image in self.model.images]
            assert {word: one[word] for word in ("positive", "negative", "unsure")} == {
                word: held.count(word) for word in ("positive", "negative", "unsure")
            }

    @invariant()
    def an_export_says_the_same(self) -> None:
        """Of an archived project too."""
        if len(self.model.log) % 4 != 3:
            return
        answer = self.world.ask("ada", "GET", f"{self.base}/export/csv")
        table = list(csv.DictReader(io.StringIO(answer.text)))
        held = [
            {one.name: CSV[self.model.last((image, key)).state] for key, one in self.model.active().items()}
            for image in self.model.images
        ]
        assert [{name: row[name] for name in held[0]} for row in table] == held


@pytest.fixture
def people(store: Store, public_settings: Settings) -> Iterator[World]:
    with TestClient(create_app(store, public_settings), base_url=BASE, follow_redirects=False) as client:
        world = World(store, client)
        for who in [*PEOPLE, "root"]:
            world.ids[who], world.headers[who] = account(store, who, is_admin=who == "root")
        yield world


def test_whatever_four_people_do_every_acknowledged_answer_is_kept_once_and_in_order(people: World) -> None:
    run(
        lambda: Together(people),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )
