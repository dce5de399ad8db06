"""Every event of the built page by every kind of person on every kind of project (N-08, A-46 for the page).

The table says by hand who may do what; it knows nothing of `annotator/ui/door.py`. An event that is in
neither table fails, so a new one has to be thought about here.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.blocks import BlockFunction
from sqlalchemy import select

from annotator.people import Role
from annotator.settings import Settings
from annotator.store import Store, users
from annotator.ui.door import Act, Door, Here
from annotator.ui.page import build_page
from db.schema import Base
from tests.annotator.api.people import ROLES, Place, account, build
from tests.annotator.ui.asking import sent_by
from tests.faults.claims import Claims

REFUSED = "Not done."


@dataclass(frozen=True)
class Row:
    """Who may cause an event, and what only the answer to such a person says."""

    least: str  # one of the roles, or "server admin"
    says: str
    in_project: bool = False  # for a server admin too: the project has to be there


ORACLE = {
    "ImportTab.on_create": Row("server admin", "is ready"),
    "ImportTab.on_demo": Row("server admin", "is open"),
    "ImportTab.on_folder": Row("server admin", "not a JPEG", in_project=True),
    "ImportTab.on_uploads": Row("admin", "not a JPEG"),
    "ImportTab.on_preview": Row("reviewer", "nothing is stored yet"),
    "ImportTab.on_labels": Row("reviewer", "Cells answered"),
    "LearnTab.on_show": Row("viewer", "Suggestions"),
    "LearnTab.on_tick": Row("viewer", "Suggestions"),
    "LearnTab.on_retrain": Row("admin", "labelled|queued|waiting to start"),
    "LearnTab.on_cancel": Row("admin", "cancelled|No training"),
    "GenerationsPanel.on_yes": Row("admin", "generation 999999"),
    "ExportTab.on_show": Row("reviewer", "Download COCO JSON"),
}
OWN = {
    "ProjectField.refreshed",
    "Person.on_load",
    "ImportTab.on_show",
}  # show what is one's own; tested below
STATIC = {"LearnTab.pause", "GenerationsPanel.on_no", "GenerationsPanel.on_ask"}  # hold nothing of anybody
OUTSIDE = ("nobody", "never was", "closed", "outsider", "foreign admin", "former admin")
ACTORS = (*ROLES, "server admin", *OUTSIDE)
THINGS = ("home", "foreign", "archived", "missing")
ODD = (True, "1", 1.0, [1], {"id": 1}, -1, 0, 2**70, float("nan"), "1 OR 1=1")


@dataclass
class Hall:
    """The page with people and projects around it."""

    page: gr.Blocks
    store: Store
    door: Door
    ids: dict[str, int | None]
    places: dict[str, Place]
    files: Path
    count: int = 0

    def project(self, thing: str) -> int:
        return self.places[thing].project_id if thing in self.places else 999_999

    def events(self) -> list[BlockFunction]:
        return [event for event in self.page.fns.values() if event.fn is not None]

    def cause(self, event: BlockFunction, actor: str, project_id: object) -> str:
        """What the page would show of the event, as text."""
        self.count += 1
        values = {
            "request": sent_by(self.ids[actor]),
            "project_id": project_id,
            "name": f"fresh-{self.count:06}",
            "folder": str(self.files / "folder"),
            "uploads": [str(self.files / "folder" / "notes.txt")],
            "upload": str(self.files / "labels.csv"),
            "lenient": True,
            "number": 999_999,
            "wanted": project_id,
            "seen": None,
            "precision": None,
            "recall": None,
            "progress": _silent,
        }
        wanted = inspect.signature(event.fn).parameters  # type: ignore[arg-type]
        return shown(event.fn(**{name: values[name] for name in wanted}))  # type: ignore[misc]

    def content(self) -> list[object]:
        """Every row of every table."""
        with self.store.read() as c:
            return [tuple(map(tuple, c.execute(select(table)))) for table in Base.metadata.sorted_tables]


def built(door: Door, data_dir: Path) -> gr.Blocks:
    """The page, built where an event loop runs: elsewhere Gradio opens loops that it never closes."""

    async def build_it() -> gr.Blocks:
        return build_page(door, data_dir=data_dir)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(build_it())
    return build_page(door, data_dir=data_dir)  # the browser's driver leaves one running


def _silent(*_: object, **__: object) -> None:
    """In place of Gradio's progress bar."""


def name_of(event: BlockFunction) -> str:
    return str(event.fn.__qualname__)  # type: ignore[union-attr]


def shown(value: object) -> str:
    """Everything that an answer carries to the browser."""
    if isinstance(value, tuple | list):
        return " | ".join(map(shown, value))
    arguments = getattr(value, "constructor_args", None) or getattr(value, "_constructor_args", None)
    return f"{type(value).__name__} {arguments}" if arguments is not None else str(value)


