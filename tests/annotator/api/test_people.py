"""People over HTTP: invitations, passwords, tokens, roles that are taken away, projects that are put away."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from annotator.api import auth
from annotator.api.auth import COOKIE
from annotator.people import Role
from annotator.records import CellState, NewDecision
from annotator.settings import Settings
from annotator.store import Store, deeds, invitations, members, sessions, tokens, users
from annotator.store.secret import digest
from tests.annotator.api.people import BASE, NOW, PASSWORD, World, account, ask, bearer, session

OTHER_PASSWORD = "another good password"
WEEK_MS = 7 * 24 * 3600 * 1000


def home(world: World, rest: str = "") -> str:
    return f"/api/projects/{world.places['home'].project_id}{rest}"


def invite(world: World, role: str = "annotator", actor: str = "admin") -> str:
    answer = ask(world, actor, "POST", home(world, "/invitations"), {"role": role})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["link"])


def visitor(world: World) -> TestClient:
    return TestClient(world.app, base_url=BASE, follow_redirects=False)


def test_an_invitation_makes_an_account_with_that_role_once(world: World) -> None:
    link = invite(world)
    guest = visitor(world)
    page = guest.get(link)
    assert (
        page.status_code == 200
        and "&quot;home&quot; as annotator" in page.text
        and "<script" not in page.text
    )
    joined = guest.post(link, data={"name": "  Zoe\u0308 ", "password": PASSWORD})
    assert joined.status_code == 303 and "httponly" in joined.headers["set-cookie"].lower()
    me = guest.get("/api/me").json()
    project_id = world.places["home"].project_id
    assert (
        me["name"] == "Zo\u00eb" and me["roles"] == {str(project_id): "annotator"} and not me["server_admin"]
    )
    assert [found["id"] for found in guest.get("/api/projects").json()] == [project_id]
    for again in (
        visitor(world).get(link),
        visitor(world).post(link, data={"name": "x", "password": PASSWORD}),
    ):
        assert again.status_code == 410 and "used already" in again.text
    fresh = visitor(world)
    assert fresh.post("/login", data={"name": "ZOË", "password": PASSWORD}).status_code == 303


def test_an_unusable_name_or_password_leaves_the_invitation_good(world: World) -> None:
    link = invite(world)
    guest = visitor(world)
    assert guest.post(link, data={"name": "mia", "password": "short"}).status_code == 422
    assert guest.post(link, data={"name": "\u0007", "password": PASSWORD}).status_code == 422
    taken = guest.post(link, data={"name": "REVIEWER", "password": PASSWORD})
    assert taken.status_code == 409 and "is taken" in taken.text and "set-cookie" not in taken.headers
    assert guest.post(link, data={"name": "mia", "password": PASSWORD}).status_code == 303


def test_somebody_with_an_account_joins_with_its_password_and_no_role_is_lowered(world: World) -> None:
    first, second = visitor(world), visitor(world)
    assert (
        first.post(invite(world, "reviewer"), data={"name": "mia", "password": PASSWORD}).status_code == 303
    )
    user_id = first.get("/api/me").json()["id"]
    link = invite(world, "viewer")
    assert second.post(link, data={"name": "mia", "password": OTHER_PASSWORD}).status_code == 409
    assert second.post(link, data={"name": "mia", "password": PASSWORD}).status_code == 303
    assert second.get("/api/me").json()["id"] == user_id
    assert set(second.get("/api/me").json()["roles"].values()) == {"reviewer"}


def test_an_old_invitation_and_one_whose_maker_lost_the_right_do_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, orphan = invite(world), invite(world)
    world.store.write(
        lambda c: members.put(c, world.places["home"].project_id, world.ids["admin"], Role.REVIEWER, now=NOW)
    )
    gone = visitor(world).get(orphan)
    assert gone.status_code == 410 and "does not count any more" in gone.text
    from annotator.actions import inviting

    real = inviting.now_ms
    monkeypatch.setattr(inviting, "now_ms", lambda: real() + WEEK_MS + 1)
    gone = visitor(world).post(old, data={"name": "x", "password": PASSWORD})
    assert gone.status_code == 410 and "run out" in gone.text
    assert visitor(world).get("/invite/" + "x" * 43).status_code == 404


def test_registration_is_closed_and_no_account_comes_with_a_password(world: World) -> None:
    """A-01: nobody can make an account without an invitation, and none has a known password."""
    guest = visitor(world)
    for path in ("/register", "/signup", "/api/users", "/api/accounts", "/invite", "/invite/"):
        for method in ("GET", "POST"):
            answer = guest.request(method, path, json={"name": "me", "password": PASSWORD})
            assert answer.status_code in {401, 403, 404, 405, 415}, (path, answer.status_code)
    with world.store.read() as c:
        assert not any(user.has_password for user in users.list_all(c))
    for name in ("owner", "admin", "root", "server admin"):
        for password in ("", "owner", "admin", "password", "changeme", "annotator"):
            answer = guest.post("/login", data={"name": name, "password": password})
            assert answer.status_code in {401, 422, 429}


def test_a_changed_password_ends_every_other_session_and_needs_the_old_one(world: World) -> None:
    """A-06 and A-24: the other browser is out on its next request."""
    link = invite(world)
    one, other = visitor(world), visitor(world)
    one.post(link, data={"name": "mia", "password": PASSWORD})
    other.post("/login", data={"name": "mia", "password": PASSWORD})
    assert other.get("/api/me").status_code == 200
    wrong = one.post("/api/me/password", json={"old": OTHER_PASSWORD, "new": OTHER_PASSWORD})
    assert wrong.status_code == 403 and other.get("/api/me").status_code == 200
    short = one.post("/api/me/password", json={"old": PASSWORD, "new": "short"})
    assert short.status_code == 422
    assert one.post("/api/me/password", json={"old": PASSWORD, "new": OTHER_PASSWORD}).status_code == 200
    assert one.get("/api/me").status_code == 200 and other.get("/api/me").status_code == 401
    assert other.post("/login", data={"name": "mia", "password": PASSWORD}).status_code == 401
    assert other.post("/login", data={"name": "mia", "password": OTHER_PASSWORD}).status_code == 303


def test_a_stolen_session_cannot_guess_the_old_password_for_ever(world: World) -> None:
    mia = visitor(world)
    mia.post(invite(world), data={"name": "mia", "password": PASSWORD})
    answers = [
        mia.post("/api/me/password", json={"old": f"wrong guess {n}", "new": OTHER_PASSWORD})
        for n in range(11)
    ]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0


def test_a_reset_link_sets_a_password_and_ends_everything_else(world: World) -> None:
    mia = visitor(world)
    mia.post(invite(world), data={"name": "mia", "password": PASSWORD})
    user_id = mia.get("/api/me").json()["id"]
    key = bearer(world.store, user_id)
    void = ask(world, "server admin", "POST", f"/api/users/{user_id}/reset").json()["link"]
    link = ask(world, "server admin", "POST", f"/api/users/{user_id}/reset").json()["link"]
    assert visitor(world).get(void).status_code == 410
    fresh = visitor(world)
    assert 'name="name"' not in fresh.get(link).text and "mia" in fresh.get(link).text
    assert fresh.post(link, data={"password": OTHER_PASSWORD}).status_code == 303
    assert fresh.get("/api/me").json()["id"] == user_id
    assert mia.get("/api/me").status_code == 401
    assert world.client.get("/api/me", headers=key).status_code == 401
    assert visitor(world).get(link).status_code == 410


@pytest.mark.parametrize("actor", ["annotator", "annotator's token"])
def test_a_disabled_account_is_out_on_the_next_request_whatever_way_it_came(world: World, actor: str) -> None:
    """A-24 for accounts, A-07: the answer is that of a stranger."""
    image = f"/img/{world.places['home'].image_id}"
    assert ask(world, actor, "GET", image).status_code == 200
    user_id = world.ids["annotator"]
    assert ask(world, "server admin", "POST", f"/api/users/{user_id}/disable").status_code == 200
    for path in (image, home(world, "/status"), "/api/me", "/"):
        assert ask(world, actor, "GET", path).status_code == 401
    assert ask(world, "server admin", "POST", f"/api/users/{user_id}/enable").status_code == 200
    assert ask(world, actor, "GET", "/api/me").status_code == 401, "what was ended stays ended"
    world.headers["again"] = session(world.store, user_id)
    assert ask(world, "again", "GET", image).status_code == 200


def test_a_role_taken_away_counts_on_the_next_request_for_pictures_too(world: World) -> None:
    """A-16 and A-24: 404 as if there were no such project, and no browser may show its copy unasked."""
    image, path = f"/img/{world.places['home'].image_id}", home(world, f"/members/{world.ids['annotator']}")
    seen = ask(world, "annotator", "GET", image)
    assert seen.status_code == 200
    assert seen.headers["cache-control"] == "private, no-cache"
    tag = {"If-None-Match": seen.headers["etag"]}
    again = world.client.get(image, headers=world.headers["annotator"] | tag)
    assert again.status_code == 304 and again.content == b""
    assert ask(world, "admin", "PUT", path, {"role": "viewer"}).status_code == 200
    assert ask(world, "annotator", "POST", home(world, "/categories"), {"name": "dog"}).status_code == 403
    assert ask(world, "annotator", "GET", image).status_code == 200
    assert ask(world, "admin", "DELETE", path).status_code == 200
    assert world.client.get(image, headers=world.headers["annotator"] | tag).status_code == 404
    for gone in (home(world, "/status"), home(world, f"/images/{world.places['home'].image_id}")):
        assert ask(world, "annotator", "GET", gone).status_code == 404
    assert ask(world, "annotator's token", "GET", image).status_code == 404
    assert ask(world, "annotator", "GET", "/api/projects").json() == []


def test_another_process_takes_an_account_away_from_a_running_server(
    world: World, public_settings: Settings
) -> None:
    other = Store.open(public_settings)
    try:
        assert ask(world, "viewer", "GET", "/api/me").status_code == 200
        other.write(lambda c: users.set_disabled(c, world.ids["viewer"], NOW))
        assert ask(world, "viewer", "GET", "/api/me").status_code == 401
    finally:
        other.close()


def test_a_token_is_shown_once_and_kept_as_a_digest(world: World, public_settings: Settings) -> None:
    """A-06: no other answer, and no row, holds the secret."""
    made = ask(world, "annotator", "POST", "/api/me/tokens", {"name": "night job", "days": 30})
    assert made.status_code == 201
    secret, token_id = made.json()["token"], made.json()["id"]
    world.headers["script"] = {"Authorization": f"Bearer {secret}"}
    assert ask(world, "script", "GET", "/api/me").json()["id"] == world.ids["annotator"]
    for path in ("/api/me", "/api/me/tokens", "/api/projects"):
        assert secret not in ask(world, "annotator", "GET", path).text
    listed = {found["id"]: found for found in ask(world, "annotator", "GET", "/api/me/tokens").json()}
    assert set(listed[token_id]) == {"id", "name", "created_at", "expires_at", "last_used_at"}
    assert listed[token_id]["name"] == "night job" and listed[token_id]["last_used_at"] is not None
    files = [path for path in public_settings.data_dir.iterdir() if path.name.startswith("annotator.db")]
    assert not any(secret.encode() in path.read_bytes() for path in files)
    assert any(digest(secret).encode() in path.read_bytes() for path in files)
    assert ask(world, "reviewer", "DELETE", f"/api/me/tokens/{token_id}").status_code == 404
    assert ask(world, "annotator", "DELETE", f"/api/me/tokens/{token_id}").status_code == 200
    assert ask(world, "script", "GET", "/api/me").status_code == 401


def test_the_use_of_a_token_is_noted_once_a_minute(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [NOW]
    monkeypatch.setattr(auth, "now_ms", lambda: clock[0])
    noted = []
    real = tokens.touch
    monkeypatch.setattr(auth.tokens, "touch", lambda c, key, now: (noted.append(now), real(c, key, now=now)))
    for step in (0, 1_000, 58_000, 1_000, 30_000):
        clock[0] += step
        assert ask(world, "annotator's token", "GET", "/api/me").status_code == 200
    assert noted == [NOW, NOW + 60_000]


def test_every_way_in_says_the_same_to_somebody_who_may_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-07: disabled, run out, revoked, unknown, empty, doubled, in the address: one 401, one body."""
    user_id, cookie = account(world.store, "left")
    key = bearer(world.store, user_id)
    secret = key["Authorization"].removeprefix("Bearer ")
    expired, gone = world.store.write(
        lambda c: (
            tokens.create(c, world.ids["viewer"], "old", expires_at=NOW + 1, now=NOW)[1],
            tokens.create(c, world.ids["viewer"], "revoked", expires_at=None, now=NOW),
        )
    )
    world.store.write(lambda c: tokens.revoke(c, world.ids["viewer"], gone[0].id, now=NOW))
    over = world.store.write(lambda c: sessions.create(c, world.ids["viewer"], ttl_ms=1, now=NOW))
    world.store.write(lambda c: users.set_disabled(c, user_id, NOW))
    valid = bearer(world.store, world.ids["viewer"])["Authorization"].removeprefix("Bearer ")
    tries: list[dict[str, Any]] = [
        {},
        {"headers": cookie},
        {"headers": key},
        {"headers": {"Authorization": f"Bearer {expired}"}},
        {"headers": {"Authorization": f"Bearer {gone[1]}"}},
        {"headers": {"Cookie": f"{COOKIE}={over}"}},
        {"headers": {"Authorization": "Bearer unknown"}},
        {"headers": {"Authorization": "Bearer"}},
        {"headers": {"Authorization": "Bearer unknown"} | world.headers["viewer"]},
        {"headers": [("Authorization", f"Bearer {valid}"), ("Authorization", f"Bearer {valid}")]},
        {"headers": {"Authorization": "Basic dmlld2VyOnZpZXdlcg=="}},
        {"headers": {"Authorization": f"Token {valid}"}},
        {"headers": {"X-Api-Key": valid}},
        {"headers": {"Cookie": f"{COOKIE}={valid}"}},
        {"params": {"token": valid, "access_token": valid, "api_key": valid}},
        {"params": {"token": secret}},
    ]
    said = []
    for given in tries:
        world.client.cookies.clear()
        answer = world.client.get("/api/me", **given)
        error = answer.json()["error"]
        said.append((answer.status_code, error["code"], error["message"]))
    assert set(said) == {(401, "not_signed_in", "Sign in first.")}
    good = world.client.get("/api/me", headers={"Authorization": f"bearer {valid}"})
    assert good.json()["id"] == world.ids["viewer"]


