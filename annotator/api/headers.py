"""Headers every answer carries, and those none may carry."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_POLICY = "frame-ancestors 'none'; object-src 'none'; base-uri 'self'"
_CORS = ("allow-origin", "allow-credentials", "allow-methods", "allow-headers", "expose-headers", "max-age")


def protect(headers: MutableHeaders) -> None:
    """Set the security headers and take away any permission for other origins."""
    for name in _CORS:
        del headers[f"access-control-{name}"]
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    # Beside a stricter policy of the route's own: a browser obeys all of them.
    headers.append("Content-Security-Policy", _POLICY)
