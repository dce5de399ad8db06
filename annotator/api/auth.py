"""Who is asking: accounts with passwords, sessions of browsers, tokens of programs."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from annotator.actions import Actions
from annotator.actions.accounts import Known, still
from annotator.api.errors import NotSignedIn
from annotator.api.rules import sign_in_required
from annotator.api.throttle import FREE_ATTEMPTS, Throttle, Turns
from annotator.errors import Conflict, NotAllowed, StoreError
from annotator.people import ApiToken
from annotator.settings import Settings
from annotator.store import Store, sessions, tokens, users
from annotator.store.clock import now_ms
from annotator.store.names import twin_key

__all__ = ["COOKIE", "FREE_ATTEMPTS", "SESSION_MS", "Caller", "Gate", "Throttle"]

_log = logging.getLogger(__name__)

COOKIE = "annotator_session"
_WRONG = "The name or the password is wrong."
SESSION_MS = 30 * 24 * 3600 * 1000
_NOTED_MS = 60_000  # the last use of a token is written once a minute at most


@dataclass(frozen=True)
class Caller:
    """Who sends a request, and whether a program's token says so."""

    user_id: int
    by_token: bool = False


class Gate:
    """Signs people in and knows them again. Thread-safe.

    `required` is False on a server that only this machine can reach, or that was told to have a single user:
    there everyone is the administrator. `first_run_secret` is there until the owner has a password; the
    program that serves shows it on its console.

    Nothing about a caller is remembered between requests: a closed account, a changed password or a revoked
    token counts at once, also when another process did it.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        actions: Actions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._throttle = Throttle(clock)
        self.turns = Turns()
        self._lock = threading.Lock()
        self._noted: dict[int, int] = {}
        self.actions = actions or Actions(store, settings)
        self.required = sign_in_required(settings)
        self.insecure_http = settings.insecure_http
        self._owner = store.write(lambda c: users.owner(c, now=now_ms()))
        secret = secrets.token_urlsafe(18)
        self.first_run_secret: str | None = secret if self.required and not self.has_password() else None

    def owner(self) -> int:
        """User id of the owner."""
        return self._owner

    def has_password(self) -> bool:
        """True once the owner has set a password."""
        with self._store.read() as c:
            return users.get_password(c, self._owner) is not None

    def caller(self, *, session: str | None, bearer: str | None) -> Caller | None:
        """Who is behind a request; a token counts alone, whatever cookie comes with it."""
        if bearer is not None:
            return self._by_token(bearer)
        if not self.required:
            return Caller(self.actions.accounts.machine())
        user_id = self.user_of(session) if session is not None else None
        return None if user_id is None else Caller(user_id)

    def user_of(self, token: str) -> int | None:
        """The user of a session; None when it does not exist, has run out, or the account is disabled."""
        with self._store.read() as c:
            return sessions.find(c, token, now=now_ms())

    def setup(self, *, secret: str, password: str, address: str) -> str:
        """Set the owner's first password with the one-time secret and return a session.

        Raises Conflict when a password exists already, NotAllowed for a wrong secret, BadInput for a password
        of an unusable length, TooManyAttempts.
        """
        expected = self.first_run_secret
        if self.has_password() or expected is None:
            raise Conflict("The password is set already; sign in with it.")
        with self._attempt("", address):
            if not hmac.compare_digest(_bytes(secret.strip()), expected.encode()):
                raise NotAllowed("That is not the secret this server printed when it started.")
            owner = self.actions.accounts.first_password(password)
            self.first_run_secret = None
        return self._open_session(owner)

    def login(self, *, name: str, password: str, address: str) -> str:
        """Return a new session. Raises NotSignedIn for a wrong name or password, TooManyAttempts."""
        with self._attempt(twin_key(name), address):
            known = self.actions.accounts.checked(name, password)
            if known is None:
                raise NotSignedIn(_WRONG)
            return self._open_session(known.user_id, known)

    def accept(self, *, secret: str, name: str, password: str, address: str) -> str:
        """Take an invitation and return a session; errors as `Inviting.accept`, and TooManyAttempts."""
        with self._attempt(twin_key(name), address):  # it may be a password tried for an existing name
            user_id = self.actions.inviting.accept(secret, name, password)
        return self._open_session(user_id)

    def change_password(self, user_id: int, *, old: str, new: str, keep: str | None, address: str) -> None:
        """Change one's own password and sign out every other browser; TooManyAttempts, else as `Accounts`."""
        with self._attempt(user_id, address):
            self.actions.accounts.change_password(user_id, old, new, keep=keep)

    def logout(self, token: str) -> None:
        """End a session."""
        self._store.write(lambda c: sessions.delete(c, token))

    @contextmanager
    def _attempt(self, account: str | int, address: str) -> Iterator[None]:
        """Judge one attempt: a turn of its own, counted before, forgotten when the block finds it right."""
        with self.turns.one(address):
            self._throttle.attempt((account, address))
            yield
            self._throttle.right((account, address))

    def _by_token(self, secret: str) -> Caller | None:
        now = now_ms()
        with self._store.read() as c:
            found = tokens.find(c, secret, now=now)
        if found is None:
            return None
        self._note(found, now)
        return Caller(found.user_id, by_token=True)

    def _note(self, token: ApiToken, now: int) -> None:
        with self._lock:
            if now - max(self._noted.get(token.id, 0), token.last_used_at or 0) < _NOTED_MS:
                return
            self._noted[token.id] = now
        try:
            self._store.write(lambda c: tokens.touch(c, token.id, now=now))
        except StoreError as error:  # a full disk must not lock out a program that only reads
            _log.warning("the use of token %d could not be noted: %s", token.id, error)

    def _open_session(self, user_id: int, known: Known | None = None) -> str:
        """A session, unless the account was closed or its password replaced while that was compared."""

        def work(c: Connection) -> str:
            if users.get(c, user_id).disabled_at is not None or (known is not None and not still(c, known)):
                raise NotSignedIn(_WRONG)
            return sessions.create(c, user_id, ttl_ms=SESSION_MS, now=now_ms())

        return self._store.write(work)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
