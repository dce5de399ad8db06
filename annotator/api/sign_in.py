"""The pages before and after: first sign-in, sign-in, sign-out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from annotator.api.auth import COOKIE, SESSION_MS, Gate
from annotator.api.errors import TooManyAttempts, status_of
from annotator.api.guard import session_token
from annotator.api.pages import login_page, setup_page
from annotator.errors import AnnotatorError

router = APIRouter(include_in_schema=False)

Field = Annotated[str, Form(max_length=2000)]


def _gate(request: Request) -> Gate:
    gate = request.app.state.gate
    assert isinstance(gate, Gate)
    return gate


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


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
    gate = _gate(request)
    if not gate.required:
        return _home()
    return login_page() if gate.has_password() else RedirectResponse("/setup", HTTPStatus.SEE_OTHER)


@router.get("/setup")
def show_setup(request: Request) -> Response:
    """The set-up page, as long as there is no password."""
    gate = _gate(request)
    if not gate.required:
        return _home()
    return RedirectResponse("/login", HTTPStatus.SEE_OTHER) if gate.has_password() else setup_page()


@router.post("/login")
def login(request: Request, password: Field) -> Response:
    """Open a session."""
    try:
        return _signed_in(request, _gate(request).login(password=password, address=_address(request)))
    except AnnotatorError as error:
        return login_page(str(error), status=status_of(error)[0], headers=_retry(error))


@router.post("/setup")
def setup(request: Request, secret: Field, password: Field) -> Response:
    """Set the first password with the one-time secret and open a session."""
    try:
        token = _gate(request).setup(secret=secret, password=password, address=_address(request))
    except AnnotatorError as error:
        return setup_page(str(error), status=status_of(error)[0], headers=_retry(error))
    return _signed_in(request, token)


@router.post("/logout")
def logout(request: Request) -> Response:
    """End the session."""
    token = session_token(request.scope)
    if token is not None:
        _gate(request).logout(token)
    response: Response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return response