def test_a_session_is_no_token_and_a_token_no_session(world: World) -> None:
    cookie = world.headers["viewer"]["Cookie"].split("=", 1)[1]
    assert world.client.get("/api/me", headers={"Authorization": f"Bearer {cookie}"}).status_code == 401


def test_a_program_with_a_token_passes_the_rule_against_other_sites_and_a_foreign_page_does_not(
    world: World,
) -> None:
    """A-08, last line: no browser headers and a token is 200; a browser's cross-site request never is."""
    body, key = {"name": "dog"}, world.headers["annotator's token"]
    assert world.client.post(home(world, "/categories"), json=body, headers=key).status_code == 200
    for foreign in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = world.client.post(home(world, "/categories"), json={"name": "x"}, headers=key | foreign)
        assert answer.status_code == 403


def test_a_token_cannot_make_more_of_itself(world: World) -> None:
    """A-26: not a token, not a password."""
    actor = "annotator's token"
    assert ask(world, actor, "POST", "/api/me/tokens", {"name": "child"}).status_code == 403
    change = {"old": PASSWORD, "new": OTHER_PASSWORD}
    assert ask(world, actor, "POST", "/api/me/password", change).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/categories", {"name": "x"}),
        ("PUT", "/members/{spare}", {"role": "viewer"}),
        ("POST", "/invitations", {"role": "viewer"}),
        ("POST", "/archive", {"name": "home"}),
    ],
)
@pytest.mark.parametrize(
    "extra",
    [
        {"is_admin": True},
        {"server_admin": True},
        {"owner_id": 1},
        {"project_id": 2},
        {"created_by": 1},
        {"user_id": 1},
        {"revision": 9},
        {"created_at": 0},
    ],
)
def test_a_field_that_is_not_asked_for_is_refused(
    world: World, method: str, path: str, body: dict[str, Any], extra: dict[str, Any]
) -> None:
    """A-26 and A-44: nothing can be slipped in beside what a route takes."""
    where = home(world, path.format(spare=world.ids["spare"]))
    answer = ask(world, "admin", method, where, body | extra)
    assert answer.status_code == 422 and next(iter(extra)) in answer.json()["error"]["message"]


