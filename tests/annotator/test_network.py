"""What a server refuses to start with on a network, and whose word it takes about an encrypted way in."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from annotator.api.rules import HostRule
from annotator.errors import AnnotatorError
from annotator.network import check_exposure, network_warnings, transport
from annotator.serving import greeting
from annotator.settings import Settings


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("makes a certificate with openssl")
    return made_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")


def made_certificate(cert: Path, key: Path, *secret: str) -> tuple[Path, Path]:
    """Both files; `secret`: how openssl protects the key."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    files = ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=annotate.example", "-days", "2"]
    subprocess.run([*new, *files, *(secret or ("-nodes",))], check=True, capture_output=True)
    return cert, key


def given(tmp_path: Path, **more: Any) -> Settings:
    return Settings(data_dir=tmp_path, **more)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "annotate.example"])
def test_passwords_over_plain_http_are_refused_before_anything_starts(tmp_path: Path, host: str) -> None:
    """A-48."""
    with pytest.raises(AnnotatorError, match=r"passwords would cross the network.*--insecure-http"):
        check_exposure(given(tmp_path, host=host))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"host": "localhost", "single_user": False},
        {"host": "0.0.0.0", "insecure_http": True},
        {"host": "0.0.0.0", "trusted_proxies": ("10.0.0.2",)},
        {"host": "0.0.0.0", "single_user": True},
        {"allowed_hosts": ("annotate.example",)},
    ],
)
def test_loopback_and_what_was_asked_for_start(tmp_path: Path, more: dict[str, Any]) -> None:
    check_exposure(given(tmp_path, **more))


@pytest.mark.parametrize("proxy", ["*", "0.0.0.0/0", "::/0", "proxy.local", "", "10.0.0.2:80"])
def test_a_proxy_is_an_address_and_never_everybody(tmp_path: Path, proxy: str) -> None:
    """A-03: with `*` any client would choose where it comes from, and each attempt would be the first."""
    with pytest.raises(AnnotatorError, match="trusted_proxies"):
        check_exposure(given(tmp_path, host="0.0.0.0", trusted_proxies=("10.0.0.2", proxy)))
    check_exposure(given(tmp_path, host="0.0.0.0", trusted_proxies=("10.0.0.2", "10.1.0.0/16", "fd00::2")))


@pytest.mark.parametrize("name", ["http://birds.example", "birds.example:7860", "*", "birds.example/", ""])
def test_a_name_that_no_request_can_have_is_told_at_the_start(tmp_path: Path, name: str) -> None:
    """Otherwise everybody would be refused by a server whose settings look right."""
    with pytest.raises(AnnotatorError, match="allowed_hosts"):
        check_exposure(given(tmp_path, allowed_hosts=("birds.example", name)))
    good = ("birds.example", "10.0.0.7", "fd00::2", "Birds-2.example")
    check_exposure(given(tmp_path, allowed_hosts=good))
    rule = HostRule("127.0.0.1", good)
    assert all(rule.allows(host) for host in ("birds.example:80", "[fd00::2]:80", "birds-2.example"))


def test_a_certificate_makes_it_start_and_half_of_one_does_not(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    settings = given(tmp_path, host="0.0.0.0", ssl_certfile=cert, ssl_keyfile=key)
    check_exposure(settings)
    assert network_warnings(settings) == []
    assert greeting(settings, 7860, "s3cret")[0].startswith("Open https://0.0.0.0:7860")
    with pytest.raises(AnnotatorError, match="HTTPS needs both"):
        check_exposure(given(tmp_path, ssl_certfile=cert))
    with pytest.raises(AnnotatorError, match=r"Setting ssl_keyfile: there is no file .*gone\.pem"):
        check_exposure(given(tmp_path, ssl_certfile=cert, ssl_keyfile=tmp_path / "gone.pem"))


def test_an_open_server_and_an_unencrypted_one_are_warned_of(tmp_path: Path) -> None:
    assert network_warnings(given(tmp_path)) == []
    alone = network_warnings(given(tmp_path, host="0.0.0.0", single_user=True))
    assert "everybody who opens it is the administrator" in alone[0] and "not encrypted" in alone[1]
    (plain,) = network_warnings(given(tmp_path, host="0.0.0.0", insecure_http=True))
    assert "not encrypted" in plain
    assert network_warnings(given(tmp_path, host="0.0.0.0", trusted_proxies=("10.0.0.2",))) == []


async def echo(scope: Any, receive: Any, send: Any) -> None:
    request = Request(scope)
    peer = request.client.host if request.client else None
    await JSONResponse({"scheme": scope["scheme"], "peer": peer})(scope, receive, send)


FORWARDED = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
}


@pytest.mark.parametrize(
    ("trusted", "peer", "believed"),
    [
        ((), "127.0.0.1", False),
        ((), "10.0.0.2", False),
        (("10.0.0.2",), "127.0.0.1", False),
        (("10.0.0.2",), "10.0.0.3", False),
        (("10.0.0.2",), "10.0.0.2", True),
    ],
)
def test_forwarding_headers_count_from_a_trusted_proxy_alone(
    tmp_path: Path, trusted: tuple[str, ...], peer: str, believed: bool
) -> None:
    """A-03: uvicorn believes this machine unasked; we do not even that."""
    config = uvicorn.Config(echo, lifespan="off", **transport(given(tmp_path, trusted_proxies=trusted)))
    config.load()
    client = TestClient(config.loaded_app, client=(peer, 5000))
    told = client.get("http://annotate.example/", headers=FORWARDED).json()
    assert told == (
        {"scheme": "https", "peer": "203.0.113.9"} if believed else {"scheme": "http", "peer": peer}
    )


def test_what_tls_cannot_use_is_refused_before_anything_starts(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    _, other = made_certificate(tmp_path / "cert2.pem", tmp_path / "key2.pem")
    _, locked = made_certificate(tmp_path / "cert3.pem", tmp_path / "key3.pem", "-passout", "pass:secret")
    words = tmp_path / "words.pem"
    words.write_text("no certificate")
    for wrong, said in (
        ((words, key), "not PEM|no start line|pem lib"),
        ((cert, other), "mismatch"),
        ((cert, locked), "has a passphrase"),  # nobody is there to type it
    ):
        settings = given(tmp_path, host="0.0.0.0", ssl_certfile=wrong[0], ssl_keyfile=wrong[1])
        with pytest.raises(AnnotatorError, match=f"ssl_keyfile.*(?i:{said})"):
            check_exposure(settings)


def test_the_certificate_is_the_one_uvicorn_serves_with(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    config = uvicorn.Config(
        echo, lifespan="off", **transport(given(tmp_path, ssl_certfile=cert, ssl_keyfile=key))
    )
    config.load()
    assert config.is_ssl and isinstance(config.ssl, ssl.SSLContext)
