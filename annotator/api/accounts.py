"""Routes about people: one's own account, the accounts of the server, the members of a project."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request

from annotator.api import shapes
from annotator.api.account_models import PasswordBody, ProjectBody, RoleBody, TokenBody
from annotator.api.guard import session_token
from annotator.api.models import PathId
from annotator.api.routes import actions_of, user_of
from annotator.api.sign_in import address_of, gate_of
from annotator.errors import NotAllowed
from annotator.people import ApiToken, Member, Offer, OpenInvitation, Role

router = APIRouter(prefix="/api")
_P = "/projects/{project_id}"
_WITHDRAWN = "The invitation is withdrawn; its link does not work any more."


@router.get("/me")
def me(request: Request) -> shapes.Json:
    """Who is signed in, and with which role in which project; `sign_in` is False where nobody has to."""
    found = actions_of(request).accounts.me(user_of(request))
    return {
        "id": found.user.id,
        "name": found.user.name,
        "server_admin": found.user.is_admin,
        "sign_in": gate_of(request).required,
        "roles": {str(project_id): role.value for project_id, role in sorted(found.roles.items())},
    }


@router.post("/me/password")
def change_password(request: Request, body: PasswordBody) -> shapes.Json:
    """Change one's own password; every other browser is signed out."""
    _person(request)
    gate_of(request).change_password(
        user_of(request),
        old=body.old,
        new=body.new,
        keep=session_token(request.scope),
        address=address_of(request),
    )
    return {"message": "The password is changed; every other browser is signed out."}


@router.get("/me/tokens")
def my_tokens(request: Request) -> list[shapes.Json]:
    """One's own tokens, never their secrets."""
    return [_token(found) for found in actions_of(request).accounts.tokens(user_of(request))]


@router.post("/me/tokens", status_code=201)
def create_token(request: Request, body: TokenBody) -> shapes.Json:
    """A new token; this answer is the only one that shows it."""
    _person(request)
    made, secret = actions_of(request).accounts.create_token(user_of(request), body.name, body.days)
    return _token(made) | {"token": secret}


@router.delete("/me/tokens/{token_id}")
def revoke_token(request: Request, token_id: PathId) -> shapes.Json:
    """End one of one's own tokens."""
    actions_of(request).accounts.revoke_token(user_of(request), token_id)
    return {"message": "The token is revoked."}


@router.get("/users")
def users(request: Request) -> list[shapes.Json]:
    """Every account of the server."""
    return [
        {
            "id": found.id,
            "name": found.name,
            "server_admin": found.is_admin,
            "disabled": found.disabled_at is not None,
            "created_at": found.created_at,
        }
        for found in actions_of(request).accounts.users(user_of(request))
    ]


@router.post("/users/invitations", status_code=201)
def invite_admin(request: Request) -> shapes.Json:
    """A link that makes another administrator of the server."""
    return _offer(actions_of(request).inviting.invite_admin(user_of(request)))


@router.get("/users/invitations")
def open_invitations(request: Request) -> list[shapes.Json]:
    """Every link of the server that can still be used, never its secret."""
    return [_invitation(one) for one in actions_of(request).inviting.open_ones(user_of(request))]


@router.delete("/users/invitations/{invitation}")
def withdraw_invitation(request: Request, invitation: str) -> shapes.Json:
    """End any link of the server."""
    actions_of(request).inviting.withdraw(user_of(request), invitation)
    return {"message": _WITHDRAWN}


@router.post("/users/{user_id}/disable")
def disable(request: Request, user_id: PathId) -> shapes.Json:
    """Close an account; its answers stay."""
    actions_of(request).accounts.disable(user_of(request), user_id)
    return {"message": "The account is disabled."}


@router.post("/users/{user_id}/enable")
def enable(request: Request, user_id: PathId) -> shapes.Json:
    """Open a closed account again."""
    actions_of(request).accounts.enable(user_of(request), user_id)
    return {"message": "The account is enabled."}


@router.post("/users/{user_id}/reset", status_code=201)
def reset(request: Request, user_id: PathId) -> shapes.Json:
    """A link with which the user chooses a new password."""
    return _offer(actions_of(request).inviting.reset(user_of(request), user_id))