@pytest.mark.parametrize("role", ["owner", "server_admin", "reset", "ADMIN", "", 3, None, True, ["admin"]])
def test_only_the_four_roles_can_be_given(world: World, role: Any) -> None:
    """A-26: no word lifts anybody above a project's admin."""
    for method, path in (("POST", "/invitations"), ("PUT", f"/members/{world.ids['spare']}")):
        assert ask(world, "admin", method, home(world, path), {"role": role}).status_code == 422


def test_nobody_below_admin_can_give_a_role_not_even_to_oneself(world: World) -> None:
    for actor in ("viewer", "annotator", "reviewer"):
        own = home(world, f"/members/{world.ids[actor]}")
        assert ask(world, actor, "PUT", own, {"role": "admin"}).status_code == 403
        assert ask(world, actor, "POST", home(world, "/invitations"), {"role": "viewer"}).status_code == 403
    assert ask(world, "admin", "POST", "/api/users/invitations").status_code == 403


def test_a_server_admin_is_made_by_invitation_and_the_last_one_stays(world: World) -> None:
    link = ask(world, "server admin", "POST", "/api/users/invitations").json()["link"]
    new = visitor(world)
    assert new.post(link, data={"name": "second", "password": PASSWORD}).status_code == 303
    assert new.get("/api/users").status_code == 200
    admins = [found for found in new.get("/api/users").json() if found["server_admin"]]
    mine = new.get("/api/me").json()["id"]
    for found in admins:
        if found["id"] != mine:
            assert new.post(f"/api/users/{found['id']}/disable").status_code == 200
    last = new.post(f"/api/users/{mine}/disable")
    assert last.status_code == 409 and "last administrator" in last.json()["error"]["message"]
    assert new.get("/api/users").status_code == 200


