"""How the server meets a network: what it refuses to start with, what it warns of, what uvicorn is told."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Any

from annotator.api.rules import host_name, sign_in_required
from annotator.errors import AnnotatorError
from annotator.settings import Settings


def check_exposure(settings: Settings) -> None:
    """AnnotatorError when passwords would cross a network in the open, or what is said of it cannot be used.

    Half of a certificate, one that is none, the name of a host or proxy that would never match.
    """
    if (settings.ssl_certfile is None) != (settings.ssl_keyfile is None):
        raise AnnotatorError("HTTPS needs both: set ssl_certfile and ssl_keyfile.")
    for name in ("ssl_certfile", "ssl_keyfile"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            raise AnnotatorError(f"Setting {name}: there is no file {path}.")
    if settings.ssl_certfile is not None and settings.ssl_keyfile is not None:
        _check_certificate(settings.ssl_certfile, settings.ssl_keyfile)
    for name in settings.allowed_hosts:
        if name.lower() not in (host_name(name), host_name(f"[{name}]")):
            raise AnnotatorError(
                f"Setting allowed_hosts: {name!r} is not the name of a host; give it without scheme, port "
                "and path, and no pattern."
            )
    for proxy in settings.trusted_proxies:
        _check_proxy(proxy)
    exposed = not settings.loopback_only and not settings.encrypted
    if exposed and sign_in_required(settings) and not settings.insecure_http:
        raise AnnotatorError(
            f"On {settings.host} passwords would cross the network unencrypted: set ssl_certfile and "
            "ssl_keyfile, or trusted_proxies when a proxy has the certificate, or accept it with "
            "--insecure-http."
        )


def _check_certificate(certificate: Path, key: Path) -> None:
    """AnnotatorError for what TLS cannot use; a key with a passphrase would wait for somebody to type it."""

    def locked() -> str:
        raise AnnotatorError(f"Setting ssl_keyfile: {key} has a passphrase; give a key without one.")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=locked)
    except ssl.SSLError as error:
        reason = (error.reason or "not PEM").lower().replace("_", " ")
        raise AnnotatorError(
            f"Settings ssl_certfile and ssl_keyfile: {certificate} and {key} are no certificate and its key "
            f"in PEM form ({reason})."
        ) from error
    except OSError as error:
        raise AnnotatorError(
            f"Settings ssl_certfile and ssl_keyfile: {certificate} or {key}: {error.strerror}."
        ) from error


def _check_proxy(text: str) -> None:
    """AnnotatorError for what uvicorn would believe from anybody (`*`) or, as a name, from nobody."""
    try:
        known = ipaddress.ip_network(text, strict=False)
    except ValueError:
        known = None
    if known is None or known.prefixlen == 0:
        raise AnnotatorError(
            f"Setting trusted_proxies: {text!r} is not the address or network of a proxy; whoever is "
            "believed chooses the address that wrong passwords are counted for."
        )


def network_warnings(settings: Settings) -> list[str]:
    """What whoever starts the server should see in red; nothing on loopback or behind TLS with sign-in."""
    warnings = []
    if not settings.loopback_only and not sign_in_required(settings):
        warnings.append(
            "WARNING: single-user mode on an address others can reach: everybody who opens it is the "
            "administrator, may read every picture and change every label."
        )
    if not settings.loopback_only and not settings.encrypted:
        warnings.append("WARNING: not encrypted: anyone on the network can read passwords, pictures, labels.")
    return warnings


def transport(settings: Settings) -> dict[str, Any]:
    """Arguments of `uvicorn.Config`: certificate, and whose forwarding headers are believed (nobody's)."""
    return {
        "ssl_certfile": settings.ssl_certfile,
        "ssl_keyfile": settings.ssl_keyfile,
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": list(settings.trusted_proxies),
    }


def scheme(settings: Settings) -> str:
    """The scheme of the address that the server itself answers on."""
    return "https" if settings.ssl_certfile is not None else "http"
