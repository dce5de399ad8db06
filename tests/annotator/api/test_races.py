"""What changes while a password is compared or a body is on its way (A-24), and many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import Message

from annotator.api import rules
from annotator.api.auth import COOKIE, Gate
from annotator.api.errors import NotSignedIn, TooManyAttempts
from annotator.api.sign_in import address_of
from annotator.api.throttle import EACH_AT_ONCE, Turns
from annotator.errors import AnnotatorError, NotAllowed
from annotator.people import Role
from annotator.store import Store, members, sessions, tokens, users
from annotator.store.clock import now_ms
from tests.annotator.api.people import LATER, NOW, PASSWORD, place

NEW_PASSWORD = "somebody else's choice"


class Slow(PasswordHasher):
    """Argon2 with small costs; `meanwhile` happens after a password was compared."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.meanwhile: Callable[[], object] | None = None

    def verify(self, digest: str | bytes, password: str | bytes) -> bool:
        try:
            return super().verify(digest, password)
        finally:
            act, self.meanwhile = self.meanwhile, None
            if act is not None:
                act()


@pytest.fixture
def hasher(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr("annotator.actions.passwords.PasswordHasher", lambda: made)
    return made


@pytest.fixture
def gate(hasher: Slow, public_app: FastAPI) -> Gate:
    found = public_app.state.gate
    assert isinstance(found, Gate)
    return found


@pytest.fixture
def mia(gate: Gate, hasher: Slow, store: Store) -> int:
    hashed = hasher.hash(PASSWORD)
    return store.write(lambda c: users.create(c, "mia", hashed, now=NOW)).id


def reset(gate: Gate, user_id: int) -> None:
    link = gate.actions.inviting.reset(gate.owner(), user_id)
    gate.actions.inviting.accept(link.secret, "", NEW_PASSWORD)


def test_a_password_replaced_while_it_is_compared_opens_no_session(
    gate: Gate, hasher: Slow, mia: int
) -> None:
    """Otherwise who knows the old one keeps a session for a month, whatever the new one is."""
    hasher.meanwhile = lambda: reset(gate, mia)
    with pytest.raises(NotSignedIn):
        gate.login(name="mia", password=PASSWORD, address="a")
    token = gate.login(name="mia", password=NEW_PASSWORD, address="a")
    assert gate.user_of(token) == mia


def test_an_account_closed_while_its_password_is_compared_gets_no_session_for_later(
    gate: Gate, hasher: Slow, mia: int, store: Store
) -> None:
    accounts = gate.actions.accounts
    hasher.meanwhile = lambda: accounts.disable(gate.owner(), mia)
    with pytest.raises(NotSignedIn):
        gate.login(name="mia", password=PASSWORD, address="a")
    accounts.enable(gate.owner(), mia)
    with store.read() as c:
        assert c.exec_driver_sql("SELECT count(*) FROM session").scalar_one() == 0


def test_two_changes_of_a_password_at_once_are_one(gate: Gate, hasher: Slow, mia: int) -> None:
    """Who knows the old password cannot undo the reset that locks them out."""
    hasher.meanwhile = lambda: reset(gate, mia)
    with pytest.raises(NotAllowed):
        gate.actions.accounts.change_password(mia, PASSWORD, "the thief's own choice", keep=None)
    assert gate.actions.accounts.checked("mia", NEW_PASSWORD) is not None


def test_an_invitation_is_not_taken_with_a_password_that_was_just_replaced(
    gate: Gate, hasher: Slow, mia: int, store: Store
) -> None:
    home = place(store, "home")
    link = gate.actions.inviting.invite(gate.owner(), home.project_id, Role.ADMIN)
    hasher.meanwhile = lambda: reset(gate, mia)
    with pytest.raises(AnnotatorError):
        gate.accept(secret=link.secret, name="mia", password=PASSWORD, address="a")
    with store.read() as c:
        assert members.role(c, home.project_id, mia) is None
    gate.accept(secret=link.secret, name="mia", password=NEW_PASSWORD, address="a")


def test_a_closed_account_gets_no_token_for_later(gate: Gate, mia: int) -> None:
    gate.actions.accounts.disable(gate.owner(), mia)
    with pytest.raises(NotAllowed):
        gate.actions.accounts.create_token(mia, "for later", None)


def send_slowly(app: FastAPI, path: str, body: bytes, token: str, meanwhile: Callable[[], object]) -> int:
    """POST JSON whose last byte comes after `meanwhile`; the status."""
    sent: list[Message] = []
    pieces = [body[:-1], body[-1:]]

    async def receive() -> Message:
        if not pieces:
            return {"type": "http.disconnect"}
        if len(pieces) == 1:
            await anyio.to_thread.run_sync(meanwhile)
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> None:
        headers = {
            "host": "192.168.1.4:7860",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "cookie": f"{COOKIE}={token}",
        }
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("192.168.1.9", 1),
            "server": ("192.168.1.4", 7860),
        }
        await app(scope, receive, send)

    anyio.run(ask)
    return int(sent[0]["status"])


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every wait for a body counts as a long one."""
    monkeypatch.setattr(rules, "JUDGED_FOR_S", -1.0)
    yield


@pytest.mark.usefixtures("slow")
def test_a_right_that_ends_while_the_body_is_on_its_way_is_not_used(
    gate: Gate, public_app: FastAPI, mia: int, store: Store
) -> None:
    """A body may take minutes; held back, it would carry a right beyond its end."""
    home = place(store, "home").project_id
    store.write(lambda c: members.put(c, home, mia, Role.ANNOTATOR, now=NOW))

    def fresh() -> str:
        return store.write(lambda c: sessions.create(c, mia, ttl_ms=LATER, now=now_ms()))

    path, body = f"/api/projects/{home}/categories", b'{"name": "dog"}'
    assert send_slowly(public_app, path, body, fresh(), lambda: None) == 200

    def demote() -> None:
        store.write(lambda c: members.put(c, home, mia, Role.VIEWER, now=NOW))

    def remove() -> None:
        store.write(lambda c: members.remove(c, home, mia))

    for change, status in ((demote, 403), (remove, 404)):
        store.write(lambda c: members.put(c, home, mia, Role.ANNOTATOR, now=NOW))
        assert send_slowly(public_app, path, b'{"name": "cow"}', fresh(), change) == status
    assert [view.category.name for view in gate.actions.categories(home)] == ["cat", "dog"]
    made = send_slowly(public_app, "/api/me/tokens", b'{"name": "kept"}', fresh(), lambda: reset(gate, mia))
    assert made == 401
    with store.read() as c:
        assert tokens.of_user(c, mia) == []


def test_a_few_sign_ins_of_one_address_are_judged_at_once_and_the_others_are_told_to_wait(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds a thread until its password is hashed; a hundred would hold all threads of the server."""
    seen: list[str] = []
    said: list[TooManyAttempts] = []

    def checked(name: str, password: str) -> None:
        """While this one is judged, the next one of the same address comes."""
        seen.append(name)
        try:
            gate.login(name=f"nobody {len(seen)}", password=password, address="a")
        except TooManyAttempts as refused:
            said.append(refused)
        except NotSignedIn:
            pass

    monkeypatch.setattr(gate.actions.accounts, "checked", checked)
    with pytest.raises(NotSignedIn):
        gate.login(name="nobody", password=PASSWORD, address="a")
    assert len(seen) == EACH_AT_ONCE
    assert len(said) == 1 and 0 < said[0].retry_after <= 5 and "wrong" not in str(said[0])
    assert gate.turns.now == 0, "every turn was given back"


def test_one_address_leaves_turns_to_the_others() -> None:
    turns = Turns(each=2, everybody=3)
    with ExitStack() as taken:
        taken.enter_context(turns.one("a"))
        taken.enter_context(turns.one("a"))
        with pytest.raises(TooManyAttempts), turns.one("a"):
            pass
        taken.enter_context(turns.one("b"))
        with pytest.raises(TooManyAttempts), turns.one("c"):
            pass
    with turns.one("c"):
        assert turns.now == 1
    assert turns.now == 0


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_whoever_has_many_addresses_is_counted_as_one(peer: str, address: str) -> None:
    """A home gets 2^64 addresses of IPv6: counted one by one, ten attempts each would be free."""
    assert address_of(Request({"type": "http", "headers": [], "client": (peer, 1)})) == address
