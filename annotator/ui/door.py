"""Who sends an event of the page and what they may do: a handler gets the actions here and nowhere else.

The needs are those of the API's table, so that a button and the route that does the same agree. They are
read from the store at every event: what a page shows may be minutes old, what it may do never is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import gradio as gr
from starlette.requests import Request

from annotator.actions import Actions
from annotator.api.errors import NotSignedIn
from annotator.api.permissions import TABLE
from annotator.errors import AnnotatorError, BadInput, NotAllowed, NotFound
from annotator.people import Me, Role
from annotator.records import Project

_P = "/api/projects/{project_id}"


class Act(Enum):
    """What the tabs do in a project; the value is how a reason names it."""

    IMPORT_PICTURES = "Importing pictures"
    IMPORT_LABELS = "Importing labels"
    LOOK = "Looking"
    TRAIN = "Training"
    CANCEL = "Cancelling a training"
    USE_GENERATION = "Using another generation"
    EXPORT = "Exporting"


NEEDS: Mapping[Act, Role] = MappingProxyType(
    {
        Act.IMPORT_PICTURES: Role.ADMIN,  # no route does this
        Act.IMPORT_LABELS: TABLE["POST", _P + "/labels"].role,
        Act.LOOK: TABLE["GET", _P + "/status"].role,
        Act.TRAIN: TABLE["POST", _P + "/retrain"].role,
        Act.CANCEL: TABLE["POST", _P + "/cancel"].role,
        Act.USE_GENERATION: TABLE["POST", _P + "/generations/{generation_id}/use"].role,
        Act.EXPORT: TABLE["GET", _P + "/export/{kind}"].role,
    }
)
NO_PROJECT = "There is no project yet: make one on the Import tab first."
NOT_INVITED = "You are in no project yet: ask an admin of one for an invitation."


@dataclass(frozen=True)
class Here:
    """Somebody who may do what they asked for, in a project or, without one, on the whole server."""

    actions: Actions
    user_id: int
    project_id: int


@dataclass(frozen=True)
class Server:
    """An administrator of the server."""

    actions: Actions
    user_id: int


class Door:
    """Lets the sender of an event through, or raises an AnnotatorError with the sentence to show."""

    def __init__(self, actions: Actions, *, sign_in: bool = False) -> None:
        self._actions = actions
        self.sign_in = sign_in  # False where nobody has to: everybody is the administrator

    def me(self, request: gr.Request) -> Me:
        """The sender with their roles; NotSignedIn without one, or when the account was closed meanwhile."""
        try:
            found = self._actions.accounts.me(_sender(request))
        except NotFound as error:
            raise NotSignedIn("Sign in first.") from error
        if found.user.disabled_at is not None:
            raise NotSignedIn("This account is disabled; ask whoever runs the server.")
        return found

    def enter(self, request: gr.Request, act: Act, project_id: object) -> Here:
        """The way to do one thing in one project, for somebody whose role there reaches."""
        me = self.me(request)
        if project_id is None:
            raise BadInput(NO_PROJECT if me.user.is_admin else NOT_INVITED)
        chosen = _number(project_id)
        self._actions.rights.need(me.user.id, chosen, NEEDS[act])
        return Here(self._actions, me.user.id, chosen)

    def enter_server(self, request: gr.Request) -> Server:
        """The way to what only an administrator of the server may do."""
        me = self.me(request)
        self._actions.rights.need_admin(me.user.id)
        return Server(self._actions, me.user.id)

    def is_admin(self, request: gr.Request) -> bool:
        """Whether the sender may do what only an administrator of the server may."""
        try:
            self.enter_server(request)
        except NotAllowed:
            return False
        return True

    def may_upload(self, user_id: int) -> bool:
        """Whether there is a project into which an account may bring pictures or labels."""
        return reaches(self._actions.accounts.me(user_id), Act.IMPORT_PICTURES, Act.IMPORT_LABELS)

    def projects(self, request: gr.Request) -> list[Project]:
        """The sender's own projects."""
        return self._actions.projects(self.me(request).user.id)

    def reason(self, request: gr.Request, act: Act, project_id: object) -> str:
        """Why the sender may not do something, for the page; empty when they may."""
        try:
            self.enter(request, act, project_id)
        except NotSignedIn as error:
            return str(error)
        except NotAllowed:
            return f"{act.value} needs the role “{NEEDS[act]}” in this project."
        except AnnotatorError as error:
            return str(error)
        return ""


def reaches(me: Me, *acts: Act) -> bool:
    """Whether somebody may do one of these in at least one project; an administrator of the server always."""
    return me.user.is_admin or any(role.reaches(NEEDS[act]) for role in me.roles.values() for act in acts)


def _sender(request: object) -> int:
    """The account that the guard found out for the very HTTP request that brought the event.

    Gradio hands that request on, also through its queue; what a client writes into an event never counts.
    """
    brought = request.request if isinstance(request, gr.Request) else None
    if not isinstance(brought, Request):
        raise NotSignedIn("Sign in first.")
    user_id = brought.scope.get("state", {}).get("user_id")
    if not isinstance(user_id, int):
        raise NotSignedIn("Sign in first.")
    return user_id


def _number(project_id: object) -> int:
    if isinstance(project_id, bool) or not isinstance(project_id, int):
        raise BadInput("A project is chosen by its number.")
    return project_id
