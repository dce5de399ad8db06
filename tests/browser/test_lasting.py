"""What a page shows whose streams were cut because its person may no longer have them (A-24)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from annotator.actions import Actions
from annotator.errors import Conflict
from annotator.people import Role
from tests.browser.conftest import CATEGORIES
from tests.browser.people import Dialog, Person, guarded, invite, own_name
from tests.browser.site import Site
from tests.browser.surface import Watch


@pytest.fixture(scope="module")
def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with guarded(migrated, tmp_path_factory.mktemp("lasting")) as found:
        yield found


@pytest.fixture
def mia(site: Site, pictures: list[Path], request: pytest.FixtureRequest, watch: Watch) -> Person:
    watch.home = site.url
    return invite(site, site.project(own_name(request), CATEGORIES, pictures), "Mia")


def test_whoever_is_signed_out_is_told_on_every_tab_and_goes_on_after_signing_in(
    mia: Person, new_page: Callable[..., Page], watch: Watch
) -> None:
    """The stream that keeps the page alive is cut; nothing spins for ever."""
    watch.allow("401")
    watch.allow("ERR_INCOMPLETE_CHUNKED_ENCODING")
    mia.take_part(Role.REVIEWER)
    page = new_page()
    desk, line = mia.at(page), page.locator("#health .health")
    expect(line).to_be_hidden()
    with page.expect_event("requestfailed", lambda request: "/heartbeat/" in request.url):
        mia.expire()
    page.get_by_role("tab", name="Learn").click()
    expect(line).to_have_text("You are signed out: load the page again and sign in.")
    page.get_by_role("tab", name="Annotate").click()
    Dialog(desk).shown().sign_in(mia.name)
    expect(line).to_be_hidden()
    desk.press("y").saved()


def test_a_role_that_is_lowered_while_an_event_runs_brings_the_page_as_it_is_now(
    mia: Person,
    new_page: Callable[..., Page],
    watch: Watch,
    pictures: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stream of that event is cut, and the page toolkit loads the page anew."""
    for said_by_toolkit in (
        "ERR_INCOMPLETE_CHUNKED_ENCODING",
        "Method not implemented",
        "errored out",
        "network error",
    ):
        watch.allow(said_by_toolkit)
    mia.take_part(Role.ADMIN)
    page = new_page()
    desk = mia.at(page)
    runs, go_on = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> None:
        runs.set()
        assert go_on.wait(60)
        raise Conflict("It was only waiting.")

    monkeypatch.setattr(Actions, "import_files", slow)
    page.get_by_role("tab", name="Import").click()
    page.locator("#upload-pictures input[type=file]").first.set_input_files(str(pictures[0]))
    expect(page.locator("#upload-pictures")).to_contain_text(pictures[0].name)
    page.get_by_role("button", name="Import uploaded files").click()
    expect(page.get_by_text("processing")).not_to_have_count(0)
    assert runs.wait(30)
    with page.expect_event("load"):
        mia.take_part(Role.ANNOTATOR)
    go_on.set()
    expect(desk.surface).to_have_attribute("data-image", re.compile("[0-9]+"))
    expect(page.get_by_role("tab", name="Import")).to_be_hidden()
    desk.press("y").saved()
