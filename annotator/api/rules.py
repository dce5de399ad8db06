"""What a request must look like before any route sees it: pure functions over raw headers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from annotator.settings import LOOPBACK, Settings

MIB = 2**20
BODY_LIMIT = 64 * MIB
UPLOAD_LIMIT = 4096 * MIB
READING = frozenset({"GET", "HEAD", "OPTIONS"})
WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})

Headers = Sequence[tuple[bytes, bytes]]

_HOST = re.compile(
    r"(?:\[(?P<six>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._-]{1,253}))(?::(?P<port>[0-9]{1,5}))?"
)
_UPLOADS = re.compile(r"/gradio_api/upload/?|/api/projects/[0-9]+/labels")
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
    """Deny by default: only a server that nobody but this machine can reach works without a password."""
    return not settings.loopback_only or any(name.lower() not in LOOPBACK for name in settings.allowed_hosts)


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


def body_limit(path: str) -> int:
    """Bytes a body sent to this path may have."""
    return UPLOAD_LIMIT if _UPLOADS.fullmatch(path) else BODY_LIMIT