def test_a_server_admin_who_is_disabled_takes_open_invitations_along(world: World) -> None:
    with_right = ask(world, "server admin", "POST", "/api/users/invitations").json()["link"]
    world.store.write(lambda c: users.set_disabled(c, world.ids["server admin"], NOW))
    assert visitor(world).get(with_right).status_code == 410


def test_members_see_names_and_only_admins_see_roles(world: World) -> None:
    """A-45: an annotator learns the names in the own projects and nothing of anybody else."""
    seen = ask(world, "annotator", "GET", home(world, "/members")).json()
    assert {frozenset(found) for found in seen} == {frozenset({"user_id", "name"})}
    assert {found["name"] for found in seen} == {"viewer", "annotator", "reviewer", "admin", "spare"}
    full = ask(world, "admin", "GET", home(world, "/members")).json()
    assert {found["name"]: found["role"] for found in full}["reviewer"] == "reviewer"
    assert ask(world, "annotator", "GET", "/api/users").status_code == 403
    for text in (ask(world, "annotator", "GET", path).text for path in ("/api/me", "/api/projects")):
        assert "foreign" not in text and "outsider" not in text


def test_an_admin_of_one_project_cannot_find_accounts_by_trying_ids(world: World) -> None:
    """A-45: a stranger's id and one that never was get the same answer."""
    role = {"role": "viewer"}
    for unknown in (world.ids["outsider"], 999_999):
        answer = ask(world, "admin", "PUT", home(world, f"/members/{unknown}"), role)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"There is no user {unknown}."
    outsider = home(world, f"/members/{world.ids['outsider']}")
    assert ask(world, "server admin", "PUT", outsider, role).status_code == 200


