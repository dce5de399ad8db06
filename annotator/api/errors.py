"""One shape for every refusal: `{"error": {"code", "message", "request_id"}}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from annotator.api.headers import protect
from annotator.errors import (
    AnnotatorError,
    ArtifactDamaged,
    BadFile,
    BadInput,
    Conflict,
    DuplicateCategory,
    NotAllowed,
    NotFound,
    NothingToLearn,
    StoreError,
)

_log = logging.getLogger(__name__)

# The most specific kind of an error is found by walking its base classes.
_KINDS: Mapping[type[BaseException], tuple[int, str]] = {
    NotFound: (404, "not_found"),
    DuplicateCategory: (409, "duplicate_category"),
    BadFile: (422, "bad_file"),
    BadInput: (422, "bad_input"),
    Conflict: (409, "conflict"),
    NothingToLearn: (409, "nothing_to_learn"),
    NotAllowed: (403, "not_allowed"),
    ArtifactDamaged: (503, "artifact_damaged"),
    StoreError: (503, "store"),
    AnnotatorError: (500, "error"),
}


class TooManyAttempts(NotAllowed):
    """Too many wrong passwords; `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many wrong attempts; try again in {retry_after} seconds.")
        self.retry_after = retry_after


class NotSignedIn(NotAllowed):
    """The password or the session is wrong."""


def status_of(error: AnnotatorError) -> tuple[int, str]:
    """HTTP status and code of an error a person can act on."""
    if isinstance(error, TooManyAttempts):
        return 429, "too_many_attempts"
    if isinstance(error, NotSignedIn):
        return 401, "not_signed_in"
    return next(_KINDS[kind] for kind in type(error).__mro__ if kind in _KINDS)


def envelope(
    status: int, code: str, message: str, *, request_id: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The response every refusal has."""
    error = {"code": code, "message": message} | ({"request_id": request_id} if request_id else {})
    return JSONResponse({"error": error}, status, headers={"Cache-Control": "no-store"} | dict(headers or {}))


def refusal(error: AnnotatorError, request_id: str = "") -> JSONResponse:
    """The envelope of one of our errors."""
    status, code = status_of(error)
    extra: dict[str, str] = {}
    if isinstance(error, TooManyAttempts):
        extra["Retry-After"] = str(error.retry_after)
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra["Retry-After"] = "5"
    return envelope(status, code, str(error), request_id=request_id, headers=extra)


def request_id(request: Request) -> str:
    """The id the guard gave to this request."""
    return str(getattr(request.state, "request_id", ""))


async def _annotator_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnnotatorError)
    response = refusal(error, request_id(request))
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request %s: %s", request_id(request), error)
    return response


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    try:
        code = HTTPStatus(error.status_code).name.lower()
    except ValueError:
        code = "error"
    return envelope(
        error.status_code, code, str(error.detail), request_id=request_id(request), headers=error.headers
    )


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return envelope(400, "not_json", "The body is not JSON.", request_id=request_id(request))
    return envelope(422, "invalid", f"{where}: {first['msg']}.", request_id=request_id(request))


async def _unexpected(request: Request, error: Exception) -> Response:
    found = request_id(request)
    _log.error("request %s failed unexpectedly", found, exc_info=error)
    message = f"Something unexpected went wrong; the log has it under {found}."
    response = envelope(500, "unexpected", message, request_id=found)
    protect(response.headers)  # this answer is made outside the guard
    return response


def install(app: FastAPI) -> None:
    """Make every error of the routes leave in the one shape."""
    app.add_exception_handler(AnnotatorError, _annotator_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)
