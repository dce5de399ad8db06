"""Rules over raw headers, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.api import rules
from annotator.settings import Settings

HERE = (b"host", b"127.0.0.1:7860")


def headers(**values: str) -> list[tuple[bytes, bytes]]:
    return [HERE] + [(name.replace("_", "-").encode(), value.encode()) for name, value in values.items()]


@pytest.mark.parametrize(
    "value", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860", "annotate.example", "box"]
)
def test_a_server_answers_to_loopback_its_own_name_and_the_listed_names(value: str) -> None:
    assert rules.HostRule("box", ["Annotate.Example"]).allows(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "evil",
        "127.0.0.1.evil.com",
        "localhost:7860@evil",
        "localhost/abc?",
        "a/b?",
        "localhost:",
        "localhost:123456",
        "[::1",
        "localhost\n",
        "localhost ",
        "192.168.1.4",
        "xn--lcalhost-x",
    ],
)
def test_a_server_does_not_answer_to_any_other_host(value: str | None) -> None:
    assert not rules.HostRule("127.0.0.1", []).allows(value)


def test_a_server_on_every_address_answers_to_addresses_but_not_to_unlisted_names() -> None:
    rule = rules.HostRule("0.0.0.0", [])
    assert rule.allows("192.168.1.4:7860")
    assert rule.allows("[fe80::1]:7860")
    assert not rule.allows("rebound.evil.com")


@given(st.text(max_size=40))
def test_no_text_beside_a_listed_name_passes_as_host(value: str) -> None:
    allowed = rules.HostRule("127.0.0.1", []).allows(value)
    bare = value.lower().rsplit(":", 1)[0] if not value.endswith("]") else value
    assert not allowed or bare.strip("[]").lower() in {"127.0.0.1", "localhost", "::1"}


def test_a_header_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="host is given 2 times"):
        rules.header([HERE, (b"host", b"evil")], b"host")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "given",
    [
        {"origin": "http://evil.com"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:7860.evil.com"},
        {"origin": "http://127.0.0.1"},
        {"origin": "file://127.0.0.1:7860"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "same-origin", "origin": "http://evil.com"},
        {"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:7860"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
    ],
)
def test_another_sites_page_cannot_change_anything(method: str, given: dict[str, str]) -> None:
    assert rules.cross_site(method, headers(**given))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:7860"},
        {"sec_fetch_site": "none"},
        {"origin": "https://127.0.0.1:7860"},
    ],
)
def test_our_own_page_and_programs_may_post(given: dict[str, str]) -> None:
    assert not rules.cross_site("POST", headers(**given))


def test_another_site_may_link_to_us_but_not_embed_or_fetch() -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert not rules.cross_site("GET", headers(**link, sec_fetch_dest="document"))
    assert rules.cross_site("GET", headers(**link, sec_fetch_dest="iframe"))
    assert rules.cross_site("GET", headers(sec_fetch_site="cross-site", sec_fetch_mode="no-cors"))


@pytest.mark.parametrize(
    ("given", "required"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "192.168.1.4"}, True),
        ({"allowed_hosts": ("annotate.example",)}, True),
        ({"allowed_hosts": ("localhost",)}, False),
    ],
)
def test_only_a_server_for_this_machine_alone_works_without_sign_in(
    tmp_path: Path, given: dict[str, object], required: bool
) -> None:
    assert rules.sign_in_required(Settings(data_dir=tmp_path, **given)) is required


def test_only_upload_addresses_take_large_bodies() -> None:
    assert rules.body_limit("/gradio_api/upload") == rules.UPLOAD_LIMIT
    assert rules.body_limit("/api/projects/3/labels") == rules.UPLOAD_LIMIT
    assert rules.body_limit("/api/projects/3/decisions") == rules.BODY_LIMIT
    assert rules.body_limit("/x/gradio_api/upload") == rules.BODY_LIMIT
