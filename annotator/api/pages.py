"""The pages a person sees before signing in: plain HTML, no script, and only escaped text in it."""

from __future__ import annotations

from html import escape

from fastapi.responses import HTMLResponse

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
}
NOT_ENCRYPTED = "Not encrypted: anyone on the network can read the password you type here."

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title} – Annotation assistant</title><style>
:root{{color-scheme:light dark}}
body{{font:15px/1.5 system-ui,sans-serif;margin:0;padding:1rem;color:light-dark(#1b2430,#e6eaf0);
background:light-dark(#f6f8fa,#10151b)}}
main{{max-width:22rem;margin:10vh auto 0;padding:1.5rem 1.75rem 1.75rem;border-radius:8px;
border:1px solid light-dark(#d8dee6,#2c3440);background:light-dark(#fff,#171c23)}}
h1{{font-size:1.3rem;margin:0 0 .75rem}}
p{{margin:.5rem 0}}
.product{{color:light-dark(#55606e,#9aa6b4);margin:0}}
label{{display:block;margin:1rem 0 .25rem}}
input{{width:100%;box-sizing:border-box;font:inherit;padding:.5rem .6rem;border-radius:6px;
border:1px solid light-dark(#8a95a3,#5b6775);background:light-dark(#fff,#0e1217);color:inherit}}
button{{margin-top:1.25rem;font:inherit;font-weight:600;padding:.5rem 1.25rem;border:0;border-radius:6px;
background:#1f5f9e;color:#fff;cursor:pointer}}
:focus-visible{{outline:2px solid light-dark(#1f5f9e,#6cb2f5);outline-offset:2px}}
p[role=alert]{{color:light-dark(#a40e26,#f4837a)}}
p.warning{{background:#a40e26;color:#fff;padding:.5rem .75rem}}
</style></head><body><main>{warning}<p class="product">Annotation assistant</p>
<h1>{title}</h1>{alert}{form}</main></body></html>
"""

_LOGIN = """<form method="post" action="/login">
<label for="name">Name</label>
<input id="name" name="name" autocomplete="username" required value="{name}"{at_name}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required{at_password}>
<button>Sign in</button></form>"""

_SETUP = """<p>Nobody has signed in to this server yet. It printed a one-time secret when it started.
You will sign in with the name <strong>owner</strong> and the password you choose here.</p>
<form method="post" action="/setup">
<label for="secret">One-time secret</label>
<input id="secret" name="secret" autocomplete="off" required autofocus>
<label for="password">New password, at least 10 characters</label>
<input id="password" name="password" type="password" autocomplete="new-password" minlength="10" required>
<button>Set password</button></form>"""

# No action: the form goes back to the address it came from, which holds the secret.
_INVITE = """<p>{purpose}</p>
<form method="post">{name}
<label for="password">Password, at least 10 characters</label>
<input id="password" name="password" type="password" autocomplete="new-password" minlength="10" required>
<button>{button}</button></form>"""

_NAME = """
<label for="name">Your name, as the others will see it</label>
<input id="name" name="name" autocomplete="username" maxlength="200" required autofocus value="{name}">
<p>If you have an account on this server already, give its name and password.</p>"""


def _page(
    title: str,
    form: str,
    *,
    alert: str,
    status: int,
    headers: dict[str, str] | None,
    insecure: bool,
) -> HTMLResponse:
    shown = f'<p role="alert">{escape(alert)}</p>' if alert else ""
    warning = f'<p class="warning">{NOT_ENCRYPTED}</p>' if insecure else ""
    body = _PAGE.format(title=title, alert=shown, form=form, warning=warning)
    return HTMLResponse(body, status, headers=_HEADERS | (headers or {}))


def login_page(
    alert: str = "",
    *,
    name: str = "",
    status: int = 200,
    headers: dict[str, str] | None = None,
    insecure: bool = False,
) -> HTMLResponse:
    """Asks for name and password, with the name that was given before; `insecure` warns that they go over
    the network in the open."""
    at = (" autofocus", "") if not name else ("", " autofocus")
    form = _LOGIN.format(name=escape(name), at_name=at[0], at_password=at[1])
    return _page("Sign in", form, alert=alert, status=status, headers=headers, insecure=insecure)


def setup_page(
    alert: str = "", *, status: int = 200, headers: dict[str, str] | None = None, insecure: bool = False
) -> HTMLResponse:
    """Asks for the one-time secret and a new password."""
    return _page("First sign-in", _SETUP, alert=alert, status=status, headers=headers, insecure=insecure)


def invite_page(
    purpose: str,
    alert: str = "",
    *,
    reset: bool,
    given: str = "",
    status: int = 200,
    headers: dict[str, str] | None = None,
    insecure: bool = False,
) -> HTMLResponse:
    """Asks for a name, `given` before, and a password, or with `reset` for a new password alone."""
    button = "Set password" if reset else "Join"
    name = _NAME.format(name=escape(given))
    form = _INVITE.format(purpose=escape(purpose), name="" if reset else name, button=button)
    return _page("Invitation", form, alert=alert, status=status, headers=headers, insecure=insecure)


def refused_page(alert: str, *, status: int, headers: dict[str, str] | None = None) -> HTMLResponse:
    """Says why there is no form here."""
    return _page("Invitation", "", alert=alert, status=status, headers=headers, insecure=False)
