"""Who may call which route: one table, asked by the guard before a body is read or a handler runs.

A route that is not in the table is refused to everybody; `docs/operations.md` says the same in words.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from fastapi import Request
from starlette.routing import compile_path
from starlette.types import Scope

from annotator.actions.rights import Rights
from annotator.errors import BadInput, NotAllowed, NotFound
from annotator.people import Role

_log = logging.getLogger(__name__)


class Kind(Enum):
    """What a need is about."""

    OPEN = auto()  # anybody, also without an account
    SIGNED_IN = auto()
    PROJECT = auto()  # a role in the project that `{project_id}` names
    IMAGE = auto()  # a role in the project of the image that `{image_id}` names
    SERVER = auto()  # a server admin


@dataclass(frozen=True)
class Need:
    """What a caller needs; `archived` says that the route also works on a project that was put away.

    `in_person` refuses tokens: a stolen one must not be able to make more of itself.
    """

    kind: Kind
    role: Role = Role.VIEWER
    archived: bool = False
    in_person: bool = False


OPEN = Need(Kind.OPEN)
SIGNED_IN = Need(Kind.SIGNED_IN)
IN_PERSON = Need(Kind.SIGNED_IN, in_person=True)
SERVER_ADMIN = Need(Kind.SERVER)
VIEWER = Need(Kind.PROJECT, Role.VIEWER)
ANNOTATOR = Need(Kind.PROJECT, Role.ANNOTATOR)
REVIEWER = Need(Kind.PROJECT, Role.REVIEWER)
ADMIN = Need(Kind.PROJECT, Role.ADMIN)

_P = "/api/projects/{project_id}"

TABLE: Mapping[tuple[str, str], Need] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/login"): OPEN,
    ("POST", "/login"): OPEN,
    ("GET", "/setup"): OPEN,
    ("POST", "/setup"): OPEN,
    ("GET", "/invite/{secret}"): OPEN,
    ("POST", "/invite/{secret}"): OPEN,
    ("POST", "/logout"): SIGNED_IN,
    # one's own account
    ("GET", "/api/me"): SIGNED_IN,
    ("POST", "/api/me/password"): IN_PERSON,
    ("GET", "/api/me/tokens"): SIGNED_IN,
    ("POST", "/api/me/tokens"): IN_PERSON,
    ("DELETE", "/api/me/tokens/{token_id}"): SIGNED_IN,
    # the server
    ("GET", "/api/health"): SIGNED_IN,
    ("GET", "/api/users"): SERVER_ADMIN,
    ("POST", "/api/users/invitations"): Need(Kind.SERVER, in_person=True),
    ("GET", "/api/users/invitations"): SERVER_ADMIN,
    ("DELETE", "/api/users/invitations/{invitation}"): SERVER_ADMIN,
    ("POST", "/api/users/{user_id}/disable"): SERVER_ADMIN,
    ("POST", "/api/users/{user_id}/enable"): SERVER_ADMIN,
    ("POST", "/api/users/{user_id}/reset"): Need(Kind.SERVER, in_person=True),
    ("GET", "/api/deeds"): SERVER_ADMIN,
    ("GET", "/api/projects"): SIGNED_IN,  # lists one's own
    ("POST", "/api/projects"): SERVER_ADMIN,
    # a project and its people
    ("GET", _P + "/members"): Need(Kind.PROJECT, Role.VIEWER, archived=True),
    ("PUT", _P + "/members/{user_id}"): Need(Kind.PROJECT, Role.ADMIN, archived=True),
    ("DELETE", _P + "/members/{user_id}"): Need(Kind.PROJECT, Role.ADMIN, archived=True),
    ("POST", _P + "/invitations"): Need(Kind.PROJECT, Role.ADMIN, in_person=True),
    ("GET", _P + "/invitations"): Need(Kind.PROJECT, Role.ADMIN, archived=True),
    ("DELETE", _P + "/invitations/{invitation}"): Need(Kind.PROJECT, Role.ADMIN, archived=True),
    ("POST", _P + "/archive"): ADMIN,
    ("POST", _P + "/restore"): Need(Kind.PROJECT, Role.ADMIN, archived=True),
    ("POST", _P + "/purge"): Need(Kind.SERVER, in_person=True),
    # categories
    ("GET", _P + "/categories"): VIEWER,
    ("POST", _P + "/categories"): ANNOTATOR,
    ("GET", _P + "/categories/archived"): VIEWER,
    ("PUT", _P + "/categories/order"): REVIEWER,
    ("PATCH", _P + "/categories/{category_id}"): REVIEWER,
    ("POST", _P + "/categories/{category_id}/archive"): ADMIN,
    ("POST", _P + "/categories/{category_id}/restore"): ADMIN,
    ("POST", _P + "/categories/{category_id}/merge"): ADMIN,
    # questions and answers
    ("GET", _P + "/deck"): VIEWER,
    ("GET", _P + "/grid"): VIEWER,
    ("GET", _P + "/images/{image_id}"): VIEWER,
    ("GET", _P + "/images/{image_id}/history"): VIEWER,
    ("GET", _P + "/images/{image_id}/attention/{category_id}"): VIEWER,
    ("POST", _P + "/decisions"): ANNOTATOR,
    ("GET", "/img/{image_id}"): Need(Kind.IMAGE, Role.VIEWER),
    # learning
    ("GET", _P + "/status"): VIEWER,
    ("POST", _P + "/retrain"): ADMIN,
    ("POST", _P + "/cancel"): ADMIN,
    ("GET", _P + "/generations"): VIEWER,
    ("POST", _P + "/generations/{generation_id}/use"): ADMIN,
    # files
    ("GET", _P + "/export/{kind}"): Need(Kind.PROJECT, Role.REVIEWER, archived=True),
    ("POST", _P + "/labels"): REVIEWER,
}


@dataclass(frozen=True)
class Judged:
    """The entry of the table that an address matches, with the parts of the address that stand for values."""

    template: str | None  # None: no entry, so the page behind the guard or nothing
    need: Need
    values: Mapping[str, str]


def _compiled() -> list[tuple[str, re.Pattern[str], str, Need]]:
    """Entries with fixed parts before those with values, as `/categories/order` before `/categories/7`."""
    rows = [(method, compile_path(path)[0], path, need) for (method, path), need in TABLE.items()]
    return sorted(rows, key=lambda row: row[2].count("{"))


_COMPILED = _compiled()


def judge(scope: Scope) -> Judged:
    """The entry for a request; whatever no entry matches needs an account and finds no route of ours."""
    method, path = scope.get("method"), scope["path"]
    for wanted, pattern, template, need in _COMPILED:
        found = pattern.fullmatch(path) if method == wanted else None
        if found is not None:
            return Judged(template, need, found.groupdict())
    return Judged(None, SIGNED_IN, {})


def methods(path: str) -> list[str]:
    """The methods that entries of the table have for a path; none when there is nothing at it."""
    return sorted(method for method, pattern, _, _ in _COMPILED if pattern.fullmatch(path))


def check(rights: Rights, judged: Judged, user_id: int, *, by_token: bool = False) -> None:
    """Raise NotFound, NotAllowed or Gone when the caller's rights do not reach; BadInput for an odd id."""
    need = judged.need
    if need.kind is Kind.PROJECT:
        rights.need(user_id, _id(judged, "project_id"), need.role, archived=need.archived)
    elif need.kind is Kind.IMAGE:
        rights.need_for_image(user_id, _id(judged, "image_id"), need.role)
    elif need.kind is Kind.SERVER:
        rights.need_admin(user_id)
    if need.in_person and by_token:  # last: what a token's person may not see stays unseen
        raise NotAllowed("A token cannot do this; sign in with the password.")


def _id(judged: Judged, name: str) -> int:
    text = judged.values[name]
    if not (text.isascii() and text.isdecimal()):
        raise BadInput(f"path.{name}: an id is written in digits.")
    if len(text) > 19:
        raise NotFound(f"There is no such {name.removesuffix('_id')}.")
    return int(text)


async def confirmed(request: Request) -> None:
    """Dependency of every route: refuse one that is not the very entry the guard has judged.

    This is what makes the table deny by default: a new route without an entry answers nobody.
    """
    judged = request.scope["state"].get("judged")
    template = getattr(request.scope.get("route"), "path", None)
    if judged is None or template is None or judged.template != template:
        _log.error("%s %s is not in the table of annotator/api/permissions.py", request.method, template)
        raise NotFound("There is nothing at this address.")