def test_exports_are_for_reviewers(world: World) -> None:
    """A-46: an annotator gets no export, and an address of one shared gives nothing away."""
    for kind in ("coco", "csv"):
        path = home(world, f"/export/{kind}")
        for actor, status in (("annotator", 403), ("outsider", 404), ("nobody", 401), ("reviewer", 200)):
            assert ask(world, actor, "GET", path).status_code == status
        assert ask(world, "reviewer", "GET", path).headers["cache-control"] == "no-store"


def test_an_archived_project_is_kept_whole_and_comes_back(world: World) -> None:
    """A-47: the name typed, everything refused with words while it is away, everything there again after."""
    place = world.places["home"]
    answer = NewDecision(
        op_id="kept-answer", image_id=place.image_id, category_id=place.category_id, state=CellState.POSITIVE
    )
    world.app.state.actions.decide(place.project_id, [answer], world.ids["annotator"])
    wrong = ask(world, "admin", "POST", home(world, "/archive"), {"name": "Home"})
    assert wrong.status_code == 422
    assert ask(world, "reviewer", "POST", home(world, "/archive"), {"name": "home"}).status_code == 403
    assert ask(world, "admin", "POST", home(world, "/archive"), {"name": "home"}).status_code == 200
    late = {"op_id": "late-answer", "image_id": place.image_id, "category_id": place.category_id}
    refused = ask(
        world, "annotator", "POST", home(world, "/decisions"), {"decisions": [late | {"state": "negative"}]}
    )
    assert refused.status_code == 410 and '"home" is archived' in refused.json()["error"]["message"]
    assert ask(world, "annotator", "GET", f"/img/{place.image_id}").status_code == 410
    assert ask(world, "annotator", "GET", "/api/projects").json() == []
    away = ask(world, "annotator", "GET", "/api/projects?archived=true").json()
    assert place.project_id in [found["id"] for found in away] and "archived_at" in away[0]
    assert ask(world, "outsider", "POST", home(world, "/restore")).status_code == 404
    assert ask(world, "reviewer", "POST", home(world, "/restore")).status_code == 403
    assert ask(world, "admin", "POST", home(world, "/restore")).status_code == 200
    (category,) = ask(world, "annotator", "GET", home(world, "/categories")).json()
    assert category["positive"] == 1
    assert ask(world, "annotator", "GET", f"/img/{place.image_id}").status_code == 200


