"""Open invitations: who sees which, and what a withdrawn link still does, which is nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from annotator.actions import inviting
from annotator.people import Grant, Role
from annotator.store import Store, deeds, invitations, members
from annotator.store.secret import digest
from tests.annotator.api.people import BASE, NOW, PASSWORD, World, ask, bearer

WEEK_MS = 7 * 24 * 3600 * 1000
ALL = "/api/users/invitations"


def of(world: World, place: str = "home") -> str:
    return f"/api/projects/{world.places[place].project_id}/invitations"


def made(world: World, actor: str = "admin", place: str = "home", role: str = "annotator") -> str:
    """The link of a new invitation."""
    answer = ask(world, actor, "POST", of(world, place), {"role": role})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["link"])


def listed(world: World, actor: str, path: str) -> list[dict[str, Any]]:
    answer = ask(world, actor, "GET", path)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def name_of(link: str) -> str:
    return digest(link.removeprefix("/invite/"))[:12]


def visit(world: World, link: str) -> Any:
    return TestClient(world.app, base_url=BASE, follow_redirects=False).get(link)


def test_a_list_says_what_for_by_whom_and_until_when_and_never_the_secret(world: World) -> None:
    link = made(world, role="reviewer")
    (found,) = listed(world, "admin", of(world))
    home = world.places["home"]
    assert found == {
        "name": name_of(link),
        "grant": "reviewer",
        "project_id": home.project_id,
        "project": "home",
        "account": None,
        "made_by": {"id": world.ids["admin"], "name": "admin"},
        "created_at": found["created_at"],
        "expires_at": found["created_at"] + WEEK_MS,
        "counts": True,
    }
    secret = link.removeprefix("/invite/")
    told = json.dumps(found)
    assert secret not in told and digest(secret) not in told


def test_a_project_shows_its_own_and_the_server_all(world: World) -> None:
    mine, foreign = made(world), made(world, "foreign admin", "foreign")
    admin = ask(world, "server admin", "POST", ALL).json()["link"]
    reset = ask(world, "server admin", "POST", f"/api/users/{world.ids['spare']}/reset").json()["link"]
    assert [one["name"] for one in listed(world, "admin", of(world))] == [name_of(mine)]
    assert [one["name"] for one in listed(world, "foreign admin", of(world, "foreign"))] == [name_of(foreign)]
    everything = {one["name"]: one for one in listed(world, "server admin", ALL)}
    assert set(everything) == {name_of(link) for link in (mine, foreign, admin, reset)}
    assert everything[name_of(admin)]["grant"] == "server_admin"
    assert everything[name_of(reset)] | {"grant": "reset", "account": "spare"} == everything[name_of(reset)]
    assert [one["project"] for one in everything.values()].count(None) == 2


def test_a_used_and_an_old_link_are_not_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    used, old = made(world), made(world)
    guest = TestClient(world.app, base_url=BASE, follow_redirects=False)
    assert guest.post(used, data={"name": "mia", "password": PASSWORD}).status_code == 303
    assert [one["name"] for one in listed(world, "admin", of(world))] == [name_of(old)]
    assert ask(world, "admin", "DELETE", f"{of(world)}/{name_of(used)}").status_code == 404
    real = inviting.now_ms
    monkeypatch.setattr(inviting, "now_ms", lambda: real() + WEEK_MS + 1)
    assert listed(world, "admin", of(world)) == []
    assert ask(world, "admin", "DELETE", f"{of(world)}/{name_of(old)}").status_code == 404


def test_a_withdrawn_link_is_as_unknown_as_one_that_never_was(world: World) -> None:
    link, other = made(world), made(world)
    address = f"{of(world)}/{name_of(link)}"
    assert ask(world, "admin", "DELETE", address).json() == {
        "message": "The invitation is withdrawn; its link does not work any more."
    }
    never = "/invite/" + "x" * 43
    guest = TestClient(world.app, base_url=BASE, follow_redirects=False)
    form = {"name": "mia", "password": PASSWORD}
    for method in ("GET", "POST"):
        sent = form if method == "POST" else None
        withdrawn, unknown = (guest.request(method, path, data=sent) for path in (link, never))
        assert withdrawn.status_code == unknown.status_code == 404
        assert withdrawn.text == unknown.text
    assert ask(world, "admin", "DELETE", address).status_code == 404
    assert visit(world, other).status_code == 200
    assert [one["name"] for one in listed(world, "admin", of(world))] == [name_of(other)]


def test_a_withdrawal_is_written_down_once(world: World) -> None:
    link = made(world, role="viewer")
    for _ in range(2):
        ask(world, "server admin", "DELETE", f"{ALL}/{name_of(link)}")
    with world.store.read() as c:
        found = [deed for deed in deeds.latest(c, 50) if deed.action == "withdraw"]
    (deed,) = found
    assert deed.user_id == world.ids["server admin"]
    assert deed.project_id == world.places["home"].project_id
    assert deed.detail == {"invitation": name_of(link), "grant": "viewer"}


def test_an_admin_of_one_project_reaches_no_link_of_another(world: World) -> None:
    foreign = made(world, "foreign admin", "foreign")
    server = ask(world, "server admin", "POST", ALL).json()["link"]
    for link in (foreign, server):
        answer = ask(world, "admin", "DELETE", f"{of(world)}/{name_of(link)}")
        missing = ask(world, "admin", "DELETE", f"{of(world)}/{'0' * 12}")
        assert answer.status_code == missing.status_code == 404
        told = answer.json()["error"]["message"].replace(name_of(link), "#")
        assert told == missing.json()["error"]["message"].replace("0" * 12, "#")
        assert ask(world, "admin", "DELETE", f"{of(world, 'foreign')}/{name_of(link)}").status_code == 404
        assert visit(world, link).status_code == 200


def test_a_name_that_several_links_begin_with_ends_none_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = iter(["abcdef" + "0" * 58, "abcdef" + "1" * 58])
    with monkeypatch.context() as patch:
        patch.setattr(invitations, "digest", lambda _secret: next(digests))
        made(world), made(world)
    answer = ask(world, "admin", "DELETE", f"{of(world)}/abcdef")
    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == "2 open invitations begin with abcdef; give more of the name."
    assert len(listed(world, "admin", of(world))) == 2
    assert ask(world, "admin", "DELETE", f"{of(world)}/ABCDEF1").status_code == 200
    assert [one["name"] for one in listed(world, "admin", of(world))] == ["abcdef000000"]


@pytest.mark.parametrize("name", ["1", "abcde", "g" * 12, "a" * 65, "%", "______", "%27%20or%201", "null"])
def test_what_is_no_name_of_an_invitation_ends_nothing(world: World, name: str) -> None:
    made(world)
    answer = ask(world, "admin", "DELETE", f"{of(world)}/{name}")
    assert answer.status_code == 422 and "first 6 signs" in answer.text
    assert len(listed(world, "admin", of(world))) == 1


def test_a_link_whose_maker_lost_the_right_is_marked_and_can_be_withdrawn_before_it_counts_again(
    world: World,
) -> None:
    link, home = made(world), world.places["home"].project_id

    def give(role: Role) -> None:
        world.store.write(lambda c: members.put(c, home, world.ids["admin"], role, now=NOW))

    give(Role.REVIEWER)
    assert [one["counts"] for one in listed(world, "server admin", ALL)] == [False]
    assert ask(world, "server admin", "DELETE", f"{of(world)}/{name_of(link)}").status_code == 200
    give(Role.ADMIN)
    assert visit(world, link).status_code == 404


def test_links_of_an_archived_project_can_still_be_withdrawn(world: World) -> None:
    link = made(world)
    ask(world, "admin", "POST", of(world).replace("invitations", "archive"), {"name": "home"})
    assert [one["counts"] for one in listed(world, "admin", of(world))] == [False]
    assert visit(world, link).status_code == 410
    assert ask(world, "admin", "DELETE", f"{of(world)}/{name_of(link)}").status_code == 200
    ask(world, "admin", "POST", of(world).replace("invitations", "restore"))
    assert visit(world, link).status_code == 404


def test_a_link_that_is_taken_while_it_is_withdrawn_is_one_of_both(world: World) -> None:
    """The form was open when the link was withdrawn: no account, no role."""
    link = made(world)
    accounts = world.app.state.actions.accounts
    real = accounts.checked

    def meanwhile(name: str, password: str) -> Any:
        assert ask(world, "admin", "DELETE", f"{of(world)}/{name_of(link)}").status_code == 200
        return real(name, password)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "checked", meanwhile)
        guest = TestClient(world.app, base_url=BASE, follow_redirects=False)
        answer = guest.post(link, data={"name": "mia", "password": PASSWORD})
    assert answer.status_code == 404 and "set-cookie" not in answer.headers
    assert "mia" not in [one["name"] for one in ask(world, "server admin", "GET", "/api/users").json()]


def test_a_token_withdraws_as_its_person_does(world: World, store: Store) -> None:
    made(world)
    with store.read() as c:
        (found,) = invitations.open_ones(c, now=NOW)
    assert found.grant is Grant.ANNOTATOR
    assert ask(world, "annotator's token", "DELETE", f"{of(world)}/{found.name}").status_code == 403
    world.headers["admin's token"] = bearer(store, world.ids["admin"])
    assert ask(world, "admin's token", "DELETE", f"{of(world)}/{found.name}").status_code == 200
