"""An answer is never lost and never stored twice."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch

KEPT = "Object.keys(localStorage).filter((key) => key.startsWith('annotator:outbox:')).length"


def block(page: Page, watch: Watch) -> Callable[[Route], None]:
    """Cut the way of the answers."""
    watch.allow("net::ERR_FAILED")

    def cut(route: Route) -> None:
        route.abort()

    page.route("**/decisions", cut)
    return cut


def test_the_outbox_survives_a_reload_while_the_server_is_away_and_is_sent_once(
    annotate: Annotate, watch: Watch
) -> None:
    order, image = annotate.names(), annotate.image_id
    block(annotate.page, watch)
    annotate.press("y", "n", "u")
    expect(annotate.part("saved")).to_have_text("offline, retrying, 3 not yet saved")
    assert annotate.page.evaluate(KEPT) == 3
    annotate.open(image)
    expect(annotate.part("saved")).to_contain_text("3 not yet saved")
    expect(annotate.chip(order[0])).to_have_attribute("data-state", "positive")
    annotate.page.unroute("**/decisions")
    annotate.saved()
    assert annotate.answers(image) == {order[0]: "positive", order[1]: "negative", order[2]: "unsure"}
    assert len(annotate.site.log(annotate.project_id)) == 3
    assert annotate.page.evaluate(KEPT) == 0


def test_a_browser_that_was_killed_sends_what_it_had_kept_when_it_comes_back(
    annotate: Annotate, new_page: Callable[..., Page], watch: Watch
) -> None:
    order, image = annotate.names(), annotate.image_id
    block(annotate.page, watch)
    annotate.press("y", "n", "u")
    expect(annotate.part("saved")).to_contain_text("3 not yet saved")
    kept = annotate.page.context.storage_state()  # what the disk holds; the first browser says nothing more
    back = Annotate(new_page(storage_state=kept), annotate.site, annotate.project_id)
    block(back.page, watch)
    back.open(image)
    expect(back.part("saved")).to_contain_text("3 not yet saved")
    expect(back.chip(order[0])).to_have_attribute("data-state", "positive")
    assert annotate.answers(image) == {}
    back.page.unroute("**/decisions")
    back.saved()
    assert annotate.answers(image) == {order[0]: "positive", order[1]: "negative", order[2]: "unsure"}
    assert len(annotate.site.log(annotate.project_id)) == 3


def test_an_answer_whose_receipt_was_lost_is_sent_again_and_stored_once(
    annotate: Annotate, watch: Watch
) -> None:
    watch.allow("net::ERR_FAILED")

    def swallow(route: Route) -> None:
        route.fetch()  # the server stores it, the page never hears of it
        route.abort()

    annotate.page.route("**/decisions", swallow, times=1)
    annotate.press("y").saved()
    assert len(annotate.answers()) == 1
    assert len(annotate.site.log(annotate.project_id)) == 1


def test_answers_arrive_in_the_order_in_which_they_were_given(annotate: Annotate, watch: Watch) -> None:
    cut = block(annotate.page, watch)
    annotate.press("y", "k", "n", "k", "u")
    expect(annotate.part("saved")).to_contain_text("3 not yet saved")
    annotate.page.unroute("**/decisions", cut)
    annotate.saved()
    assert [row.state for row in annotate.site.log(annotate.project_id)] == [1, -1, 2]


def test_a_refused_answer_is_shown_and_does_not_hold_up_the_others(annotate: Annotate, watch: Watch) -> None:
    watch.allow("422")
    watch.allow("404")
    order, image = annotate.names(), annotate.image_id
    cut = block(annotate.page, watch)
    annotate.press("y", "n")
    expect(annotate.part("saved")).to_contain_text("2 not yet saved")
    spoil = """() => {
        const key = Object.keys(localStorage).filter((one) => one.startsWith('annotator:outbox:')).sort()[0];
        const entry = JSON.parse(localStorage.getItem(key));
        entry.decision.category_id = 999999;
        localStorage.setItem(key, JSON.stringify(entry));
    }"""
    annotate.page.evaluate(spoil)
    annotate.page.unroute("**/decisions", cut)
    expect(annotate.part("saved")).to_have_text("all saved, 1 refused")
    expect(annotate.part("refused")).to_contain_text("“yes” to category 999999")
    assert annotate.answers(image) == {order[1]: "negative"}
    annotate.surface.get_by_role("button", name="Discard").click()
    expect(annotate.part("refused")).to_be_hidden()
    annotate.saved()
    assert annotate.page.evaluate(KEPT) == 0


def test_two_tabs_of_one_person_send_every_answer_once(
    annotate: Annotate, new_page: Callable[..., Page], watch: Watch
) -> None:
    second = new_page(annotate.page.context)
    sent: list[str] = []
    for page in (annotate.page, second):
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    other = Annotate(second, annotate.site, annotate.project_id).open()
    cut = block(annotate.page, watch)
    block(second, watch)
    annotate.press("y", "n")
    other.walk("ArrowRight")
    other.press("u", "y")
    expect(other.part("saved")).to_contain_text("4 not yet saved")
    expect(annotate.part("saved")).to_contain_text("4 not yet saved")
    second.unroute_all()
    annotate.page.unroute("**/decisions", cut)
    annotate.saved()
    other.saved()
    assert len(annotate.site.log(annotate.project_id)) == 4


def test_leaving_the_page_at_once_still_saves(annotate: Annotate) -> None:
    image = annotate.image_id
    annotate.press("y", "n", "u")
    annotate.page.goto("about:blank")
    annotate.open(image).saved()
    assert len(annotate.answers(image)) == 3
    assert len(annotate.site.log(annotate.project_id)) == 3


def test_an_answer_from_another_tab_is_seen_after_walking_away_and_back(
    annotate: Annotate, live_site: Site
) -> None:
    image = annotate.image_id
    expect(annotate.part("saved")).to_have_text("all saved")
    annotate.press("y").saved()
    annotate.walk("ArrowRight")
    annotate.walk("ArrowLeft")
    assert annotate.image_id == image
    assert annotate.surface.locator('.ann-chip[data-state="positive"]').count() == 1


def test_the_dot_of_the_worker_is_not_green_while_nobody_can_be_asked(
    annotate: Annotate, watch: Watch
) -> None:
    watch.allow("Failed to load resource")
    dot = annotate.part("worker-dot")
    annotate.page.route("**/status", lambda route: route.abort())
    expect(annotate.part("worker")).to_have_text("The server cannot be reached.")
    expect(dot).to_have_attribute("data-worker", "lost")
    annotate.page.unroute("**/status")
    expect(dot).not_to_have_attribute("data-worker", "lost")