@pytest.fixture(scope="module")
def hall(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    folder = tmp_path_factory.mktemp("events")
    settings = Settings(data_dir=folder / "data", host="0.0.0.0", insecure_http=True, backbone="tiny")
    settings.data_dir.mkdir()
    shutil.copyfile(migrated, settings.database)
    store = Store.open(settings)
    app, found, _, places = build(store, settings)
    ids: dict[str, int | None] = {**found, "nobody": None, "never was": 999_999}
    ids["closed"], _ = account(store, "closed", is_admin=True)
    store.write(lambda c: users.set_disabled(c, int(ids["closed"] or 0), 1))
    (folder / "folder").mkdir()
    (folder / "folder" / "notes.txt").write_text("no picture", encoding="utf-8")
    (folder / "labels.csv").write_text("file_name,cat\nhome.jpg,1\nforeign.jpg,1\n", encoding="utf-8")
    door = Door(app.state.actions, sign_in=True)
    with pytest.MonkeyPatch.context() as patch:
        few = {"count": 2, "seed": 0, "on_progress": None}
        patch.setattr("annotator.demo.render_demo.__kwdefaults__", few)
        yield Hall(built(door, settings.data_dir), store, door, ids, places, folder)
    store.close()


def allowed(row: Row, actor: str, thing: str) -> bool:
    if actor == "server admin":
        everywhere = row.least == "server admin" and not row.in_project
        return everywhere or thing in {"home", "foreign"}
    if row.least == "server admin":
        return False
    role = actor if thing == "home" and actor in ROLES else None
    role = "admin" if thing == "foreign" and actor == "foreign admin" else role
    return role is not None and ROLES.index(role) >= ROLES.index(row.least)


def problem(hall: Hall, event: BlockFunction, actor: str, thing: str) -> str:
    """What is wrong with the answer to one event; empty when it is as it should be."""
    row, before = ORACLE[name_of(event)], hall.content()
    text = hall.cause(event, actor, hall.project(thing))
    says = re.search(row.says, text) is not None
    if allowed(row, actor, thing):
        return "" if says else f"was not done: {text[:200]}"
    if REFUSED not in text or says:
        return f"was not refused: {text[:200]}"
    if hall.content() != before:
        return "was refused and changed something"
    outside = thing == "foreign" and actor in OUTSIDE and actor != "foreign admin"
    if outside and row.least != "server admin":
        missing = hall.cause(event, actor, hall.project("missing"))
        if text.replace(str(hall.project("foreign")), "#") != missing.replace("999999", "#"):
            return f"tells a foreign project from one that does not exist: {text[:200]}"
    return ""


def test_every_event_is_thought_about(hall: Hall) -> None:
    names = {name_of(event) for event in hall.events()}
    assert names == set(ORACLE) | OWN | STATIC
    for event in hall.events():
        wanted = inspect.signature(event.fn).parameters  # type: ignore[arg-type]
        assert ("request" in wanted) == (name_of(event) not in STATIC), name_of(event)
    assert not [event for event in hall.events() if event.batch or event.types_generator]


def test_every_event_by_every_person_on_every_project(hall: Hall, claim: Claims) -> None:
    made = claim(
        "N-08", "every event of the page by every kind of person on every kind of project", unit="cells"
    )
    wrong = [
        f"{name_of(event)} by {actor} on {thing} {found}"
        for event in hall.events()
        if name_of(event) in ORACLE
        for actor in ACTORS
        for thing in THINGS
        if (found := problem(hall, event, actor, thing))
    ]
    assert not wrong, "\n".join(wrong)
    asked = [event for event in hall.events() if name_of(event) in ORACLE]
    made.done(len(asked) * len(ACTORS) * len(THINGS), events=len(asked), people=len(ACTORS))


def test_the_census_sees_a_check_that_is_missing(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test tests itself: without the question about rights it must find somebody in every event."""

    def anybody(self: Door, request: gr.Request, act: Act, project_id: Any) -> Here:
        return Here(self._actions, self.me(request).user.id, project_id)

    monkeypatch.setattr(Door, "enter", anybody)
    for event in hall.events():
        row = ORACLE.get(name_of(event))
        if row is not None and row.least != "server admin":
            assert problem(hall, event, "outsider", "home"), name_of(event)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_odd_project_id_reaches_nothing(hall: Hall, odd: object) -> None:
    before = hall.content()
    for event in hall.events():
        if ORACLE.get(name_of(event), Row("server admin", "")).least != "server admin":
            assert REFUSED in hall.cause(event, "admin", odd), (name_of(event), odd)
    assert hall.content() == before


def one(hall: Hall, name: str) -> BlockFunction:
    return next(event for event in hall.events() if name_of(event) == name)


@pytest.mark.parametrize(("actor", "own"), [("viewer", {"home"}), ("foreign admin", {"foreign"})])
def test_a_list_of_projects_holds_ones_own(hall: Hall, actor: str, own: set[str]) -> None:
    text = hall.cause(one(hall, "ProjectField.refreshed"), actor, float(hall.project("foreign")))
    assert {name for name in ("home", "foreign", "archived") if f"'{name}'" in text} == own


@pytest.mark.parametrize("actor", ["outsider", "former admin", "nobody", "never was", "closed"])
def test_whoever_is_in_no_project_gets_an_empty_list(hall: Hall, actor: str) -> None:
    text = hall.cause(one(hall, "ProjectField.refreshed"), actor, None)
    assert "'choices': []" in text and "'value': None" in text


@pytest.mark.parametrize(
    ("actor", "tabs"),
    [
        ("viewer", (False, False)),
        ("annotator", (False, False)),
        ("reviewer", (True, True)),
        ("admin", (True, True)),
        ("server admin", (True, True)),
        ("outsider", (False, False)),
        ("nobody", (False, False)),
        ("closed", (False, False)),
    ],
)
def test_tabs_are_those_that_the_person_can_use(hall: Hall, actor: str, tabs: tuple[bool, bool]) -> None:
    line, importing, exporting = one(hall, "Person.on_load").fn(sent_by(hall.ids[actor]))  # type: ignore[misc]
    assert (importing.visible, exporting.visible) == tabs
    assert (f">{actor}<" in line) == (actor not in {"nobody", "closed"})


def test_where_nobody_signs_in_all_tabs_are_there_and_no_name(hall: Hall) -> None:
    page = built(Door(hall.door._actions), hall.store.data_dir)
    (event,) = [event for event in page.fns.values() if event.fn and name_of(event) == "Person.on_load"]
    line, importing, exporting = event.fn(sent_by(hall.ids["server admin"]))  # type: ignore[misc]
    assert importing.visible and exporting.visible and "server admin" not in line


@pytest.mark.parametrize(
    ("actor", "make", "pictures", "labels"),
    [
        ("annotator", False, False, False),
        ("reviewer", False, False, True),
        ("admin", False, True, True),
        ("server admin", True, True, True),
        ("outsider", False, False, False),
        ("nobody", False, False, False),
    ],
)
def test_import_buttons_that_would_refuse_are_off_with_the_reason(
    hall: Hall, actor: str, make: bool, pictures: bool, labels: bool
) -> None:
    event = one(hall, "ImportTab.on_show")
    said, name, create, demo, folder, *imports, look, from_labels = event.fn(  # type: ignore[misc]
        sent_by(hall.ids[actor]), hall.project("home")
    )
    assert [name.visible, create.visible, demo.visible, folder.visible] == [make] * 4
    assert imports[0].visible == make  # a folder of the machine is for who may see everything on it
    assert [button.interactive for button in imports] == [pictures] * 2
    assert look.interactive == from_labels.interactive == labels
    assert (said == "") == (pictures and labels)
    if actor == "reviewer":
        assert said == "<p>Importing pictures needs the role “admin” in this project.</p>"


def test_training_buttons_that_would_refuse_are_off_with_the_reason(hall: Hall) -> None:
    event = one(hall, "LearnTab.on_show")
    for actor, may in (("viewer", False), ("reviewer", False), ("admin", True)):
        found = event.fn(sent_by(hall.ids[actor]), hall.project("home"))  # type: ignore[misc]
        said, retrain, use = found[-4:-1]
        assert (retrain.interactive, use.interactive) == (may, may)
        assert said == ("" if may else "<p>Training needs the role “admin” in this project.</p>")


def test_a_role_counts_from_the_next_event_on(hall: Hall) -> None:
    person, _ = account(hall.store, "Mary")
    hall.ids["Mary"], event = person, one(hall, "ExportTab.on_show")
    boss = int(hall.ids["server admin"] or 0)
    membership = hall.door._actions.membership
    membership.set_role(boss, hall.project("home"), person, Role.REVIEWER)
    assert "Download CSV" in hall.cause(event, "Mary", hall.project("home"))
    membership.set_role(boss, hall.project("home"), person, Role.VIEWER)
    assert REFUSED in hall.cause(event, "Mary", hall.project("home"))
    membership.set_role(boss, hall.project("home"), person, Role.REVIEWER)
    hall.door._actions.accounts.disable(boss, person)
    assert "disabled" in hall.cause(event, "Mary", hall.project("home"))
