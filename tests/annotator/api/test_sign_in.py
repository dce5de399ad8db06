"""First sign-in, sign-in, sessions and wrong attempts."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from annotator.api.app import create_app
from annotator.api.auth import COOKIE, FREE_ATTEMPTS, Gate, Throttle
from annotator.api.errors import NotSignedIn, TooManyAttempts
from annotator.errors import BadInput, Conflict, NotAllowed
from annotator.settings import Settings
from annotator.store import Store

PASSWORD = "correct horse battery"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def set_up(app: FastAPI, client: TestClient) -> None:
    secret = app.state.first_run_secret
    answer = client.post("/setup", data={"secret": secret, "password": PASSWORD})
    assert answer.status_code == 303, answer.text


def test_a_loopback_server_needs_no_secret_and_no_form(app: FastAPI, client: TestClient) -> None:
    assert app.state.first_run_secret is None
    assert client.get("/login").headers["location"] == "/"
    assert client.get("/api/projects").status_code == 200


def test_a_person_opening_a_page_is_shown_the_form_and_a_program_gets_json(stranger: TestClient) -> None:
    page = stranger.get("/", headers={"Accept": "text/html,*/*"})
    assert page.status_code == 401
    assert 'action="/setup"' in page.text
    assert "script" not in page.text
    program = stranger.get("/", headers={"Accept": "application/json"})
    assert program.json()["error"]["code"] == "not_signed_in"


def test_the_printed_secret_sets_the_password_once_and_opens_a_session(
    public_app: FastAPI, stranger: TestClient
) -> None:
    secret = public_app.state.first_run_secret
    answer = stranger.post("/setup", data={"secret": secret, "password": PASSWORD})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "secure" not in cookie
    assert stranger.get("/api/projects").status_code == 200
    again = stranger.post("/setup", data={"secret": secret, "password": "another password"})
    assert again.status_code == 409


def test_the_cookie_is_secure_behind_tls(public_app: FastAPI) -> None:
    client = TestClient(public_app, base_url="https://192.168.1.4", follow_redirects=False)
    data = {"secret": public_app.state.first_run_secret, "password": PASSWORD}
    assert "secure" in client.post("/setup", data=data).headers["set-cookie"].lower()


@pytest.mark.parametrize("secret", ["", "wrong", "é"])
def test_set_up_without_the_secret_is_refused(stranger: TestClient, secret: str) -> None:
    answer = stranger.post("/setup", data={"secret": secret or " ", "password": PASSWORD})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_short_password_is_refused_and_the_secret_stays_good(
    public_app: FastAPI, stranger: TestClient
) -> None:
    short = stranger.post("/setup", data={"secret": public_app.state.first_run_secret, "password": "short"})
    assert short.status_code == 422
    set_up(public_app, stranger)


def test_a_restarted_server_has_no_new_secret_once_a_password_is_set(
    public_app: FastAPI, stranger: TestClient, store: Store, public_settings: Settings
) -> None:
    set_up(public_app, stranger)
    again = create_app(store, public_settings)
    assert again.state.first_run_secret is None
    fresh = TestClient(again, base_url="http://192.168.1.4:7860", follow_redirects=False)
    assert fresh.get("/setup").headers["location"] == "/login"
    assert fresh.post("/setup", data={"secret": "", "password": PASSWORD}).status_code in {409, 422}
    assert fresh.post("/login", data={"name": "owner", "password": PASSWORD}).status_code == 303
    assert fresh.get("/api/projects").status_code == 200


def test_signing_out_ends_the_session_for_a_copied_cookie_too(
    public_app: FastAPI, stranger: TestClient
) -> None:
    set_up(public_app, stranger)
    copied = stranger.cookies[COOKIE]
    assert stranger.post("/logout").headers["location"] == "/login"
    thief = TestClient(public_app, base_url="http://192.168.1.4:7860", cookies={COOKIE: copied})
    assert thief.get("/api/projects").status_code == 401


@pytest.mark.parametrize("token", ["", "x", "x" * 5000, "\u00e9", "a;b"])
def test_a_made_up_cookie_opens_nothing(stranger: TestClient, token: str) -> None:
    raw = f"{COOKIE}={token}".encode("latin-1", "replace")
    assert stranger.get("/api/projects", headers={"Cookie": raw}).status_code == 401


@pytest.mark.parametrize("other", ['shop={"items": 1}', "a b=c", "list[0]=x", "name=\u00e9", "{}", "="])
@pytest.mark.parametrize("before", [True, False])
def test_cookies_of_other_programs_on_this_name_sign_nobody_out(
    public_app: FastAPI, stranger: TestClient, other: str, before: bool
) -> None:
    """Cookies are shared between ports and parent names; whatever the others hold, ours is found."""
    set_up(public_app, stranger)
    ours = f"{COOKIE}={stranger.cookies[COOKIE]}"
    stranger.cookies.clear()
    raw = "; ".join([other, ours] if before else [ours, other]).encode("latin-1")
    assert stranger.get("/api/me", headers={"Cookie": raw}).status_code == 200


def test_ten_wrong_passwords_then_429_with_retry_after_even_for_the_right_one(
    public_app: FastAPI, stranger: TestClient
) -> None:
    set_up(public_app, stranger)
    stranger.cookies.clear()
    for _ in range(FREE_ATTEMPTS):
        wrong = stranger.post("/login", data={"name": "owner", "password": "wrong password"})
        assert wrong.status_code == 401
        assert "The name or the password is wrong." in wrong.text
    blocked = stranger.post("/login", data={"name": "owner", "password": PASSWORD})
    assert blocked.status_code == 429
    assert 1 <= int(blocked.headers["retry-after"]) <= 31


def test_the_name_stands_in_the_form_again_after_a_wrong_password(
    public_app: FastAPI, stranger: TestClient
) -> None:
    set_up(public_app, stranger)
    stranger.cookies.clear()
    first = stranger.get("/login").text
    assert 'required value="" autofocus>' in first
    again = stranger.post("/login", data={"name": 'A"><b>nn', "password": "wrong password"}).text
    assert 'value="A&quot;&gt;&lt;b&gt;nn">' in again
    assert 'autocomplete="current-password" required autofocus>' in again
    assert "wrong password" not in again


def test_a_wrong_attempt_makes_the_next_pause_longer_and_other_addresses_are_free() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    pauses = []
    for _ in range(FREE_ATTEMPTS):
        throttle.attempt("a")
    for _ in range(3):
        with pytest.raises(TooManyAttempts) as refused:
            throttle.attempt("a")
        pauses.append(refused.value.retry_after)
        clock.now += refused.value.retry_after
        throttle.attempt("a")
    assert pauses[0] < pauses[1] < pauses[2]
    throttle.attempt("b")


def test_the_throttle_forgets_after_a_right_attempt_and_stays_small() -> None:
    throttle = Throttle(Clock(), addresses=5)
    for _ in range(FREE_ATTEMPTS):
        throttle.attempt("a")
    throttle.right("a")
    throttle.attempt("a")
    for number in range(50):
        throttle.attempt(str(number))
    assert len(throttle._wrong) == 5


def test_only_a_hash_of_the_password_is_stored(store: Store, public_settings: Settings) -> None:
    gate = Gate(store, public_settings)
    gate.setup(secret=gate.first_run_secret or "", password=PASSWORD, address="a")
    assert PASSWORD.encode() not in public_settings.database.read_bytes()
    assert gate.has_password()
    with pytest.raises(NotSignedIn):
        gate.login(name="owner", password=PASSWORD + "x", address="a")
    with pytest.raises(Conflict):
        gate.setup(secret="anything", password=PASSWORD, address="a")


def test_a_session_runs_out(store: Store, public_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    gate = Gate(store, public_settings, clock=clock)
    token = gate.setup(secret=gate.first_run_secret or "", password=PASSWORD, address="a")
    assert gate.user_of(token) == gate.owner()
    later = 40 * 24 * 3600
    clock.now += later
    from annotator.api import auth

    real = auth.now_ms
    monkeypatch.setattr(auth, "now_ms", lambda: real() + later * 1000)
    assert gate.user_of(token) is None


def test_gate_names_what_is_wrong(store: Store, public_settings: Settings) -> None:
    gate = Gate(store, public_settings)
    with pytest.raises(NotAllowed, match="not the secret"):
        gate.setup(secret="x", password=PASSWORD, address="a")
    with pytest.raises(BadInput, match="10 to 1000 characters; this one has 3"):
        gate.setup(secret=gate.first_run_secret or "", password="abc", address="a")


def test_every_start_has_its_own_secret_and_writes_it_nowhere(
    store: Store, public_settings: Settings
) -> None:
    """A-05: nothing to leave in an image, to guess or to read from the disk."""
    secrets = [create_app(store, public_settings).state.first_run_secret for _ in range(5)]
    assert len(set(secrets)) == 5 and all(len(secret) >= 24 for secret in secrets)
    files = [path for path in public_settings.data_dir.rglob("*") if path.is_file()]
    assert not [path for path in files for secret in secrets if secret.encode() in path.read_bytes()]
