"""One shape for every refusal: `{"error": {"code", "message", "hint"?, "request_id"}}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from annotator.actions import CellsMoved
from annotator.api.headers import protect
from annotator.api.shapes import conflict
from annotator.errors import (
    AnnotatorError,
    ArtifactDamaged,
    BadFile,
    BadInput,
    Conflict,
    DiskFull,
    DuplicateCategory,
    DuplicateProject,
    Gone,
    NotAllowed,
    NotFound,
    NothingToLearn,
    OtherPerson,
    ReadOnly,
    StoreBusy,
    StoreError,
    StoreStopping,
    TypeNotAccepted,
    is_full,
    no_room,
)
from annotator.logs import REQUEST_ID as REQUEST_ID

_log = logging.getLogger(__name__)

_LONGEST = 500  # characters of a sentence; a client's own text in it may be longer

# The most specific kind of an error is found by walking its base classes.
_KINDS: Mapping[type[BaseException], tuple[int, str]] = {
    NotFound: (404, "not_found"),
    DuplicateCategory: (409, "duplicate_category"),
    DuplicateProject: (409, "duplicate_project"),
    TypeNotAccepted: (415, "type_not_accepted"),
    BadFile: (422, "bad_file"),
    BadInput: (422, "bad_input"),
    Gone: (410, "gone"),
    Conflict: (409, "conflict"),
    OtherPerson: (409, "other_person"),
    NothingToLearn: (409, "nothing_to_learn"),
    NotAllowed: (403, "not_allowed"),
    ArtifactDamaged: (503, "artifact_damaged"),
    StoreBusy: (503, "busy"),
    StoreStopping: (503, "stopping"),
    ReadOnly: (503, "read_only"),
    DiskFull: (507, "disk_full"),
    StoreError: (503, "store"),
    AnnotatorError: (500, "error"),
}


class TooManyAttempts(NotAllowed):
    """Too many wrong passwords; `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many wrong attempts; try again in {retry_after} seconds.")
        self.retry_after = retry_after


class TooManyAtOnce(TooManyAttempts):
    """More of something slow at this moment than the server takes at once: sign-ins, label files."""

    def __init__(self, what: str) -> None:
        NotAllowed.__init__(self, f"Many {what} come at this moment; try again in a few seconds.")
        self.retry_after = 3


class NotSignedIn(NotAllowed):
    """The password or the session is wrong."""


def status_of(error: AnnotatorError) -> tuple[int, str]:
    """HTTP status and code of an error a person can act on."""
    if isinstance(error, TooManyAtOnce):
        return 429, "too_many_at_once"
    if isinstance(error, TooManyAttempts):
        return 429, "too_many_attempts"
    if isinstance(error, NotSignedIn):
        return 401, "not_signed_in"
    return next(_KINDS[kind] for kind in type(error).__mro__ if kind in _KINDS)


def envelope(
    status: int,
    code: str,
    message: str,
    *,
    hint: str = "",
    request_id: str = "",
    headers: Mapping[str, str] | None = None,
    cells: Sequence[Mapping[str, object]] = (),
) -> JSONResponse:
    """The response every refusal has; the request's id is found by itself. `cells`: of a conflict."""
    error: dict[str, object] = {"code": code, "message": _plain(message)}
    if cells:
        error["cells"] = list(cells)
    if hint:
        error["hint"] = hint
    error["request_id"] = request_id or REQUEST_ID.get()
    return JSONResponse({"error": error}, status, headers={"Cache-Control": "no-store"} | dict(headers or {}))


def _plain(message: str) -> str:
    """A sentence that can be sent and shown, whatever text of a client stands in it."""
    short = message if len(message) <= _LONGEST else f"{message[: _LONGEST - 1]}…"
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in short)


def refusal(error: AnnotatorError, request_id: str = "") -> JSONResponse:
    """The envelope of one of our errors."""
    status, code = status_of(error)
    extra: dict[str, str] = {}
    if isinstance(error, TooManyAttempts):
        extra["Retry-After"] = str(error.retry_after)
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra["Retry-After"] = "30" if isinstance(error, ReadOnly) else "5"
    elif isinstance(error, DiskFull):
        extra["Retry-After"] = "10"
    cells = [conflict(cell) for cell in error.cells] if isinstance(error, CellsMoved) else []
    return envelope(status, code, str(error), request_id=request_id, headers=extra, cells=cells)


def request_id(request: Request) -> str:
    """The id the guard gave to this request."""
    return str(getattr(request.state, "request_id", ""))


async def _annotator_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnnotatorError)
    response = refusal(error, request_id(request))
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request %s: %s", request_id(request), error)
    return response


_WORDS: Mapping[int, str] = {
    400: "The request cannot be read.",
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
    413: "The body is larger than this address takes.",
    416: "That part of the file does not exist.",
}


def plain_refusal(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The envelope of a bare HTTP status; `detail` is kept unless it only repeats the status."""
    try:
        known = HTTPStatus(status)
    except ValueError:
        return envelope(status, "error", detail or "The request was refused.", headers=headers)
    said = "" if detail == known.phrase else detail
    message = said or _WORDS.get(status, f"The request was refused: {known.phrase.lower()}.")
    return envelope(status, known.name.lower(), message, headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if is_full(error.__cause__):  # the framework could not put the body aside and calls that a bad request
        return await _annotator_error(request, no_room("The request could not be taken in"))
    return plain_refusal(error.status_code, str(error.detail), error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part)[:100] for part in first["loc"])
    if first["type"] == "json_invalid":
        return envelope(400, "not_json", "The body is not JSON.", request_id=request_id(request))
    said = str(first["msg"]).removeprefix("Value error, ")  # before a sentence of ours
    return envelope(422, "invalid", f"{where}: {said}.", request_id=request_id(request))


async def _os_error(request: Request, error: Exception) -> Response:
    """A full disk in whatever place of a request; any other refusal of the system is unexpected."""
    if is_full(error):
        return await _annotator_error(request, no_room("The request could not be carried out"))
    return await _unexpected(request, error)


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
    app.add_exception_handler(OSError, _os_error)
    app.add_exception_handler(Exception, _unexpected)
