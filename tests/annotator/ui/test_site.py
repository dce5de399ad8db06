"""The mounted site: the page is there, and neither it nor Gradio talks to anybody else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import httpx
import pytest
from fastapi.testclient import TestClient

import assets
from annotator.settings import Settings
from annotator.store import Store
from annotator.ui.app import create_site
from annotator.ui.theme import page_theme
from tests.faults.servers import ticks

JS_LINES = 400


@pytest.fixture
def client(store: Store, settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_site(store, settings), base_url="http://localhost") as client:
        yield client


def test_the_page_and_the_api_live_on_one_site(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "annotate-surface" in page.text
    assert client.get("/api/projects").json() == []
    assert client.get("/healthz").json() == {"status": "ok"}


def test_the_guard_stands_before_gradio_too(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    refused: httpx.Response = client.post(
        "/gradio_api/queue/join", headers={"Sec-Fetch-Site": "cross-site"}, json={}
    )
    assert refused.status_code == 403


def test_gradio_sends_no_analytics_and_shows_no_traceback(client: TestClient) -> None:
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert config["show_error"] is False
    assert config["footer_links"] == []
    assert gr.analytics.analytics_enabled() is False


def test_the_annotate_surface_has_no_dependency_on_gradio_events(client: TestClient) -> None:
    config = client.get("/config").json()
    surface = next(one for one in config["components"] if one["props"].get("elem_id") == "annotate")
    assert all(
        surface["id"] not in [target[0] for target in one["targets"]] for one in config["dependencies"]
    )
    assert all(surface["id"] not in one["outputs"] for one in config["dependencies"])


def test_the_theme_downloads_no_font() -> None:
    theme = page_theme()
    assert theme._stylesheets == []
    assert not re.search(r"https?://", "".join(theme._font_css))


def test_the_surface_holds_no_template_syntax_and_the_styles_ask_nobody() -> None:
    assert not re.search(r"\$\{|\{\{|`|<script", assets.annotate_markup())
    assert not re.search(r"https?://|@import|url\(", assets.page_styles())
    assert not re.search(r"\$\{|\{\{|`|<script", assets.people_markup())
    for name in {*assets.SCRIPTS, *assets.PEOPLE_SCRIPTS}:
        assert not re.search(r"https?://", assets.read_text(name)), name


def test_every_script_is_in_its_bundle_once_and_stays_readable() -> None:
    folder = Path(assets.__file__).parent
    bundles = {
        assets.annotate_script: assets.SCRIPTS,
        assets.people_script: assets.PEOPLE_SCRIPTS,
        assets.health_script: ("health.js",),
    }
    assert {path.name for path in folder.glob("*.js")} == set().union(*bundles.values())
    for bundle, names in bundles.items():
        for name in names:
            text = assets.read_text(name)
            assert bundle().count(text) == 1
            assert len(text.splitlines()) < JS_LINES, name
            assert max(len(line) for line in text.splitlines()) <= 125, name


def test_a_missing_asset_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.js"):
        assets.read_text("nothing.js")


def test_the_guidance_on_keys_matches_the_buttons() -> None:
    markup, keys = assets.annotate_markup(), assets.read_text("keys.js")
    actions = set(re.findall(r'data-action="([a-z-]+)"', markup))
    moves = {"down", "up", "grid-left", "grid-right", "grid-up", "grid-down"}
    choices = {"mine", "theirs"}  # their buttons come with what there is to choose
    assert (
        actions - {"proposal", "categories"}
        == set(re.findall(r'action: "([a-z-]+)"', keys)) - moves - choices
    )


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # Gradio's figures about its events
def test_an_event_that_fails_is_told_by_the_log_and_nowhere_else(
    client: TestClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    event = next(
        one for one in client.get("/config").json()["dependencies"] if one["api_name"] == "on_create"
    )
    body = {"fn_index": event["id"], "data": [], "session_hash": "unheard"}  # without what it works on
    assert client.post("/gradio_api/queue/join", json=body).status_code == 200
    for _ in ticks(20):
        if failed := [one for one in caplog.records if one.name == "annotator.ui.tracebacks"]:
            break
    assert len(failed) == 1 and failed[0].exc_info is not None and "on_create" in str(failed[0].exc_info[1])
    written = capfd.readouterr()
    assert "Traceback" not in written.out + written.err
