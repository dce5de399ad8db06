"""Wrong passwords: who is made to wait, who is not, and what a name that does not exist costs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from starlette.testclient import TestClient

from annotator.actions.passwords import PASSWORD_LENGTH, Passwords
from annotator.api import auth
from annotator.api.auth import FREE_ATTEMPTS, Gate
from annotator.api.errors import NotSignedIn, TooManyAttempts
from annotator.errors import BadInput
from annotator.settings import Settings
from annotator.store import Store, users
from tests.annotator.api.people import BASE, NOW, PASSWORD

NAMES = ("ann", "bob")


class Counting(PasswordHasher):
    """Argon2 with small costs that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified: list[str] = []

    def verify(self, digest: str | bytes, password: str | bytes) -> bool:
        self.verified.append(str(digest))
        return super().verify(digest, password)


@pytest.fixture
def hasher(monkeypatch: pytest.MonkeyPatch) -> Counting:
    made = Counting()
    monkeypatch.setattr("annotator.actions.passwords.PasswordHasher", lambda: made)
    return made


@pytest.fixture
def gate(hasher: Counting, store: Store, public_settings: Settings) -> Gate:
    for name in NAMES:
        hashed = hasher.hash(PASSWORD)
        store.write(lambda c, name=name, hashed=hashed: users.create(c, name, hashed, now=NOW))
    return Gate(store, public_settings, clock=lambda: 1000.0)


def outcome(gate: Gate, name: str, password: str = "wrong password", address: str = "a") -> str:
    try:
        gate.login(name=name, password=password, address=address)
    except TooManyAttempts:
        return "wait"
    except NotSignedIn as error:
        return str(error)
    return "in"


def test_a_thousand_wrong_passwords_are_judged_ten_times(gate: Gate, hasher: Counting) -> None:
    """A-04: after ten, nothing is even compared, and the right password does not help either."""
    said = [outcome(gate, "ann") for _ in range(1000)]
    assert said == ["The name or the password is wrong."] * FREE_ATTEMPTS + ["wait"] * (1000 - FREE_ATTEMPTS)
    assert len(hasher.verified) == FREE_ATTEMPTS
    assert outcome(gate, "ann", PASSWORD) == "wait"
    assert outcome(gate, "  ANN ", PASSWORD) == "wait", "another spelling is the same account"


def test_other_people_and_other_addresses_are_not_made_to_wait(gate: Gate) -> None:
    """A-04: somebody who is attacked from elsewhere, and everybody beside the attacker, gets in."""
    for _ in range(FREE_ATTEMPTS + 5):
        outcome(gate, "ann")
    assert outcome(gate, "bob", PASSWORD) == "in"
    assert outcome(gate, "ann", PASSWORD, address="b") == "in"


def test_a_name_that_does_not_exist_costs_and_says_the_same(
    gate: Gate, hasher: Counting, store: Store
) -> None:
    """A-04: one hash of the same cost is verified for a known, an unknown and a disabled name."""
    assert outcome(gate, "nobody at all") == outcome(gate, "ann")
    with store.read() as c:
        bob = users.by_name(c, "bob")
    assert bob is not None
    gate.actions.accounts.disable(gate.owner(), bob.id)
    assert outcome(gate, "bob", PASSWORD) == outcome(gate, "ann")
    assert len(hasher.verified) == 4
    assert len({digest.rsplit("$", 2)[0] for digest in hasher.verified}) == 1, "the same parameters"
    assert len(set(hasher.verified)) == 3, "ann's, bob's, and one that belongs to nobody"


def test_a_password_too_long_to_be_right_costs_the_same(gate: Gate, hasher: Counting) -> None:
    """Attempts that cost nothing would push the pauses of others out of the list of wrong attempts."""
    assert outcome(gate, "ann", "x" * (PASSWORD_LENGTH[1] + 1)) == outcome(gate, "nobody at all")
    assert len(hasher.verified) == 2


def test_an_account_without_a_password_lets_nobody_in(gate: Gate, store: Store) -> None:
    store.write(lambda c: users.create(c, "new", None, now=NOW))
    for password in ("", "None", "null", PASSWORD):
        assert outcome(gate, "new", password) == "The name or the password is wrong."


@pytest.mark.parametrize("name", ["", " ", "a" * 5000, "\x00", "\ud800", "ann\x00", "ann' OR 1=1 --", "%"])
def test_odd_names_are_only_wrong(gate: Gate, name: str) -> None:
    assert outcome(gate, name, PASSWORD) == "The name or the password is wrong."


def test_a_password_is_hashed_with_argon2_and_bounded() -> None:
    passwords = Passwords()
    for bad in ("x" * (PASSWORD_LENGTH[0] - 1), "x" * (PASSWORD_LENGTH[1] + 1), "\ud800" * 12):
        with pytest.raises(BadInput):
            passwords.hash(bad)
    digest = passwords.hash(PASSWORD)
    assert digest.startswith("$argon2id$") and passwords.matches(digest, PASSWORD)
    assert not passwords.matches(digest, PASSWORD + "x")
    assert not passwords.matches(digest, "\ud800" * 12)
    assert not passwords.matches("not a hash", PASSWORD)


@pytest.fixture
def guest(hasher: Counting, public_app: FastAPI) -> Iterator[TestClient]:
    with TestClient(public_app, base_url=BASE, follow_redirects=False) as made:
        yield made


def test_the_pause_is_told_in_a_header_and_grows(
    guest: TestClient, public_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [5000.0]
    monkeypatch.setattr(public_app.state.gate, "_throttle", auth.Throttle(lambda: clock[0]))
    waits = []
    for _ in range(FREE_ATTEMPTS + 6):
        answer = guest.post("/login", data={"name": "x", "password": "wrong password"})
        if answer.status_code == 429:
            waits.append(int(answer.headers["retry-after"]))
            clock[0] += waits[-1]
    assert len(waits) >= 3 and waits == sorted(waits) and len(set(waits)) == len(waits)