def test_administrative_acts_are_written_down_without_secrets(world: World) -> None:
    link = invite(world)
    visitor(world).post(link, data={"name": "mia", "password": PASSWORD})
    made = ask(world, "annotator", "POST", "/api/me/tokens", {"name": "script"}).json()
    ask(world, "annotator", "DELETE", f"/api/me/tokens/{made['id']}")
    spare = world.ids["spare"]
    ask(world, "admin", "PUT", home(world, f"/members/{spare}"), {"role": "reviewer"})
    ask(world, "admin", "DELETE", home(world, f"/members/{spare}"))
    ask(world, "server admin", "POST", f"/api/users/{spare}/reset")
    ask(world, "server admin", "POST", f"/api/users/{spare}/disable")
    ask(world, "server admin", "POST", f"/api/users/{spare}/enable")
    ask(world, "server admin", "POST", "/api/users/invitations")
    ask(world, "server admin", "POST", "/api/projects", {"name": "new"})
    ask(world, "admin", "POST", home(world, "/archive"), {"name": "home"})
    ask(world, "admin", "POST", home(world, "/restore"))
    seen = ask(world, "server admin", "GET", "/api/deeds").json()
    assert [found["action"] for found in reversed(seen)] == [
        "invite",
        "accept",
        "create_token",
        "revoke_token",
        "set_role",
        "remove",
        "reset",
        "disable",
        "enable",
        "invite_admin",
        "create_project",
        "archive",
        "restore",
    ]
    assert all(found["user_id"] is not None and found["at"] > 0 for found in seen)
    text = json.dumps(seen)
    assert made["token"] not in text and link.rsplit("/", 1)[1] not in text and PASSWORD not in text


