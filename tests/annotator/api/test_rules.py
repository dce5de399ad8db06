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
        ({"trusted_proxies": ("127.0.0.1",)}, True),
        ({"single_user": False}, True),
        ({"single_user": True, "host": "0.0.0.0"}, False),
    ],
)
def test_only_a_server_for_this_machine_alone_works_without_sign_in(
    tmp_path: Path, given: dict[str, object], required: bool
) -> None:
    assert rules.sign_in_required(Settings(data_dir=tmp_path, **given)) is required


@pytest.mark.parametrize(
    ("path", "media_type", "limit"),
    [
        ("/gradio_api/upload", "multipart/form-data", rules.UPLOAD_LIMIT),
        ("/api/projects/3/labels", "multipart/form-data", rules.UPLOAD_LIMIT),
        ("/api/projects/3/decisions", "application/json", rules.JSON_LIMIT),
        ("/api/projects/3/labels/x", "application/json", rules.JSON_LIMIT),
        ("/api/projects/x/labels", "application/json", rules.JSON_LIMIT),
        ("/gradio_api/queue/join", "application/json", rules.EVENT_LIMIT),
        ("/login", "application/x-www-form-urlencoded", rules.FORM_LIMIT),
        ("/x/gradio_api/upload", "application/x-www-form-urlencoded", rules.FORM_LIMIT),
    ],
)
def test_every_address_takes_one_kind_of_body_and_only_uploads_large_ones(
    path: str, media_type: str, limit: int
) -> None:
    files_only = path == "/gradio_api/upload"
    assert rules.body_rule(path) == rules.BodyRule(media_type, limit, files_only)


JSON = rules.BodyRule("application/json", 100)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"content_length": "0"},
        {"content_length": "0", "content_type": "text/plain"},
        {"content_length": "5", "content_type": "application/json"},
        {"content_length": "100", "content_type": "Application/JSON; charset=UTF-8"},
        {"transfer_encoding": "chunked", "content_type": 'application/json;charset="utf-8"'},
        {"content_length": "5", "content_type": "application/json", "content_encoding": "identity"},
    ],
)
def test_a_body_of_the_right_kind_or_none_is_taken(given: dict[str, str]) -> None:
    rules.check_body(JSON, headers(**given))


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"content_length": "5"}, 415),
        ({"transfer_encoding": "chunked"}, 415),
        ({"content_length": "5", "content_type": "text/plain"}, 415),
        ({"content_length": "5", "content_type": "application/json, text/plain"}, 415),
        ({"content_length": "5", "content_type": "application/jsonp"}, 415),
        ({"content_length": "5", "content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_length": "5", "content_type": "application/json; charset=utf-16"}, 415),
        ({"content_length": "5", "content_type": "application/json", "content_encoding": "gzip"}, 415),
        (
            {"content_length": "5", "content_type": "application/json", "content_encoding": "identity, br"},
            415,
        ),
        ({"content_length": "101", "content_type": "application/json"}, 413),
    ],
)
def test_a_body_of_another_kind_or_size_is_not_taken(given: dict[str, str], status: int) -> None:
    with pytest.raises(rules.Unwanted) as refused:
        rules.check_body(JSON, headers(**given))
    assert refused.value.status == status


@pytest.mark.parametrize("length", ["ten", "-1", "1.5", "1_0", "\u0663", "9" * 5000])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    # Header values are bytes: the odd digit arrives as other letters and is no number either.
    with pytest.raises((ValueError, rules.Unwanted)):
        rules.check_body(JSON, headers(content_length=length, content_type="application/json"))
