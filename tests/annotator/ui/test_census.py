"""Every route of the whole site, ours and Gradio's, against strangers, foreign pages and crooked paths."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from annotator.settings import Settings
from annotator.store import Store
from annotator.ui.app import create_site
from tests.annotator.asgi import LOCAL, Reply, Wire, answers, ask_all, every_route
from tests.annotator.hostile_paths import payloads

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO", "get", "")
NETWORK = "192.168.1.4:7860"
REFUSED = {401, 403, 404, 405}
# Everything else answers a stranger with one of those four. A new open address has to be written down here.
OPEN = {
    ("GET", "/healthz"): {200},
    ("GET", "/login"): {200, 303},
    ("GET", "/setup"): {200, 303},
    ("POST", "/login"): {422},
    ("POST", "/setup"): {422},
    ("GET", "/invite/{secret}"): {404},
    ("POST", "/invite/{secret}"): {404, 422},
}
# What of Gradio's own routes the page needs; a newer Gradio adds nothing to this by itself.
PAGE = {
    "GET /",
    "HEAD /",
    "GET /config",
    "GET /theme.css",
    "GET /favicon.ico",
    "GET /manifest.json",
    "GET /robots.txt",
    "GET /pwa_icon",
    "GET /pwa_icon/{size}",
    "GET /assets/{path:path}",
    "GET /static/{path:path}",
    "GET /gradio_api/info",
    "GET /gradio_api/app_id",
    "GET /gradio_api/theme.css",
    "GET /gradio_api/startup-events",
    "GET /gradio_api/queue/data",
    "GET /gradio_api/upload_progress",
    "GET /gradio_api/heartbeat/{session_hash}",
    "POST /gradio_api/queue/join",
    "POST /gradio_api/run/{api_name}",
    "POST /gradio_api/upload",
    "POST /gradio_api/cancel",
    "POST /gradio_api/reset",
}


@pytest.fixture(scope="module")
def open_site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., FastAPI]]:
    stores: list[Store] = []

    def opener(**chosen: object) -> FastAPI:
        folder = tmp_path_factory.mktemp("census")
        (folder / "secret.txt").write_text("root:PLANTED", encoding="utf-8")
        settings = Settings(data_dir=folder / "data", backbone="tiny", threads=1, **chosen)
        settings.data_dir.mkdir()
        shutil.copyfile(migrated, settings.database)
        stores.append(Store.open(settings))
        return create_site(stores[-1], settings)

    yield opener
    for store in stores:
        store.close()


@pytest.fixture(scope="module")
def local(open_site: Callable[..., FastAPI]) -> FastAPI:
    """Everybody is the owner: whatever the guard lets through is carried out."""
    return open_site()


@pytest.fixture(scope="module")
def public(open_site: Callable[..., FastAPI]) -> FastAPI:
    return open_site(host="0.0.0.0", insecure_http=True)


def filled(template: str) -> str:
    """An address of a route; values are ids that do not exist."""
    return re.sub(r"\{[^}]*\}", "1", template.replace("{kind}", "coco"))


def is_ours(template: str) -> bool:
    return template.startswith(("/api/", "/img/", "/invite/", "/healthz", "/login", "/setup", "/logout"))


def test_a_stranger_gets_nothing_from_any_route_by_any_method(public: FastAPI) -> None:
    templates = {template for template, _ in every_route(public)}
    assert len(templates) > 100, "the walk misses routes"
    wires = {
        (method, template): Wire(method, filled(template), host=NETWORK)
        for template in sorted(templates | {"/nothing", "//login", "/login/../config", "/healthz/x"})
        for method in METHODS
    }
    seen: dict[tuple[str, str], Reply] = dict(zip(wires, answers(public, list(wires.values())), strict=True))
    for (method, template), reply in seen.items():
        allowed = OPEN.get((method, template), REFUSED)
        assert reply.status in allowed, (method, template, reply.status, reply.text[:200])
        if reply.status in REFUSED and "text/html" not in reply.header("content-type"):
            assert reply.code
    assert seen["GET", "/healthz"].status == 200
    assert seen["GET", "/config"].code == "not_signed_in"


def test_of_gradio_only_what_the_page_needs_is_there(local: FastAPI) -> None:
    inner = [(path, methods) for path, methods in every_route(local) if not is_ours(path)]
    wires = {
        f"{method} {path}": Wire(method, filled(path).replace("/run/1", "/run/predict"))
        for path, methods in inner
        for method in methods
        if "/heartbeat/" not in path and "/queue/data" not in path and "progress" not in path  # never end
    }
    found = {
        name
        for name, reply in zip(wires, answers(local, list(wires.values())), strict=True)
        if not (reply.status in {404, 405} and reply.code in {"not_found", "method_not_allowed"})
    }
    missing_files = {"GET /assets/{path:path}", "GET /static/{path:path}"}
    assert found - {"GET /openapi.json", "HEAD /openapi.json"} <= PAGE
    assert {"GET /", "GET /config", "POST /gradio_api/queue/join"} <= found | missing_files


FOREIGN = (
    (("Origin", "http://evil.example"),),
    (("Origin", "null"),),
    (("Origin", f"http://{LOCAL}.evil.example"),),
    (("Origin", f"http://evil.example/{LOCAL}"),),
    (("Sec-Fetch-Site", "cross-site"),),
    (("Sec-Fetch-Site", "same-site"), ("Origin", f"http://{LOCAL}")),
)
BODIES = (
    ("application/json", b'{"name": "planted"}'),
    ("text/plain", b'{"name": "planted"}'),
    ("application/x-www-form-urlencoded", b"name=planted"),
    (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
    ),
)


def test_another_sites_page_can_make_no_route_do_anything(local: FastAPI) -> None:
    wires = [
        Wire(method, filled(path), (*foreign, ("Content-Type", kind)), body)
        for path, methods in every_route(local)
        for method in methods & {"POST", "PUT", "PATCH", "DELETE"}
        for foreign in FOREIGN
        for kind, body in BODIES
    ]
    assert len(wires) > 1000

    def check(wire: Wire, reply: Reply) -> None:
        assert reply.status == 403 and reply.code == "cross_site", (wire, reply.status)
        assert "access-control-allow-origin" not in dict(reply.headers), wire

    ask_all(local, wires, check)


def test_no_route_gives_another_site_permission_to_read(local: FastAPI) -> None:
    foreign = (("Origin", "http://evil.example"), ("Access-Control-Request-Method", "POST"))
    wires = [
        Wire(method, filled(path), foreign)
        for path, methods in every_route(local)
        for method in ("GET", "OPTIONS")
        if not re.search("heartbeat|queue/data|progress", path)
    ]

    def check(wire: Wire, reply: Reply) -> None:
        given = [name for name, _ in reply.headers if name.startswith("access-control-")]
        assert given == [], (wire, given)
        assert "frame-ancestors 'none'" in reply.header("content-security-policy"), wire
        assert reply.header("x-content-type-options") == "nosniff", wire

    ask_all(local, wires, check)


def test_no_crooked_path_leads_to_a_file(local: FastAPI) -> None:
    crooked = payloads()
    assert len(crooked) >= 200
    places = {
        "/{}",
        "/img/{}",
        "/api/projects/{}/status",
        "/api/projects/1/images/{}",
        "/api/projects/1/export/{}",
        "/invite/{}",
        *(
            re.sub(r"\{[^}]*\}", "{}", path, count=1)
            for path, _ in every_route(local)
            if re.search(r"\{(?:path|path_or_url|url_path|size|file_name|page|id|key)\b", path)
        ),
    }
    assert "/gradio_api/file={}" in places and "/assets/{}" in places
    wires = [Wire("GET", filled(place.replace("{}", text))) for place in sorted(places) for text in crooked]

    def check(wire: Wire, reply: Reply) -> None:
        # "/" and "//" followed by nothing may be the page itself; nothing else may be there.
        where = (wire.target[:100], reply.status, reply.text[:200])
        assert reply.status in {400, 404, 405, 414, 422}, where
        assert "root:" not in reply.text and "SQLite format" not in reply.text, where
        assert "x-injected" not in dict(reply.headers), where
        if "text/html" in reply.header("content-type"):  # a page for people, with nothing of the address
            assert "There is no such invitation" in reply.text, where
        else:
            assert reply.header("content-type").startswith("application/json") and reply.code, where

    ask_all(local, wires, check)


@pytest.mark.parametrize("sign", ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>"])
def test_nothing_of_a_request_stands_in_any_page(public: FastAPI, local: FastAPI, sign: str) -> None:
    wires = [
        Wire(
            "GET",
            f"{target}?next={sign}&error={sign}",
            (("Accept", "text/html"), ("Referer", sign)),
            host=host,
        )
        for target in ("/", "/login", "/setup", "/invite/x", f"/{sign}", f"/invite/{sign}", "/config/")
        for host in (NETWORK, LOCAL)
    ]

    def check(wire: Wire, reply: Reply) -> None:
        if "text/html" in reply.header("content-type"):
            assert sign not in reply.text, wire

    ask_all(public, wires[::2], check)
    ask_all(local, wires[1::2], check)


FORGED = (
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Host", "a:b:c"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Prefix", "/evil.example"),
    ("X-Gradio-Server", "http://evil.example"),
    ("Forwarded", "host=evil.example"),
)


def test_no_address_on_a_page_is_built_from_a_forged_header(local: FastAPI) -> None:
    """A-03: also not for whoever comes next; the toolkit keeps the first list of events it made for all."""
    targets = ("/gradio_api/info", "/", "/config")
    wires = [Wire("GET", target, (header,)) for header in FORGED for target in targets]
    wires += [Wire("GET", target) for target in targets]

    def check(wire: Wire, reply: Reply) -> None:
        assert reply.status == 200, wire
        assert "evil.example" not in reply.text and f"https://{LOCAL}" not in reply.text, wire
        assert f"http://{LOCAL}" in reply.text, wire  # the address is there to be looked at

    ask_all(local, wires, check)


@pytest.mark.parametrize("where", ["//evil", "/\\evil", "https:evil", "%2f%2fevil", "javascript:alert(1)"])
def test_no_redirect_leads_off_the_site(local: FastAPI, public: FastAPI, where: str) -> None:
    wires = [
        Wire("GET", f"{path}?next={where}&redirect={where}&url={where}") for path in ("/login", "/setup", "/")
    ]
    for reply in answers(local, wires):
        assert reply.header("location") in {"", "/"}
    outside = [Wire(wire.method, wire.target, host=NETWORK) for wire in wires]
    for reply in answers(public, [*outside, Wire("GET", f"/{where}", host=NETWORK)]):
        assert reply.header("location") in {"", "/login", "/setup"}


def test_the_answer_to_an_unknown_method_of_a_known_address_says_which_there_are(local: FastAPI) -> None:
    put, nothing, event = answers(
        local,
        [
            Wire("PUT", "/api/projects/1/status"),
            Wire("GET", "/api/nothing"),
            Wire("GET", "/gradio_api/upload"),
        ],
    )
    assert (put.status, put.header("allow")) == (405, "GET")
    assert (nothing.status, nothing.code) == (404, "not_found")
    assert (event.status, event.header("allow")) == (405, "POST")
    assert json.loads(put.body)["error"]["message"] == "This address does not take that method."
