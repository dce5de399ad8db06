"""Who is asking: one owner, a one-time secret on the first run, a password, sessions."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from annotator.api.errors import NotSignedIn, TooManyAttempts
from annotator.api.rules import sign_in_required
from annotator.errors import BadInput, Conflict, NotAllowed
from annotator.settings import Settings
from annotator.store import Store, sessions, users
from annotator.store.clock import now_ms

_log = logging.getLogger(__name__)

COOKIE = "annotator_session"
SESSION_MS = 30 * 24 * 3600 * 1000
PASSWORD_LENGTH = (10, 1000)
FREE_ATTEMPTS = 10
_REMEMBER_S = 30.0  # how long a session found in the store is not looked up again


class Throttle:
    """Wrong attempts per address: ten are free, then a pause that doubles up to an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, addresses: int = 10_000) -> None:
        self._clock = clock
        self._limit = addresses
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def attempt(self, address: str) -> None:
        """Count one attempt before it is judged; raise TooManyAttempts while the address has to wait."""
        with self._lock:
            count, until = self._wrong.get(address, (0, 0.0))
            wait = until - self._clock()
            if count >= FREE_ATTEMPTS and wait > 0:
                raise TooManyAttempts(int(wait) + 1)
            pause = min(3600.0, 30.0 * 2.0 ** min(20, max(0, count + 1 - FREE_ATTEMPTS)))
            self._wrong[address] = (count + 1, self._clock() + pause)
            self._wrong.move_to_end(address)
            while len(self._wrong) > self._limit:
                self._wrong.popitem(last=False)

    def right(self, address: str) -> None:
        """Forget the wrong attempts of an address."""
        with self._lock:
            self._wrong.pop(address, None)


class Gate:
    """Sign-in of the one owner. Thread-safe.

    `required` is False on a server that only this machine can reach: there everyone is the owner.
    `first_run_secret` is there until a password is set; the program that serves shows it on its console.
    """

    def __init__(
        self, store: Store, settings: Settings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._clock = clock
        self._hasher = PasswordHasher()
        self._hashing = threading.BoundedSemaphore(2)  # one hash takes 64 MB
        self._throttle = Throttle(clock)
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.required = sign_in_required(settings)
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

    def user_of(self, token: str) -> int | None:
        """The user of a session; None when it does not exist or has run out."""
        with self._lock:
            user_id, until = self._known.get(token, (0, 0.0))
            if until > self._clock():
                return user_id
        with self._store.read() as c:
            found = sessions.find(c, token, now=now_ms())
        if found is not None:
            with self._lock:
                self._known[token] = (found, self._clock() + _REMEMBER_S)
                while len(self._known) > 1000:
                    self._known.popitem(last=False)
        return found

    def setup(self, *, secret: str, password: str, address: str) -> str:
        """Set the first password with the one-time secret and return a session.

        Raises Conflict when a password exists already, NotAllowed for a wrong secret, BadInput for a password
        of an unusable length, TooManyAttempts.
        """
        if self.has_password() or self.first_run_secret is None:
            raise Conflict("The password is set already; sign in with it.")
        self._throttle.attempt(address)
        if not hmac.compare_digest(secret.strip().encode(), self.first_run_secret.encode()):
            raise NotAllowed("That is not the secret this server printed when it started.")
        shortest, longest = PASSWORD_LENGTH
        if not shortest <= len(password) <= longest:
            raise BadInput(
                f"The password needs {shortest} to {longest} characters; this one has {len(password)}."
            )
        with self._hashing:
            digest = self._hasher.hash(password)
        with self._lock:  # two people with the same secret: the second one comes too late
            if self.first_run_secret is None:
                raise Conflict("The password is set already; sign in with it.")
            self._store.write(lambda c: users.set_password(c, self._owner, digest))
            self.first_run_secret = None
        self._throttle.right(address)
        return self._open_session()

    def login(self, *, password: str, address: str) -> str:
        """Return a new session. Raises NotSignedIn for a wrong password, TooManyAttempts."""
        self._throttle.attempt(address)
        with self._store.read() as c:
            digest = users.get_password(c, self._owner)
        if digest is None or len(password) > PASSWORD_LENGTH[1] or not self._matches(digest, password):
            raise NotSignedIn("The password is wrong.")
        self._throttle.right(address)
        return self._open_session()

    def logout(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._known.pop(token, None)
        self._store.write(lambda c: sessions.delete(c, token))

    def _matches(self, digest: str, password: str) -> bool:
        with self._hashing:
            try:
                return bool(self._hasher.verify(digest, password))
            except VerifyMismatchError:
                return False
            except InvalidHashError:
                _log.error("the stored password hash is not readable")
                return False

    def _open_session(self) -> str:
        return self._store.write(lambda c: sessions.create(c, self._owner, ttl_ms=SESSION_MS, now=now_ms()))
