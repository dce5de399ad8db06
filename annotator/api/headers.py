"""Headers every answer carries, and those none may carry."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_CORS = ("allow-origin", "allow-credentials", "allow-methods", "allow-headers", "expose-headers", "max-age")


def policy(inline_scripts: Sequence[str] = ()) -> str:
    """The Content-Security-Policy: everything from this server only, and of inline scripts only those named.

    `inline_scripts` are CSP hash sources (`'sha256-...'`). Two things are wider than one would wish, because
    the page toolkit cannot work without them: `'unsafe-eval'` (Gradio makes functions out of the text of
    `gr.HTML` templates and of `js=` of events; both are constants of ours, never text from people) and inline
    styles (Gradio's components set `style` attributes). An injected `<script>`, `onerror=` or `javascript:`
    link does not run under it.
    """
    scripts = " ".join(["script-src 'self' 'unsafe-eval'", *inline_scripts])
    return "; ".join(
        [
            "default-src 'self'",
            scripts,
            "script-src-attr 'none'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "frame-src 'none'",
            "frame-ancestors 'none'",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
        ]
    )


_POLICY = policy()


def protect(headers: MutableHeaders, page_policy: str | None = None) -> None:
    """Set the security headers and take away any permission for other origins.

    `page_policy` is the Content-Security-Policy of an answer that has inline scripts of its own.
    """
    for name in _CORS:
        del headers[f"access-control-{name}"]
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    if headers.get("content-type", "").startswith("application/json"):
        headers.setdefault("Cache-Control", "no-store")  # labels and names are not left behind in a browser
    # Beside a stricter policy of the route's own: a browser obeys all of them.
    headers.append("Content-Security-Policy", page_policy or _POLICY)
