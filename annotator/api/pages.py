"""The two pages a person sees before signing in: plain HTML, no script, nothing from the request in it."""

from __future__ import annotations

from html import escape

from fastapi.responses import HTMLResponse

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:12vh auto;padding:0 1rem;color:#1b1f24}}
label{{display:block;margin:1rem 0 .25rem}}
input{{width:100%;box-sizing:border-box;font:inherit;padding:.5rem}}
button{{margin-top:1.25rem;font:inherit;padding:.5rem 1.25rem}}
p[role=alert]{{color:#a40e26}}
</style></head><body><main><h1>{title}</h1>{alert}{form}</main></body></html>
"""

_LOGIN = """<form method="post" action="/login">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button></form>"""

_SETUP = """<p>Nobody has signed in to this server yet. It printed a one-time secret when it started.</p>
<form method="post" action="/setup">
<label for="secret">One-time secret</label>
<input id="secret" name="secret" autocomplete="off" required autofocus>
<label for="password">New password, at least 10 characters</label>
<input id="password" name="password" type="password" autocomplete="new-password" minlength="10" required>
<button>Set password</button></form>"""


def _page(title: str, form: str, alert: str, status: int, headers: dict[str, str] | None) -> HTMLResponse:
    shown = f'<p role="alert">{escape(alert)}</p>' if alert else ""
    body = _PAGE.format(title=title, alert=shown, form=form)
    return HTMLResponse(body, status, headers=_HEADERS | (headers or {}))


def login_page(alert: str = "", *, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    """Asks for the password."""
    return _page("Sign in", _LOGIN, alert, status, headers)


def setup_page(alert: str = "", *, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    """Asks for the one-time secret and a new password."""
    return _page("First sign-in", _SETUP, alert, status, headers)
