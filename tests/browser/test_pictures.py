"""A picture that the server cannot send at once is asked for again, not more often than it wants (A-31)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch

REFUSALS = 3  # the <img>, the question why, and the next <img>
ARRIVED = "(images) => images.every((one) => one.complete && one.naturalWidth > 0)"


def refuse(page: Page, watch: Watch, status: int, times: int, headers: dict[str, str]) -> Counter[str]:
    """Refuse the first `times` requests for each picture; how often each was asked for."""
    asked: Counter[str] = Counter()
    watch.allow(f"the server responded with a status of {status}")

    def answer(route: Route) -> None:
        asked[route.request.url] += 1
        if asked[route.request.url] <= times:
            route.fulfill(status=status, headers=headers, json={"error": {"code": "x", "message": "Later."}})
        else:
            route.continue_()

    page.route("**/img/**", answer)
    return asked


def test_a_long_wait_for_the_picture_in_question_is_told(
    page: Page, watch: Watch, live_site: Site, project: int
) -> None:
    refuse(page, watch, 503, 10**9, {"Retry-After": "30"})
    page.goto(f"{live_site.url}/?project={project}")
    expect(page.locator("#annotate-surface")).to_contain_text("Later.")


@pytest.mark.parametrize("status", [429, 503])
def test_large_and_small_pictures_come_when_the_server_can_send_them(
    page: Page, watch: Watch, live_site: Site, project: int, status: int
) -> None:
    asked = refuse(page, watch, status, REFUSALS, {"Retry-After": "1"})
    annotate = Annotate(page, live_site, project).open()
    picture = annotate.surface.locator(".ann-canvas img")
    expect(picture).to_be_visible()
    assert picture.evaluate("(one) => one.naturalWidth") > 0
    annotate.press("m").in_mode("grid")
    cells = annotate.surface.locator(".ann-cell img")
    expect(cells.first).to_be_attached()
    page.wait_for_function(f"({ARRIVED})([...document.querySelectorAll('.ann-cell img')])")
    # Refused, asked why and waited, refused again, asked why; then it comes, and no third round is needed.
    thumbs = [count for url, count in asked.items() if url.endswith("size=thumb")]
    assert thumbs and all(REFUSALS < count <= REFUSALS + 2 for count in thumbs), asked


def test_a_picture_that_is_not_there_is_not_asked_for_again(
    page: Page, watch: Watch, live_site: Site, project: int, settle: Callable[[Page], None]
) -> None:
    annotate = Annotate(page, live_site, project).open()
    asked = refuse(page, watch, 404, 10**9, {})
    annotate.press("m").in_mode("grid")
    expect(annotate.surface.locator(".ann-cell img").first).to_be_attached()
    settle(page)
    thumbs = [count for url, count in asked.items() if url.endswith("size=thumb")]
    assert thumbs and set(thumbs) == {2}, "once as a picture, once to see why it did not come"


def test_a_picture_left_behind_is_not_asked_for_any_more(
    page: Page, watch: Watch, live_site: Site, project: int, settle: Callable[[Page], None]
) -> None:
    annotate = Annotate(page, live_site, project).open()
    asked = refuse(page, watch, 429, 10**9, {"Retry-After": "1"})
    annotate.press("m").in_mode("grid")
    expect(annotate.surface.locator(".ann-cell img").first).to_be_attached()
    annotate.press("m")
    settle(page)
    before = {url: count for url, count in asked.items() if url.endswith("size=thumb")}
    settle(page)
    assert {url: count for url, count in asked.items() if url.endswith("size=thumb")} == before


@pytest.fixture
def settle() -> Callable[[Page], None]:
    """Let more time pass in the page than it would rest before it asks again."""
    return lambda page: page.wait_for_timeout(3500)
