"""The pages before and after: first sign-in, invitation, sign-in, sign-out."""

from __future__ import annotations

import ipaddress
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from annotator.api.auth import COOKIE, SESSION_MS, Gate
from annotator.api.errors import TooManyAttempts, status_of
from annotator.api.guard import in_the_open, session_token
from annotator.api.pages import invite_page, login_page, refused_page, setup_page
from annotator.errors import AnnotatorError, NotAllowed, NotFound
from annotator.people import Grant

router = APIRouter(include_in_schema=False)

Field = Annotated[str, Form(max_length=2000)]


def gate_of(request: Request) -> Gate:
    """The application's one gate."""
    gate = request.app.state.gate
    assert isinstance(gate, Gate)
    return gate


def address_of(request: Request) -> str:
    """Where a request comes from: the peer, or what a trusted proxy says of it.

    Of an IPv6 address the network: whoever has one address has 2^64 of them.
    """
    host = request.client.host if request.client else "unknown"
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv4Address):
        return host
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found), 64), strict=False))


def _refuse_plain_http(request: Request) -> None:
    if in_the_open(request.scope) and not gate_of(request).insecure_http:
        raise NotAllowed("This server takes passwords over https only; open the same page with https.")


def _home() -> RedirectResponse:
    return RedirectResponse("/", HTTPStatus.SEE_OTHER, headers={"Cache-Control": "no-store"})


def _signed_in(request: Request, token: str) -> Response:
    response = _home()
    response.set_cookie(
        COOKIE,
        token,
        max_age=SESSION_MS // 1000,
        httponly=True,
        samesite="lax",
        secure=request.scope["scheme"] == "https",
    )
    return response


def _retry(error: AnnotatorError) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after)} if isinstance(error, TooManyAttempts) else {}


@router.get("/login")
def show_login(request: Request) -> Response:
    """The sign-in page; before the first password the set-up page."""
    gate = gate_of(request)
    if not gate.required:
        return _home()
    if not gate.has_password():
        return RedirectResponse("/setup", HTTPStatus.SEE_OTHER)
    return login_page(insecure=in_the_open(request.scope))


@router.get("/setup")
def show_setup(request: Request) -> Response:
    """The set-up page, as long as there is no password."""
    gate = gate_of(request)
    if not gate.required:
        return _home()
    if gate.has_password():
        return RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    return setup_page(insecure=in_the_open(request.scope))


@router.post("/login")
def login(request: Request, name: Field, password: Field) -> Response:
    """Open a session."""
    try:
        _refuse_plain_http(request)
        token = gate_of(request).login(name=name, password=password, address=address_of(request))
        return _signed_in(request, token)
    except AnnotatorError as error:
        status = status_of(error)[0]
        return login_page(
            str(error), name=name, status=status, headers=_retry(error), insecure=in_the_open(request.scope)
        )


@router.post("/setup")
def setup(request: Request, secret: Field, password: Field) -> Response:
    """Set the owner's password with the one-time secret and open a session."""
    try:
        _refuse_plain_http(request)
        token = gate_of(request).setup(secret=secret, password=password, address=address_of(request))
    except AnnotatorError as error:
        status = status_of(error)[0]
        return setup_page(
            str(error), status=status, headers=_retry(error), insecure=in_the_open(request.scope)
        )
    return _signed_in(request, token)


@router.get("/invite/{secret}")
def show_invitation(request: Request, secret: str) -> Response:
    """What the invitation is for, with a form; 404 for an unknown one, 410 for a used or old one."""
    try:
        found, purpose = gate_of(request).actions.inviting.invitation(secret)
    except AnnotatorError as error:
        return refused_page(str(error), status=status_of(error)[0])
    return invite_page(purpose, reset=found.grant is Grant.RESET, insecure=in_the_open(request.scope))


@router.post("/invite/{secret}")
def accept_invitation(request: Request, secret: str, password: Field, name: Field = "") -> Response:
    """Take the invitation and open a session."""
    gate = gate_of(request)
    try:
        found, purpose = gate.actions.inviting.invitation(secret)
    except NotFound as error:
        return refused_page(str(error), status=status_of(error)[0])
    try:
        _refuse_plain_http(request)
        token = gate.accept(secret=secret, name=name, password=password, address=address_of(request))
    except AnnotatorError as error:
        return invite_page(
            purpose,
            str(error),
            reset=found.grant is Grant.RESET,
            given=name,
            status=status_of(error)[0],
            headers=_retry(error),
            insecure=in_the_open(request.scope),
        )
    return _signed_in(request, token)


@router.post("/logout")
def logout(request: Request) -> Response:
    """End the session."""
    token = session_token(request.scope)
    if token is not None:
        gate_of(request).logout(token)
    response: Response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return response
