"""R-15: a page that is open while nobody works at it asks the server next to nothing."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch

STEP_MS = 3_000


def let_pass(page: Page, seconds: int) -> None:
    """Time of the page, in steps: an answer of the server has to come before the next wait begins."""
    for _ in range(seconds * 1000 // STEP_MS):
        page.clock.run_for(STEP_MS)
        page.evaluate("() => fetch('/healthz')")  # what was asked before has been answered now


def asked(watch: Watch, since: int) -> list[str]:
    return [url for url in watch.requests[since:] if "/healthz" not in url]


def test_an_open_page_that_nobody_uses_asks_once_in_half_a_minute_at_most(
    page: Page, live_site: Site, project: int, watch: Watch
) -> None:
    page.clock.install()
    annotate = Annotate(page, live_site, project).open()
    before = len(watch.requests)
    let_pass(page, 30)
    assert len(asked(watch, before)) >= 3, "somebody who was here a moment ago sees what goes on"
    let_pass(page, 60)
    before = len(watch.requests)
    let_pass(page, 180)
    assert len(asked(watch, before)) <= 6
    before = len(watch.requests)
    page.mouse.move(300, 300)
    annotate.wait_for_request(watch, "/status")
    let_pass(page, 30)
    assert len(asked(watch, before)) >= 3
