"""Invitations: a link that makes an account, gives a role, or lets somebody choose a new password, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from annotator.actions.accounts import Accounts, end_everything, still
from annotator.actions.passwords import Passwords
from annotator.actions.rights import need_admin_in, need_in
from annotator.errors import BadInput, Conflict, Gone, NotAllowed, NotFound
from annotator.people import Grant, Invitation, Offer, OpenInvitation, Role
from annotator.store import Store, deeds, invitations, members, projects, users
from annotator.store.clock import now_ms

INVITATION_MS = 7 * 24 * 3600 * 1000

Work = Callable[[Connection, int], str]  # a transaction at a time, giving the secret of an invitation


class Inviting:
    """One transaction and one deed per method. Thread-safe."""

    def __init__(self, store: Store, accounts: Accounts, passwords: Passwords) -> None:
        self._store = store
        self._accounts = accounts
        self._passwords = passwords

    def invite(self, by: int, project_id: int, role: Role) -> Offer:
        """A link that gives whoever opens it a role in a project, never above the role of who made it."""

        def work(c: Connection, now: int) -> str:
            need_in(c, by, project_id, Role.ADMIN)
            deeds.add(c, "invite", user_id=by, now=now, project_id=project_id, role=role.value)
            return invitations.create(
                c, Grant(role.value), project_id=project_id, created_by=by, ttl_ms=INVITATION_MS, now=now
            )

        return self._offer(work)

    def invite_admin(self, by: int) -> Offer:
        """A link that makes another administrator of the server."""

        def work(c: Connection, now: int) -> str:
            need_admin_in(c, by)
            deeds.add(c, "invite_admin", user_id=by, now=now)
            return invitations.create(c, Grant.SERVER_ADMIN, created_by=by, ttl_ms=INVITATION_MS, now=now)

        return self._offer(work)

    def reset(self, by: int, user_id: int) -> Offer:
        """A link with which a user chooses a new password; the links made for this before are void."""

        def work(c: Connection, now: int) -> str:
            need_admin_in(c, by)
            if users.get(c, user_id).disabled_at is not None:
                raise Conflict(f"The account {user_id} is disabled; enable it first.")
            invitations.withdraw_resets(c, user_id, now=now)
            deeds.add(c, "reset", user_id=by, now=now, account=user_id)
            return invitations.create(
                c, Grant.RESET, user_id=user_id, created_by=by, ttl_ms=INVITATION_MS, now=now
            )

        return self._offer(work)

    def open_ones(self, by: int, project_id: int | None = None) -> list[OpenInvitation]:
        """Links that can still be used, newest first: of a project for its admins, all for a server admin."""
        with self._store.read() as c:
            _need_to_invite(c, by, project_id, archived=True)
            found = invitations.open_ones(c, now=now_ms(), project_id=project_id)
            return [replace(one, counts=_counts(c, one)) for one in found]

    def withdraw(self, by: int, name: str, project_id: int | None = None) -> None:
        """End an open link, so that it is as unknown as one that never was.

        `name` is that of the list or enough of its beginning. NotFound when there is none (any more), also
        for one of another project than `project_id`; Conflict when several begin so.
        """

        def work(c: Connection) -> None:
            _need_to_invite(c, by, project_id, archived=True)
            now = now_ms()
            found = invitations.withdraw(c, name, now=now, project_id=project_id)
            detail = {"invitation": found.name, "grant": found.grant.value}
            deeds.add(c, "withdraw", user_id=by, now=now, project_id=found.project_id, **detail)

        self._store.write(work)

    def invitation(self, secret: str) -> tuple[Invitation, str]:
        """A usable invitation and what it is for; NotFound for an unknown, Gone for a used or old one."""
        with self._store.read() as c:
            found = _usable(c, secret, now_ms())
            return found, _purpose(c, found)

    def accept(self, secret: str, name: str, password: str) -> int:
        """Take an invitation; returns the account.

        A reset sets the password of its account and ignores `name`. Otherwise a new account is made, or, when
        the name is taken and the password is that account's, this account gets the role as well.
        """
        found, _ = self.invitation(secret)
        if found.grant is Grant.RESET:
            return self._accept_reset(secret, self._passwords.hash(password))
        known = self._accounts.checked(name, password)
        hashed = None if known is not None else self._passwords.hash(password)

        def work(c: Connection) -> int:
            now = now_ms()
            fresh = _usable(c, secret, now)
            is_admin = fresh.grant is Grant.SERVER_ADMIN
            if known is not None and not still(c, known):
                raise Conflict("The account has changed at this moment; give its password again.")
            user_id = known.user_id if known else _new_account(c, name, hashed, is_admin=is_admin, now=now)
            if is_admin:
                users.set_admin(c, user_id)
            else:
                _join(c, fresh, user_id, now)
            _use(c, secret, user_id, now)
            deeds.add(
                c, "accept", user_id=user_id, now=now, project_id=fresh.project_id, grant=fresh.grant.value
            )
            return user_id

        return self._store.write(work)

    def _offer(self, work: Work) -> Offer:
        now = now_ms()
        return Offer(secret=self._store.write(lambda c: work(c, now)), expires_at=now + INVITATION_MS)

    def _accept_reset(self, secret: str, hashed: str) -> int:
        def work(c: Connection) -> int:
            now = now_ms()
            user_id = _usable(c, secret, now).used_by
            assert user_id is not None, "a reset is made for an account"
            _use(c, secret, user_id, now)
            users.set_password(c, user_id, hashed)
            end_everything(c, user_id, now)
            deeds.add(c, "accept", user_id=user_id, now=now, grant=Grant.RESET.value)
            return user_id

        return self._store.write(work)


def _usable(c: Connection, secret: str, now: int) -> Invitation:
    """The invitation behind a secret while it counts: who made it must still be allowed to."""
    found = invitations.find(c, secret)
    if found is None:
        raise NotFound("There is no such invitation; ask for a new link.")
    if found.used_at is not None:
        raise Gone("This invitation was used already; ask for a new link.")
    if found.expires_at <= now:
        raise Gone("This invitation has run out; ask for a new link.")
    try:
        _need_to_invite(c, found.created_by, found.project_id)
    except (NotFound, NotAllowed) as error:
        raise Gone("This invitation does not count any more; ask for a new link.") from error
    account = found.used_by if found.grant is Grant.RESET else None
    if account is not None and users.get(c, account).disabled_at is not None:
        raise Gone("This account is disabled; ask whoever runs the server.")
    return found


def _counts(c: Connection, found: OpenInvitation) -> bool:
    try:
        _need_to_invite(c, found.created_by, found.project_id)
    except (NotFound, NotAllowed, Gone):
        return False
    return True


def _need_to_invite(c: Connection, by: int, project_id: int | None, *, archived: bool = False) -> None:
    if project_id is None:
        need_admin_in(c, by)
    else:
        need_in(c, by, project_id, Role.ADMIN, archived=archived)


def _purpose(c: Connection, found: Invitation) -> str:
    if found.grant is Grant.RESET and found.used_by is not None:
        return f'Choose a new password for "{users.get(c, found.used_by).name}".'
    if found.project_id is None:
        return "You are invited to administer this server."
    return f'You are invited to the project "{projects.get(c, found.project_id).name}" as {found.grant}.'


def _new_account(c: Connection, name: str, hashed: str | None, *, is_admin: bool, now: int) -> int:
    if hashed is None:
        raise BadInput("An account needs a password.")
    try:
        return users.create(c, name, hashed, is_admin=is_admin, now=now).id
    except Conflict as error:
        raise Conflict(
            f"{error} Choose another, or give the password of that account if it is yours."
        ) from error


def _join(c: Connection, found: Invitation, user_id: int, now: int) -> None:
    assert found.project_id is not None, "only a server admin is invited without a project"
    role = Role(found.grant.value)
    has = members.role(c, found.project_id, user_id)
    if has is None or not has.reaches(role):
        members.put(c, found.project_id, user_id, role, now=now)


def _use(c: Connection, secret: str, user_id: int, now: int) -> None:
    if not invitations.use(c, secret, user_id, now=now):
        raise Gone("This invitation was used already; ask for a new link.")
