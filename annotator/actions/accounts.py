"""Accounts as people use them: passwords, tokens, closing and opening.

Every method does all it says in one transaction, with a row in the list of deeds, or raises an
AnnotatorError and changes nothing. `by` is who asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection

from annotator.actions.passwords import Passwords
from annotator.actions.rights import need_admin_in
from annotator.errors import Conflict, NotAllowed
from annotator.people import ApiToken, Deed, Me, User
from annotator.store import Store, deeds, invitations, members, sessions, tokens, users
from annotator.store.clock import now_ms
from annotator.store.names import tidy_name

DAY_MS = 24 * 3600 * 1000
MOST_TOKENS = 100


@dataclass(frozen=True)
class Known:
    """An account whose password was given, and the hash it was compared with."""

    user_id: int
    digest: str = field(repr=False)


def still(c: Connection, known: Known) -> bool:
    """Whether the account is open and the password is still that one: comparing takes a while, unlocked."""
    is_open = users.get(c, known.user_id).disabled_at is None
    return is_open and users.get_password(c, known.user_id) == known.digest


class Accounts:
    """The people of a server. Thread-safe."""

    def __init__(self, store: Store, passwords: Passwords | None = None) -> None:
        self._store = store
        self._passwords = passwords or Passwords()

    def machine(self) -> int:
        """Who acts where nobody signs in: the oldest administrator, the owner on an untouched server."""
        with self._store.read() as c:
            found = users.first_admin(c)
        return self._store.write(lambda c: users.owner(c, now=now_ms())) if found is None else found

    def me(self, user_id: int) -> Me:
        """An account with its projects and roles."""
        with self._store.read() as c:
            return Me(user=users.get(c, user_id), roles=members.of_user(c, user_id))

    def users(self, by: int) -> list[User]:
        """Every account, for a server admin."""
        with self._store.read() as c:
            need_admin_in(c, by)
            return users.list_all(c)

    def deeds(self, by: int, limit: int) -> list[Deed]:
        """The newest administrative acts, for a server admin."""
        with self._store.read() as c:
            need_admin_in(c, by)
            return deeds.latest(c, limit)

    def checked(self, name: str, password: str) -> Known | None:
        """The account with this name and password; None for anything else, after comparable work.

        Whoever acts on it asks `still` in the transaction of the act.
        """
        with self._store.read() as c:
            user = users.by_name(c, name)
            digest = users.get_password(c, user.id) if user is not None else None
        right = self._passwords.matches(digest, password)
        if not right or user is None or digest is None or user.disabled_at is not None:
            return None
        return Known(user.id, digest)

    def first_password(self, password: str) -> int:
        """Set the password of the owner, once; Conflict when there is one."""
        hashed = self._passwords.hash(password)

        def work(c: Connection) -> int:
            owner = users.owner(c, now=now_ms())
            if users.get_password(c, owner) is not None:
                raise Conflict("The password is set already; sign in with it.")
            users.set_password(c, owner, hashed)
            deeds.add(c, "first_password", user_id=owner, now=now_ms())
            return owner

        return self._store.write(work)

    def change_password(self, user_id: int, old: str, new: str, *, keep: str | None) -> None:
        """Change one's own password and sign out every browser but the one with the session `keep`."""
        with self._store.read() as c:
            digest = users.get_password(c, user_id)
        if not self._passwords.matches(digest, old) or digest is None:
            raise NotAllowed("The old password is wrong.")
        known, hashed = Known(user_id, digest), self._passwords.hash(new)

        def work(c: Connection) -> None:
            if not still(c, known):
                raise NotAllowed("The old password is wrong.")
            users.set_password(c, user_id, hashed)
            sessions.delete_all(c, user_id, keep=keep)
            invitations.withdraw_resets(c, user_id, now=now_ms())
            deeds.add(c, "password", user_id=user_id, now=now_ms())

        self._store.write(work)

    def disable(self, by: int, user_id: int) -> None:
        """Close an account: its sessions and tokens end, its answers stay. Not the last server admin's."""

        def work(c: Connection) -> None:
            need_admin_in(c, by)
            user, now = users.get(c, user_id), now_ms()
            if user.is_admin and user.disabled_at is None and users.active_admins(c) == 1:
                raise Conflict("This is the last administrator of the server; make another one first.")
            if user.disabled_at is None:
                users.set_disabled(c, user_id, now)
                end_everything(c, user_id, now)
                deeds.add(c, "disable", user_id=by, now=now, account=user_id)

        self._store.write(work)

    def enable(self, by: int, user_id: int) -> None:
        """Open a closed account again; its old sessions and tokens stay ended."""

        def work(c: Connection) -> None:
            need_admin_in(c, by)
            if users.get(c, user_id).disabled_at is not None:
                users.set_disabled(c, user_id, None)
                deeds.add(c, "enable", user_id=by, now=now_ms(), account=user_id)

        self._store.write(work)

    def tokens(self, user_id: int) -> list[ApiToken]:
        """One's own tokens, without their secrets."""
        with self._store.read() as c:
            return tokens.of_user(c, user_id)

    def create_token(self, user_id: int, name: str, days: int | None) -> tuple[ApiToken, str]:
        """A new token, valid for `days` or until it is revoked, and its secret, which is shown this once."""

        def work(c: Connection) -> tuple[ApiToken, str]:
            now = now_ms()
            tidy = tidy_name(name, "token")
            if users.get(c, user_id).disabled_at is not None:
                raise NotAllowed("This account is disabled.")
            if len(tokens.of_user(c, user_id)) >= MOST_TOKENS:
                raise Conflict(f"There are {MOST_TOKENS} tokens already; revoke one first.")
            expires = None if days is None else now + days * DAY_MS
            made, secret = tokens.create(c, user_id, tidy, expires_at=expires, now=now)
            deeds.add(c, "create_token", user_id=user_id, now=now, token=made.id)
            return made, secret

        return self._store.write(work)

    def revoke_token(self, user_id: int, token_id: int) -> None:
        """End one of one's own tokens; NotFound for anybody else's."""

        def work(c: Connection) -> None:
            tokens.revoke(c, user_id, token_id, now=now_ms())
            deeds.add(c, "revoke_token", user_id=user_id, now=now_ms(), token=token_id)

        self._store.write(work)


def end_everything(c: Connection, user_id: int, now: int) -> None:
    """End what opens an account: every session, token and link for a new password."""
    sessions.delete_all(c, user_id)
    tokens.revoke_all(c, user_id, now=now)
    invitations.withdraw_resets(c, user_id, now=now)
