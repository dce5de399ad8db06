"""Accounts as they cross rooms: roles, people, invitations, tokens, and what was done.

Times are integer milliseconds since 1970 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """What somebody may do in one project; each role may do all that those below it may."""

    ADMIN = "admin"  # also: pictures, trainings, roll-back, archive, members
    REVIEWER = "reviewer"  # also: conflicts of others, import of labels, exports
    ANNOTATOR = "annotator"  # also: answers, new categories
    VIEWER = "viewer"  # reads

    def reaches(self, least: Role) -> bool:
        """True when this role may do what `least` may."""
        return _RANK[self] >= _RANK[least]


_RANK = {Role.VIEWER: 0, Role.ANNOTATOR: 1, Role.REVIEWER: 2, Role.ADMIN: 3}


class Grant(StrEnum):
    """What an invitation gives; the first four are the roles of a project."""

    ADMIN = "admin"
    REVIEWER = "reviewer"
    ANNOTATOR = "annotator"
    VIEWER = "viewer"
    SERVER_ADMIN = "server_admin"  # an account that may do everything
    RESET = "reset"  # a new password for the account it was made for


@dataclass(frozen=True, kw_only=True)
class User:
    """An account. `has_password` is False until somebody has chosen one."""

    id: int
    name: str
    is_admin: bool
    disabled_at: int | None
    created_at: int
    has_password: bool


@dataclass(frozen=True, kw_only=True)
class Member:
    """A user in a project."""

    user_id: int
    name: str
    role: Role
    created_at: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a user stands to a project that exists; `role` is None for somebody who must not know of it."""

    project_id: int
    project_name: str
    archived: bool
    role: Role | None


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """A link that may be used once; `used_by` of a reset is the account it was made for."""

    project_id: int | None
    grant: Grant
    created_by: int
    created_at: int
    expires_at: int
    used_at: int | None
    used_by: int | None


@dataclass(frozen=True, kw_only=True)
class OpenInvitation:
    """A link that can still be used, as lists show it.

    `name` is the beginning of the digest of its secret: enough to say which one, and of no use to open it.
    `account` is who a reset was made for; `counts` is False while nobody could take it: who made it may not
    make such links now, or the project is archived.
    """

    name: str
    grant: Grant
    project_id: int | None
    project_name: str | None
    account: str | None
    created_by: int
    made_by: str
    created_at: int
    expires_at: int
    counts: bool = True


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A new invitation with its secret, which nothing can show a second time."""

    secret: str = field(repr=False)
    expires_at: int

    @property
    def path(self) -> str:
        """Address of the page that takes the invitation, without the server's name."""
        return f"/invite/{self.secret}"


@dataclass(frozen=True, kw_only=True)
class ApiToken:
    """A program's key to an account, without the key itself."""

    id: int
    user_id: int
    name: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, kw_only=True)
class Deed:
    """One administrative thing that somebody did."""

    id: int
    at: int
    user_id: int | None
    action: str
    project_id: int | None
    detail: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Me:
    """An account as its owner sees it: the roles by project id, every project of a server admin as admin."""

    user: User
    roles: dict[int, Role]
