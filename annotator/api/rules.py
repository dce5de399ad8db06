"""What a request must look like before any route sees it: pure functions over raw headers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from annotator.settings import LOOPBACK, Settings

MIB = 2**20
JSON_LIMIT = 1 * MIB
EVENT_LIMIT = 4 * MIB  # an event of the page carries the list of all uploaded files
FORM_LIMIT = 64 * 1024
UPLOAD_LIMIT = 4096 * MIB
ADDRESS_LIMIT = 8192  # bytes of path and query
SLOW_GRACE_S = 15.0  # seconds in all that a body may keep us waiting ...
SLOWEST = 1024  # ... beside one second for every so many bytes that came
JUDGED_FOR_S = 1.0  # after waiting longer for a body, its sender's rights are looked at again
READING = frozenset({"GET", "HEAD", "OPTIONS"})
WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})

Headers = Sequence[tuple[bytes, bytes]]

_HOST = re.compile(
    r"(?:\[(?P<six>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._-]{1,253}))(?::(?P<port>[0-9]{1,5}))?"
)
_UPLOADS = re.compile(r"/gradio_api/upload/?|/api/projects/[0-9]+/(?:labels|images)")
_EVERY_ADDRESS = frozenset({"", "0.0.0.0", "::"})


def header(headers: Headers, name: bytes) -> str | None:
    """The one value of a header; None when it is absent. Raises ValueError when it is given twice."""
    values = [value for key, value in headers if key == name]
    if len(values) > 1:
        raise ValueError(f"The header {name.decode()} is given {len(values)} times.")
    return values[0].decode("latin-1") if values else None


def host_name(value: str) -> str | None:
    """The lower-case name of a `Host` value, without port and brackets; None when it is not a host at all."""
    found = _HOST.fullmatch(value.lower())
    return None if found is None else found["six"] or found["name"]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class HostRule:
    """Names this server answers to; anything else may be a foreign page that rebinds its name to us."""

    def __init__(self, host: str, allowed: Iterable[str]) -> None:
        self.names = frozenset(LOOPBACK | {host.lower().strip("[]")} | {name.lower() for name in allowed})
        # A page cannot rebind a bare address, so a server on every address answers to any of them.
        self.addresses = host in _EVERY_ADDRESS

    def allows(self, value: str | None) -> bool:
        """True when the `Host` header names this server."""
        name = host_name(value) if value else None
        if name is None:
            return False
        return name in self.names or (self.addresses and _is_address(name))


def sign_in_required(settings: Settings) -> bool:
    """Deny by default: only a server that nobody but this machine can reach works without a password.

    A proxy in front brings others to it; `single_user` says otherwise in so many words.
    """
    if settings.single_user is not None:
        return not settings.single_user
    foreign = any(name.lower() not in LOOPBACK for name in settings.allowed_hosts)
    return not settings.loopback_only or foreign or bool(settings.trusted_proxies)


def foreign_origin(headers: Headers) -> bool:
    """True when `Origin` is there and is not the very host and port the request was sent to."""
    origin = header(headers, b"origin")
    if origin is None:
        return False
    parts = urlsplit(origin)
    return (
        parts.scheme not in {"http", "https"}
        or parts.netloc.lower() != (header(headers, b"host") or "").lower()
    )


def cross_site(method: str, headers: Headers) -> bool:
    """True for a request that a page of another site makes a browser send.

    Opening a page of ours by a link is the one thing another site may do. Clients that are no browsers send
    neither header and pass: they cannot carry a victim's cookie.
    """
    site = header(headers, b"sec-fetch-site")
    if method in READING:
        linked = (
            header(headers, b"sec-fetch-mode") == "navigate"
            and header(headers, b"sec-fetch-dest") == "document"
        )
        return site not in {None, "same-origin", "none"} and not linked
    return site not in {None, "same-origin", "none"} or foreign_origin(headers)


@dataclass(frozen=True)
class BodyRule:
    """What a body sent to an address may be: one media type and a number of bytes; `files_only`: no text."""

    media_type: str
    limit: int
    files_only: bool = False

    @property
    def is_json(self) -> bool:
        """True when the body is checked as JSON before any route sees it."""
        return self.media_type == "application/json"

    @property
    def is_upload(self) -> bool:
        """True when the body is a file that is kept on the disk while it comes."""
        return self.media_type == "multipart/form-data"


def body_rule(path: str) -> BodyRule:
    """The rule for a path: uploads are multipart, routes and events JSON, the sign-in pages forms."""
    if _UPLOADS.fullmatch(path):
        # The page's own upload holds files alone; the toolkit falls over anything else.
        return BodyRule("multipart/form-data", UPLOAD_LIMIT, files_only=path.startswith("/gradio_api/"))
    if path.startswith("/api/"):
        return BodyRule("application/json", JSON_LIMIT)
    if path.startswith("/gradio_api/"):
        return BodyRule("application/json", EVENT_LIMIT)
    return BodyRule("application/x-www-form-urlencoded", FORM_LIMIT)


class Unwanted(Exception):
    """A request that is not taken as it is: status, code, one sentence, seconds to wait if that helps."""

    def __init__(
        self, status: HTTPStatus, code: str, message: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


def too_large(rule: BodyRule) -> Unwanted:
    """The refusal of a body with more bytes than the rule allows."""
    size = f"{rule.limit // MIB} MB" if rule.limit >= MIB else f"{rule.limit // 1024} KB"
    message = f"The body is larger than the {size} this address takes."
    return Unwanted(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)


def too_many(limit: int, what: str) -> Unwanted:
    """The refusal of one more picture, export or list than a person gets at once."""
    message = f"{limit} {what} are being sent to you already; ask for this one again when some have arrived."
    return Unwanted(HTTPStatus.TOO_MANY_REQUESTS, "too_many_at_once", message, retry_after=1)


def check_address(scope_path: str, query: bytes) -> None:
    """Raise Unwanted for an address longer than `ADDRESS_LIMIT`."""
    if len(scope_path.encode("utf-8", "replace")) + len(query) > ADDRESS_LIMIT:
        message = f"The address is longer than {ADDRESS_LIMIT} bytes."
        raise Unwanted(HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long", message)


def check_body(rule: BodyRule, headers: Headers) -> None:
    """Raise Unwanted when the headers announce a body of another kind or size; ValueError for a wrong length.

    A body that says nothing of its kind is of the wrong kind: no route may have to guess.
    """
    length = header(headers, b"content-length")
    if length is not None and not (length.isascii() and length.isdecimal()):
        raise ValueError("Content-Length is not a number.")
    if header(headers, b"transfer-encoding") is None and int(length or 0) == 0:
        return
    if (header(headers, b"content-encoding") or "identity").strip().lower() != "identity":
        raise Unwanted(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "compressed",
            "A compressed body is not taken; send it as it is.",
        )
    kind, _, parameters = (header(headers, b"content-type") or "").partition(";")
    found = re.search(r"charset\s*=\s*\"?([^\s;\"]*)", parameters.lower())
    if kind.strip().lower() != rule.media_type or (found is not None and found[1] not in {"utf-8", "utf8"}):
        raise Unwanted(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "media_type",
            f"This address takes a body of type {rule.media_type} in UTF-8.",
        )
    if length is not None and int(length) > rule.limit:
        raise too_large(rule)
