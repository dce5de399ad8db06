"""ASGI middleware in front of every route, ours and Gradio's: who may ask, from where, and how much."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from anyio import to_thread
from fastapi.responses import Response
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from annotator.api import permissions, rules
from annotator.api.answer import Answer, refusal_of
from annotator.api.auth import COOKIE, Caller, Gate
from annotator.api.body import Body
from annotator.api.errors import REQUEST_ID, envelope, plain_refusal, refusal, status_of
from annotator.api.lasting import Watch
from annotator.api.pages import login_page, setup_page
from annotator.api.permissions import Judged
from annotator.api.rules import Unwanted
from annotator.errors import AnnotatorError
from annotator.health import need_room
from annotator.people import Role
from annotator.settings import LOOPBACK, Settings

_OURS = ("/api/", "/img/")
PICTURES_AT_ONCE = 48  # for one person: eight browsers, each with the six connections browsers open
EXPORTS_AT_ONCE = 4  # each takes a thread and a copy of the database while it is made
QUESTIONS_AT_ONCE = 8  # each orders a whole project: many of them and everybody's answers wait for a thread
_AT_ONCE = {
    "/img/{image_id}": (PICTURES_AT_ONCE, "pictures"),
    "/api/projects/{project_id}/export/{kind}": (EXPORTS_AT_ONCE, "exports"),
}
# only where people sign in: elsewhere fifty of them may be one
_EACH_AT_ONCE = {
    "/api/projects/{project_id}/deck": (QUESTIONS_AT_ONCE, "lists of questions"),
    "/api/projects/{project_id}/grid": (QUESTIONS_AT_ONCE, "lists of questions"),
}


class Guard:
    """Refuses foreign hosts, foreign pages, strangers, and bodies of a kind, size or pace that is not taken.

    Decides on `scope["path"]`: a URL rebuilt from the `Host` header can be bent by whoever sends it.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate, settings: Settings) -> None:
        self._app = app
        self._gate = gate
        self._settings = settings
        self._hosts = rules.HostRule(settings.host, settings.allowed_hosts)
        self._at_once = _AT_ONCE | (_EACH_AT_ONCE if gate.required else {})
        self._given: Counter[tuple[int, str]] = Counter()  # of those, what is on its way now, by person
        self._watch = Watch(self._ended, self._roles, gone=self._gone)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through to the application or answer it here."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        REQUEST_ID.set(request_id)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        answer = Answer(send, scope)
        rule = rules.body_rule(scope["path"])
        refused = self._refuse(scope)
        if refused is None:
            refused = await self._admit(scope) or _no_route(scope) or _unwanted_body(rule, scope)
        if refused is None and rule.is_upload and scope.get("method") in rules.WRITING:
            refused = await to_thread.run_sync(self._no_room, scope)
        if refused is not None:
            await answer.refuse(refused, receive)
            return
        body = Body(receive, rule, answer.replace, again=lambda: self._still(scope), headers=scope["headers"])
        await self._pass_on(scope, body if scope["type"] == "http" else receive, answer)

    async def _pass_on(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        try:
            with self._turn(scope):
                await self._watch.give(self._app, scope, receive, answer)
        except Unwanted as refused:
            await answer.refuse(refusal_of(refused), None)

    @contextmanager
    def _turn(self, scope: Scope) -> Iterator[None]:
        """Count what is on its way and limited; Unwanted when the person gets too much at once already."""
        user_id, judged = scope["state"].get("user_id"), scope["state"]["judged"]
        if user_id is None or judged.template not in self._at_once:
            yield
            return
        limit, what = self._at_once[judged.template]
        if self._given[user_id, what] >= limit:
            raise rules.too_many(limit, what)
        self._given[user_id, what] += 1
        try:
            yield
        finally:
            self._given[user_id, what] -= 1

    def _refuse(self, scope: Scope) -> Response | None:
        headers = scope["headers"]
        method = scope.get("method", "GET")
        try:
            if not self._hosts.allows(rules.header(headers, b"host")):
                return envelope(
                    400,
                    "unknown_host",
                    "This server does not answer to that host name.",
                    hint="Add it to allowed_hosts if it is yours.",
                )
            if method not in rules.READING | rules.WRITING:
                return envelope(405, "method_not_allowed", "This method is not used here.")
            origin_matters = scope["type"] == "websocket" and rules.foreign_origin(headers)
            if origin_matters or rules.cross_site(method, headers):
                message = "This request was sent by another site's page and was not carried out."
                return envelope(403, "cross_site", message)
            rules.check_address(scope["path"], scope.get("query_string", b""))
        except ValueError as error:
            return envelope(400, "bad_header", f"A header is not usable: {error}")
        except Unwanted as refused:
            return refusal_of(refused)
        return None

    async def _admit(self, scope: Scope) -> Response | None:
        """Find out who asks and whether they may; both are in `state` afterwards, or this is the refusal."""
        judged = permissions.judge(scope)
        scope["state"] |= {"judged": judged, "user_id": None, "by_token": False}
        if judged.need == permissions.OPEN:
            return None
        try:
            caller = await to_thread.run_sync(self._user, scope, judged)
        except AnnotatorError as error:
            return refusal(error)
        if caller is None:
            return await self._ask_to_sign_in(scope)
        scope["state"] |= {"user_id": caller.user_id, "by_token": caller.by_token}
        return None

    def _no_room(self, scope: Scope) -> Response | None:
        """507 before the first byte of a file: taken in, it would leave no room for answers."""
        try:
            announced = int(rules.header(scope["headers"], b"content-length") or 0)
            need_room(self._settings, "Files are not taken in", coming=announced)
        except AnnotatorError as error:
            return refusal(error)
        return None

    def _user(self, scope: Scope, judged: Judged) -> Caller | None:
        caller = self._gate.caller(session=session_token(scope), bearer=bearer_token(scope))
        if caller is not None:
            permissions.check(self._gate.actions.rights, judged, caller.user_id, by_token=caller.by_token)
        return caller

    async def _still(self, scope: Scope) -> None:
        """Ask again after a body that took its time; Unwanted when the sender's right has ended meanwhile."""
        if scope["state"]["user_id"] is None:
            return
        refused = await to_thread.run_sync(self._ended, scope)
        if refused is not None:
            raise refused

    def _ended(self, scope: Scope) -> Unwanted | None:
        """Why the sender of a request that was let in may not have it any more; None while it may."""
        state = scope["state"]
        try:
            caller = self._user(scope, state["judged"])
        except AnnotatorError as error:
            return _unwanted(error)
        if caller is None or caller.user_id != state["user_id"]:
            return Unwanted(HTTPStatus.UNAUTHORIZED, "not_signed_in", "Sign in first.")
        return None

    def _roles(self, user_id: int) -> Mapping[int, Role]:
        try:
            return self._gate.actions.accounts.me(user_id).roles
        except AnnotatorError as error:
            raise _unwanted(error) from None

    def _gone(self, project_id: int) -> bool:
        try:
            return project_id not in {one.id for one in self._gate.actions.projects(archived=True)}
        except AnnotatorError as error:
            raise _unwanted(error) from None

    async def _ask_to_sign_in(self, scope: Scope) -> Response:
        accepts = b",".join(value for name, value in scope["headers"] if name == b"accept")
        if scope.get("method") == "GET" and b"text/html" in accepts and bearer_token(scope) is None:
            has_password = await to_thread.run_sync(self._gate.has_password)
            page = login_page if has_password else setup_page
            return page(status=401, insecure=in_the_open(scope))
        return envelope(401, "not_signed_in", "Sign in first.", hint="The page is /login.")


def _no_route(scope: Scope) -> Response | None:
    """404 or 405 for an address of ours that has no such route; other addresses are the page's to answer."""
    judged, path = scope["state"]["judged"], scope["path"]
    if judged.template is not None:
        return None
    known = permissions.methods(path)
    if known:
        return plain_refusal(405, headers={"Allow": ", ".join(known)})
    return plain_refusal(404) if path.startswith(_OURS) else None


def _unwanted_body(rule: rules.BodyRule, scope: Scope) -> Response | None:
    try:
        rules.check_body(rule, scope["headers"])
    except ValueError as error:
        return envelope(400, "bad_header", f"A header is not usable: {error}")
    except Unwanted as refused:
        return refusal_of(refused)
    return None


def _unwanted(error: AnnotatorError) -> Unwanted:
    status, code = status_of(error)
    return Unwanted(HTTPStatus(status), code, str(error))


def in_the_open(scope: Scope) -> bool:
    """Whether a password sent with this request would cross a network unencrypted."""
    peer = scope.get("client")
    return scope["scheme"] not in {"https", "wss"} and (peer is None or peer[0] not in LOOPBACK)


def bearer_token(scope: Scope) -> str | None:
    """The token of an `Authorization: Bearer` header; "" when there is one that holds nothing usable.

    Tokens are taken from nowhere else: addresses end up in logs, histories and referrers.
    """
    try:
        value = rules.header(scope["headers"], b"authorization")
    except ValueError:
        return ""
    scheme, _, token = (value or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def session_token(scope: Scope) -> str | None:
    """The session cookie of a request.

    Read as browsers write it: the strict reader of the standard library gives up at the first odd cookie, and
    those of other programs on the same name come along.
    """
    return HTTPConnection(scope).cookies.get(COOKIE)
