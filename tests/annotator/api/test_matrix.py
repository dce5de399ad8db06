"""Every route by every kind of person on every kind of project, against a table written here by hand.

The table says who may do what to which object, in the words of the rules, and knows nothing of
`annotator/api/permissions.py`: a mistake there has to be made here again to go unseen.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from annotator.api import permissions
from annotator.api.permissions import TABLE
from annotator.settings import Settings
from annotator.store import Store
from tests.annotator.api.people import BASE, ROLES, World, build
from tests.faults.claims import Claims

P = "/api/projects/{project}"
ACTORS = (
    *ROLES,
    "annotator's token",
    "nobody",
    "outsider",
    "foreign admin",
    "former admin",
    "server admin",
)
OBJECTS = ("home", "foreign", "archived", "missing", "mixed")
IN_HOME = {**{role: role for role in ROLES}, "annotator's token": "annotator"}


@dataclass(frozen=True)
class Row:
    """What one action on one object takes, and how it is answered to somebody who may."""

    thing: str
    action: str
    method: str
    path: str
    least: str  # "anybody", "account", one of the roles, or "server admin"
    done: int = 200  # status of an allowed request
    body: Any = None
    put_away: bool = False  # works on an archived project too
    words: str = ""  # what an allowed 404 says, to tell it from a refusal


BY_HAND = ("create", "change password")  # what a token may not do with the account it belongs to
FORM = "form"
FILE = "file"

ORACLE = (
    Row("server", "is it there", "GET", "/healthz", "anybody"),
    Row("page", "sign in", "GET", "/login", "anybody", 303),
    Row(
        "page", "sign in", "POST", "/login", "anybody", 401, {FORM: {"name": "{fresh}", "password": "wrong"}}
    ),
    Row("page", "set up", "GET", "/setup", "anybody", 200),
    Row(
        "page", "set up", "POST", "/setup", "anybody", 429, {FORM: {"secret": "no", "password": "0123456789"}}
    ),
    Row("page", "see an invitation", "GET", "/invite/unknown", "anybody", 404, words="no such invitation"),
    Row(
        "page",
        "take an invitation",
        "POST",
        "/invite/unknown",
        "anybody",
        404,
        {FORM: {"name": "n", "password": "0123456789"}},
        words="no such invitation",
    ),
    Row("page", "sign out", "POST", "/logout", "account", 303),
    Row("server", "health", "GET", "/api/health", "account"),
    Row("me", "read", "GET", "/api/me", "account"),
    Row(
        "me",
        "change password",
        "POST",
        "/api/me/password",
        "account",
        403,
        {"old": "a" * 10, "new": "b" * 10},
    ),
    Row("token", "list", "GET", "/api/me/tokens", "account"),
    Row("token", "create", "POST", "/api/me/tokens", "account", 201, {"name": "{fresh}"}),
    Row("token", "revoke", "DELETE", "/api/me/tokens/999999", "account", 404, words="no token"),
    Row("user", "list", "GET", "/api/users", "server admin"),
    Row("user", "invite", "POST", "/api/users/invitations", "server admin", 201),
    Row("invitation", "list all", "GET", "/api/users/invitations", "server admin"),
    Row(
        "invitation",
        "withdraw any",
        "DELETE",
        "/api/users/invitations/999999",
        "server admin",
        404,
        words="no open invitation",
    ),
    Row("user", "disable", "POST", "/api/users/999999/disable", "server admin", 404, words="no user"),
    Row("user", "enable", "POST", "/api/users/{spare}/enable", "server admin"),
    Row("user", "reset", "POST", "/api/users/{spare}/reset", "server admin", 201),
    Row("deed", "list", "GET", "/api/deeds", "server admin"),
    Row("project", "list", "GET", "/api/projects", "account"),
    Row("project", "create", "POST", "/api/projects", "server admin", 201, {"name": "{fresh}"}),
    Row("project", "archive", "POST", P + "/archive", "admin", 422, {"name": "not its name"}),
    Row("project", "restore", "POST", P + "/restore", "admin", put_away=True),
    Row("project", "purge", "POST", P + "/purge", "server admin", 422, {"name": "not its name"}),
    Row("member", "list", "GET", P + "/members", "viewer", put_away=True),
    Row("member", "assign", "PUT", P + "/members/{spare}", "admin", 200, {"role": "viewer"}, put_away=True),
    Row("member", "remove", "DELETE", P + "/members/999999", "admin", 404, put_away=True, words="no user"),
    Row("member", "invite", "POST", P + "/invitations", "admin", 201, {"role": "viewer"}),
    Row("invitation", "list", "GET", P + "/invitations", "admin", put_away=True),
    Row(
        "invitation",
        "withdraw",
        "DELETE",
        P + "/invitations/999999",
        "admin",
        404,
        put_away=True,
        words="no open invitation",
    ),
    Row("category", "list", "GET", P + "/categories", "viewer"),
    Row("category", "list archived", "GET", P + "/categories/archived", "viewer"),
    Row("category", "create", "POST", P + "/categories", "annotator", 200, {"name": "{fresh}"}),
    Row("category", "order", "PUT", P + "/categories/order", "reviewer", 409, {"ids": [999999]}),
    Row("category", "rename", "PATCH", P + "/categories/{category}", "reviewer", 200, {"name": "{fresh}"}),
    Row("category", "archive", "POST", P + "/categories/999999/archive", "admin", 404, words="no category"),
    Row("category", "restore", "POST", P + "/categories/{category}/restore", "admin"),
    Row(
        "category",
        "merge",
        "POST",
        P + "/categories/999999/merge",
        "admin",
        404,
        {"into": 1},
        words="no category",
    ),
    Row("question", "list", "GET", P + "/deck", "viewer"),
    Row("question", "list one category", "GET", P + "/grid?category={category}", "viewer"),
    Row("image", "read", "GET", P + "/images/{image}", "viewer"),
    Row("image", "history", "GET", P + "/images/{image}/history", "viewer"),
    Row(
        "image", "attention", "GET", P + "/images/{image}/attention/{category}", "viewer", 404, words="model"
    ),
    Row("image", "see", "GET", "/img/{image}", "viewer"),
    Row("image", "see small", "GET", "/img/{image}?size=thumb", "viewer"),
    Row(
        "label",
        "decide",
        "POST",
        P + "/decisions",
        "annotator",
        200,
        {
            "decisions": [
                {"op_id": "{fresh}", "image_id": "{image}", "category_id": "{category}", "state": "positive"}
            ]
        },
    ),
    Row("label", "import", "POST", P + "/labels", "reviewer", 422, {FILE: ("labels.exe", b"MZ")}),
    Row(
        "label", "preview", "POST", P + "/labels?preview=true", "reviewer", 422, {FILE: ("labels.exe", b"MZ")}
    ),
    Row("label", "export", "GET", P + "/export/coco", "reviewer", put_away=True),
    Row("label", "export a table", "GET", P + "/export/csv", "reviewer", put_away=True),
    Row("job", "status", "GET", P + "/status", "viewer"),
    Row("job", "retrain", "POST", P + "/retrain", "admin"),
    Row("job", "cancel", "POST", P + "/cancel", "admin"),
    Row("generation", "list", "GET", P + "/generations", "viewer"),
    Row("generation", "use", "POST", P + "/generations/999999/use", "admin", 404, words="no generation"),
)


@pytest.fixture(scope="module")
def world(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("matrix"), host="0.0.0.0", insecure_http=True, backbone="tiny"
    )
    shutil.copyfile(migrated, settings.database)
    store = Store.open(settings)
    app, ids, headers, places = build(store, settings)
    with TestClient(app, base_url=BASE, follow_redirects=False) as client:
        yield World(app, store, client, ids, headers, places)
    store.close()


def send(world: World, row: Row, actor: str, thing: str) -> httpx.Response:
    """The request of a row by an actor.

    "mixed" is the project "home" with parts of the foreign one, "hollow" the same with parts that never were.
    """
    project = world.places.get("home" if thing in {"mixed", "hollow"} else thing)
    parts = world.places.get("foreign" if thing == "mixed" else thing)
    values = {
        "project": project.project_id if project else 999_999,
        "category": parts.category_id if parts else 999_999,
        "image": parts.image_id if parts else 999_999,
        "spare": world.ids["spare"],
    }
    path = row.path.format(**values)
    # A cookie jar would let one person's sign-out or sign-in reach the next request.
    world.client.cookies.clear()
    headers = dict(world.headers[actor])
    if isinstance(row.body, dict) and FORM in row.body:
        form = {key: value.replace("{fresh}", world.fresh()) for key, value in row.body[FORM].items()}
        return world.client.request(row.method, path, headers=headers, data=form)
    if isinstance(row.body, dict) and FILE in row.body:
        return world.client.request(row.method, path, headers=headers, files={"file": row.body[FILE]})
    if row.body is None:
        return world.client.request(row.method, path, headers=headers)
    text = json.dumps(row.body).replace("{fresh}", world.fresh())
    for name in ("image", "category"):
        text = text.replace(f'"{{{name}}}"', str(values[name]))
    return world.client.request(
        row.method, path, headers=headers | {"Content-Type": "application/json"}, content=text
    )


def role_in(actor: str, thing: str) -> str | None:
    """The role of an actor in the project of an object, as the world was built."""
    if thing == "missing":
        return None
    if actor == "server admin":
        return "admin"
    if thing == "foreign":
        return "admin" if actor == "foreign admin" else None
    return IN_HOME.get(actor)


@dataclass(frozen=True)
class Wanted:
    """The status by the rules; `hidden` when it must look as if there were nothing at the address."""

    status: int
    hidden: bool = False


def expected(row: Row, actor: str, thing: str) -> Wanted:
    """401 for a stranger, 404 outside, 403 below the role, 410 for what is put away, else as the row says."""
    if row.least == "anybody":
        return Wanted(row.done)
    if actor == "nobody":
        return Wanted(401)
    if row.least == "account":
        return Wanted(403 if actor == "annotator's token" and row.action in BY_HAND else row.done)
    if row.least == "server admin":
        if actor != "server admin":
            return Wanted(403)
        return Wanted(404 if "{project}" in row.path and thing == "missing" else row.done)
    where = "foreign" if thing == "mixed" and "{project}" not in row.path else thing
    role = role_in(actor, where)
    if role is None:
        return Wanted(404, hidden=True)
    if ROLES.index(role) < ROLES.index(row.least):
        return Wanted(403)
    if thing == "archived" and not row.put_away:
        return Wanted(410)
    if thing == "mixed" and _about_a_part(row):
        return Wanted(404, hidden=True)
    return Wanted(row.done)


def _about_a_part(row: Row) -> bool:
    written = row.path + json.dumps(row.body if not row.body or FILE not in row.body else None)
    return "{image}" in written or "{category}" in written


def objects(row: Row) -> tuple[str, ...]:
    """Kinds of object that make a difference to a row."""
    if "{project}" in row.path:
        return OBJECTS
    return OBJECTS[:-1] if "{image}" in row.path else ("home",)


def problem(row: Row, actor: str, thing: str, answer: httpx.Response, world: World) -> str:
    """What is wrong with an answer; empty when it is as the rules say."""
    if row.path in {"/login", "/setup"}:
        return _page_problem(row, answer)
    wanted = expected(row, actor, thing)
    if answer.status_code != wanted.status:
        return f"{wanted.status} wanted, {answer.status_code}: {answer.text[:200]}"
    if wanted.hidden and thing == "mixed" and role_in(actor, "home") is not None:
        foreign = world.places["foreign"]
        hollow = send(world, row, actor, "hollow").json()["error"]["message"]
        told = answer.json()["error"]["message"]
        for part in {foreign.image_id, foreign.category_id}:
            told = re.sub(rf"\b{part}\b", "999999", told)
        return "" if told == hollow else f"{told!r} for a foreign part, {hollow!r} for a missing one"
    if wanted.hidden and not _as_if_missing(answer, thing, world, row):
        return f"tells more than a missing id: {answer.text[:200]}"
    said = wanted.hidden or answer.status_code != row.done or row.words in answer.text
    return "" if said else f"{row.words!r} is not in {answer.text[:200]}"


def _page_problem(row: Row, answer: httpx.Response) -> str:
    """The throttle counts these, so that only what they are not can be said for all of them together."""
    fine = {200, 303} if row.method == "GET" else {401, 403, 409, 422, 429}
    return (
        "" if answer.status_code in fine and "set-cookie" not in answer.headers else str(answer.status_code)
    )


def _as_if_missing(answer: httpx.Response, thing: str, world: World, row: Row) -> bool:
    """A-25: the body is that of an id which does not exist, but for the id of the request."""
    where = world.places.get("home" if thing == "mixed" else thing)
    if "{project}" in row.path:
        text = f"There is no project {where.project_id if where else 999_999}."
    else:
        text = f"There is no image {where.image_id if where else 999_999}."
    error = answer.json()["error"]
    return set(error) == {"code", "message", "request_id"} and (error["code"], error["message"]) == (
        "not_found",
        text,
    )


def test_every_person_gets_exactly_what_the_rules_say(world: World, claim: Claims) -> None:
    made = claim("N-08", "no mismatch in the matrix of people, objects and routes", unit="cells")
    wrong, cells = [], 0
    for row in ORACLE:
        for thing in objects(row):
            if row.path.endswith("/restore") and thing == "archived" and "categories" not in row.path:
                continue  # it would bring the project back for the rows after it; see test_membership
            for actor in ACTORS:
                if row.path == "/logout":
                    continue  # it would end the session; see test_sign_in
                cells += 1
                found = problem(row, actor, thing, send(world, row, actor, thing), world)
                if found:
                    wrong.append(f"{row.thing}: {row.action} by {actor} on {thing}: {found}")
    assert not wrong, "\n".join(wrong)
    assert cells >= 1_000
    made.done(cells, routes=len(ORACLE), people=len(ACTORS))


@pytest.mark.parametrize("forgotten", [permissions.SIGNED_IN, permissions.VIEWER, permissions.OPEN])
def test_the_matrix_sees_one_route_that_is_too_open(
    world: World, monkeypatch: pytest.MonkeyPatch, forgotten: permissions.Need
) -> None:
    """The test tests itself: with one right forgotten it must find somebody who gets what is not theirs."""
    (row,) = (row for row in ORACLE if row.path.endswith("/export/csv"))
    assert not [
        actor for actor in ACTORS if problem(row, actor, "home", send(world, row, actor, "home"), world)
    ]
    weak = [
        (method, pattern, path, forgotten if path.endswith("/export/{kind}") else need)
        for method, pattern, path, need in permissions._COMPILED
    ]
    monkeypatch.setattr(permissions, "_COMPILED", weak)
    found = {actor for actor in ACTORS if problem(row, actor, "home", send(world, row, actor, "home"), world)}
    assert {"viewer", "annotator", "annotator's token"} <= found


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """Method and path of every route of ours, however deep it was included."""

    def walk(found: Any) -> Iterator[tuple[str, str]]:
        for route in found:
            if hasattr(route, "effective_candidates"):
                yield from walk(route.effective_candidates())
            else:
                yield from ((method, route.path) for method in route.methods or ())

    return set(walk(app.routes)) - {("GET", "/openapi.json"), ("HEAD", "/openapi.json")}


def as_template(path: str) -> str:
    """A path of the table above as the router writes it."""
    bare = path.split("?")[0]
    named = {"{project}": "{project_id}", "{category}": "{category_id}", "{image}": "{image_id}"}
    for short, long in named.items():
        bare = bare.replace(short, long)
    fixed = {
        "/invite/unknown": "/invite/{secret}",
        "/export/coco": "/export/{kind}",
        "/export/csv": "/export/{kind}",
        "/tokens/999999": "/tokens/{token_id}",
        "/invitations/999999": "/invitations/{invitation}",
        "/generations/999999": "/generations/{generation_id}",
        "/categories/999999": "/categories/{category_id}",
        "/users/999999": "/users/{user_id}",
        "/users/{spare}": "/users/{user_id}",
        "/members/999999": "/members/{user_id}",
        "/members/{spare}": "/members/{user_id}",
    }
    for short, long in fixed.items():
        bare = bare.replace(short, long)
    return bare


def test_routes_permissions_and_the_table_of_this_test_name_the_same_things(
    world: World, claim: Claims
) -> None:
    made = claim("N-08", "every route is in the table of permissions and in the matrix", unit="routes")
    there = routes_of(world.app)
    assert there == set(TABLE), "permissions.py and the routes differ"
    assert there == {(row.method, as_template(row.path)) for row in ORACLE}, "a route is not in the matrix"
    made.done(len(there))


def test_a_route_that_nobody_put_into_the_table_answers_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    @world.app.get("/forgotten")
    def forgotten() -> dict[str, str]:
        return {"secret": "seen"}

    try:
        with caplog.at_level(logging.ERROR):
            answer = world.client.get("/forgotten", headers=world.headers["server admin"])
    finally:
        world.app.router.routes[:] = [
            route for route in world.app.router.routes if getattr(route, "path", "") != "/forgotten"
        ]
    assert answer.status_code == 404 and "seen" not in answer.text
    assert "GET /forgotten is not in the table" in caplog.text


@pytest.mark.parametrize(
    "name", ["0", "-1", "1.0", "01x", "\u0661", "9" * 18, "9" * 40, "%00", "1%0a", "1 ", "null"]
)
def test_an_odd_id_never_reaches_a_project(world: World, name: str) -> None:
    for actor in ("admin", "server admin"):
        answer = world.client.get(f"/api/projects/{name}/status", headers=world.headers[actor])
        assert answer.status_code in {404, 422}, answer.text


def test_an_id_with_zeros_in_front_is_the_same_project_to_guard_and_route(world: World) -> None:
    home, foreign = (world.places[name].project_id for name in ("home", "foreign"))
    assert (
        world.client.get(f"/api/projects/000{home}/status", headers=world.headers["viewer"]).status_code
        == 200
    )
    answer = world.client.get(f"/api/projects/000{foreign}/status", headers=world.headers["viewer"])
    assert answer.status_code == 404
