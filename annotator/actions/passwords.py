"""Argon2 hashes: how they are made, compared, and compared for people who do not exist."""

from __future__ import annotations

import logging
import secrets
import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from annotator.errors import BadInput

_log = logging.getLogger(__name__)

PASSWORD_LENGTH = (10, 1000)


class Passwords:
    """Makes and checks hashes, two at a time at most: one takes 64 MB. Thread-safe."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._hashing = threading.BoundedSemaphore(2)
        self._lock = threading.Lock()
        self._dummy: str | None = None

    def hash(self, password: str) -> str:
        """The hash to keep; BadInput for a password of an unusable length."""
        shortest, longest = PASSWORD_LENGTH
        if not shortest <= len(password) <= longest:
            raise BadInput(
                f"The password needs {shortest} to {longest} characters; this one has {len(password)}."
            )
        return self._hash(password)

    def matches(self, digest: str | None, password: str) -> bool:
        """Whether a password belongs to a hash. Without one, or one too long: no, after the same work."""
        if digest is None or len(password) > PASSWORD_LENGTH[1]:
            self._verify(self._nobody(), password)
            return False
        return self._verify(digest, password)

    def _verify(self, digest: str, password: str) -> bool:
        with self._hashing:
            try:
                return bool(self._hasher.verify(digest, password.encode("utf-8", "surrogatepass")))
            except VerifyMismatchError:
                return False
            except InvalidHashError:
                _log.error("the stored password hash is not readable")
                return False

    def _nobody(self) -> str:
        """The hash of a password that nobody has, made when it is first needed."""
        with self._lock:
            if self._dummy is None:
                self._dummy = self._hash(secrets.token_urlsafe(32))
            return self._dummy

    def _hash(self, password: str) -> str:
        with self._hashing:
            try:
                return self._hasher.hash(password)
            except UnicodeEncodeError as error:
                raise BadInput("The password holds a character that is no text.") from error