@router.get("/deeds")
def deeds(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[shapes.Json]:
    """Who did which administrative thing, newest first."""
    return [asdict(found) for found in actions_of(request).accounts.deeds(user_of(request), limit)]


@router.post("/projects", status_code=201)
def create_project(request: Request, body: ProjectBody) -> shapes.Json:
    """Start a project."""
    return shapes.project(actions_of(request).membership.create_project(user_of(request), body.name), 0)


@router.get(_P + "/members")
def members(request: Request, project_id: PathId) -> list[shapes.Json]:
    """Who is in the project: names for everybody in it, roles for its admins."""
    actions, user_id = actions_of(request), user_of(request)
    found = actions.membership.members(user_id, project_id)
    full = actions.role_of(user_id, project_id) is Role.ADMIN
    return [_member(one, full) for one in found]


@router.put(_P + "/members/{user_id}")
def set_role(request: Request, project_id: PathId, user_id: PathId, body: RoleBody) -> shapes.Json:
    """Give somebody a role in the project."""
    actions_of(request).membership.set_role(user_of(request), project_id, user_id, body.chosen())
    return {"user_id": user_id, "role": body.role}


@router.delete(_P + "/members/{user_id}")
def remove_member(request: Request, project_id: PathId, user_id: PathId) -> shapes.Json:
    """Take somebody out of the project; the answers stay."""
    actions_of(request).membership.remove(user_of(request), project_id, user_id)
    return {"message": "The user is no longer in the project."}


@router.post(_P + "/invitations", status_code=201)
def invite(request: Request, project_id: PathId, body: RoleBody) -> shapes.Json:
    """A link that gives whoever opens it a role in the project, once."""
    return _offer(actions_of(request).inviting.invite(user_of(request), project_id, body.chosen()))


@router.get(_P + "/invitations")
def project_invitations(request: Request, project_id: PathId) -> list[shapes.Json]:
    """The links of the project that can still be used, never their secrets."""
    return [_invitation(one) for one in actions_of(request).inviting.open_ones(user_of(request), project_id)]


@router.delete(_P + "/invitations/{invitation}")
def withdraw_project_invitation(request: Request, project_id: PathId, invitation: str) -> shapes.Json:
    """End a link of the project."""
    actions_of(request).inviting.withdraw(user_of(request), invitation, project_id)
    return {"message": _WITHDRAWN}


@router.post(_P + "/archive")
def archive(request: Request, project_id: PathId, body: ProjectBody) -> shapes.Json:
    """Put the project away; the body repeats its name."""
    actions_of(request).membership.archive(user_of(request), project_id, body.name)
    return {"message": "The project is archived; nothing in it is lost."}


@router.post(_P + "/restore")
def restore(request: Request, project_id: PathId) -> shapes.Json:
    """Bring an archived project back."""
    actions_of(request).membership.restore(user_of(request), project_id)
    return {"message": "The project is back as it was."}


@router.post(_P + "/purge", status_code=202)
def purge(request: Request, project_id: PathId, body: ProjectBody) -> shapes.Json:
    """Remove an archived project for good; the body repeats its name. The worker does it bit by bit."""
    _person(request)
    actions_of(request).removing.begin(user_of(request), project_id, body.name)
    return {"message": "The project is gone for good; the worker removes what was in it."}


def _person(request: Request) -> None:
    """A stolen token must not be able to make more of itself."""
    if request.state.by_token:
        raise NotAllowed("A token cannot do this; sign in with the password.")


def _token(found: ApiToken) -> shapes.Json:
    return {
        "id": found.id,
        "name": found.name,
        "created_at": found.created_at,
        "expires_at": found.expires_at,
        "last_used_at": found.last_used_at,
    }


def _member(found: Member, full: bool) -> shapes.Json:
    told = {"user_id": found.user_id, "name": found.name}
    return told | {"role": found.role.value, "created_at": found.created_at} if full else told


def _offer(made: Offer) -> shapes.Json:
    return {"link": made.path, "expires_at": made.expires_at}


def _invitation(found: OpenInvitation) -> shapes.Json:
    return {
        "name": found.name,
        "grant": found.grant.value,
        "project_id": found.project_id,
        "project": found.project_name,
        "account": found.account,
        "made_by": {"id": found.created_by, "name": found.made_by},
        "created_at": found.created_at,
        "expires_at": found.expires_at,
        "counts": found.counts,
    }