def test_a_refused_act_leaves_no_deed(world: World) -> None:
    with world.store.read() as c:
        before = deeds.latest(c, 10)
    ask(world, "reviewer", "POST", home(world, "/invitations"), {"role": "viewer"})
    ask(world, "admin", "POST", home(world, "/archive"), {"name": "wrong"})
    with world.store.read() as c:
        assert deeds.latest(c, 10) == before


def test_a_link_cannot_be_used_twice_at_once(world: World) -> None:
    link = invite(world)
    secret = link.rsplit("/", 1)[1]
    with world.store.read() as c:
        assert invitations.find(c, secret) is not None
    assert world.store.write(lambda c: invitations.use(c, secret, world.ids["spare"], now=NOW))
    assert not world.store.write(lambda c: invitations.use(c, secret, world.ids["spare"], now=NOW))


def test_twins_of_a_name_are_refused(world: World) -> None:
    """A-28: capitals and ways to write an accent make no second person."""
    first = visitor(world)
    assert first.post(invite(world), data={"name": "Jos\u00e9", "password": PASSWORD}).status_code == 303
    for twin in ("JOS\u00c9", "jose\u0301", " jos\u00e9\n"):
        answer = visitor(world).post(invite(world), data={"name": twin, "password": OTHER_PASSWORD})
        assert answer.status_code == 409, twin


@pytest.fixture
def plain_app(store: Store, public_settings: Settings) -> FastAPI:
    from annotator.api.app import create_app

    return create_app(store, public_settings.model_copy(update={"insecure_http": False}))


def test_passwords_are_taken_over_https_only_unless_told_otherwise(plain_app: FastAPI, world: World) -> None:
    """A-48: a stranger's machine with plain HTTP is refused before the password is looked at."""
    data = {"secret": plain_app.state.first_run_secret, "password": PASSWORD}
    plain = TestClient(plain_app, base_url=BASE, follow_redirects=False)
    refused = plain.post("/setup", data=data)
    assert refused.status_code == 403 and "https only" in refused.text
    assert plain.post("/login", data={"name": "a", "password": PASSWORD}).status_code == 403
    secure = TestClient(plain_app, base_url="https://192.168.1.4", follow_redirects=False)
    done = secure.post("/setup", data=data)
    assert done.status_code == 303 and "secure" in done.headers["set-cookie"].lower()
    assert "Not encrypted" in visitor(world).get("/login").text
    assert "Not encrypted" not in secure.get("/login").text
    local = TestClient(plain_app, base_url=BASE, follow_redirects=False, client=("127.0.0.1", 50000))
    assert local.post("/login", data={"name": "owner", "password": PASSWORD}).status_code == 303


def test_a_token_of_an_administrator_opens_no_account(world: World) -> None:
    """It must not make more of itself: a link for a new password, or for somebody new, would."""
    world.headers["token"] = bearer(world.store, world.ids["server admin"])
    own = world.ids["server admin"]
    for path in (
        f"/api/users/{own}/reset",
        f"/api/users/{world.ids['viewer']}/reset",
        "/api/users/invitations",
        home(world, "/invitations"),
    ):
        body = {"role": "viewer"} if path.startswith("/api/projects") else None
        refused = ask(world, "token", "POST", path, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_allowed"), path
        assert ask(world, "server admin", "POST", path, body).status_code == 201
    assert ask(world, "token", "GET", "/api/users").status_code == 200
