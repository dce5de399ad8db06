"""An answer moves the numbers of other cells, on the picture on screen and on those loaded ahead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import CATEGORIES
from tests.browser.learned import expected, learned, shown_percent
from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch

MANY = (*CATEGORIES, *(f"thing {number}" for number in range(9)))


@pytest.fixture
def told(page: Page, live_site: Site, pictures: list[Path]) -> Annotate:
    """A yes to umbrella on a picture makes a bicycle on it likelier; neighbours have no say."""
    context = np.zeros((5, 5))
    context[CATEGORIES.index("bicycle"), CATEGORIES.index("umbrella")] = 4.0
    project = learned(live_site, CATEGORIES, pictures, context=context, neighbour_weight=0.0)
    return Annotate(page, live_site, project).open()


@pytest.fixture
def alike(page: Page, live_site: Site, pictures: list[Path]) -> Annotate:
    """All pictures look alike, so that an answer on one moves the same category on the others."""
    return Annotate(page, live_site, learned(live_site, CATEGORIES, pictures)).open()


def test_an_answer_moves_another_category_of_the_picture_in_place(told: Annotate) -> None:
    order, before = told.names(), told.percent("bicycle").inner_text()
    answered = told.percent("umbrella").inner_text()
    told.row("umbrella").click()
    told.press("y")
    focused = told.focused()
    expect(told.percent("bicycle")).not_to_have_text(before)
    after = expected(told.site, told.project_id, told.image_id)["bicycle"]
    expect(told.percent("bicycle")).to_have_text(after)
    expect(told.row("bicycle").locator(".ann-chance")).to_have_attribute("title", f"{before}, now {after}")
    expect(told.row("bicycle")).to_contain_text("this picture's answers")
    expect(told.row("bicycle")).to_have_attribute("aria-label", f"bicycle, {after}, not asked")
    assert told.names() == order
    assert told.focused() == focused != "umbrella"
    assert told.percent("umbrella").inner_text() == answered
    told.saved()
    assert told.answers() == {"umbrella": "positive"}
    told.press("z").saved()
    expect(told.percent("bicycle")).to_have_text(before)


def test_a_decision_says_which_number_was_on_the_screen(told: Annotate) -> None:
    before = told.percent("bicycle").inner_text()
    told.row("umbrella").click()
    told.press("y")
    expect(told.percent("bicycle")).not_to_have_text(before)
    after = told.percent("bicycle").inner_text()
    told.row("bicycle").click()
    told.press("n").saved()
    first, second = told.site.log(told.project_id)[-2:]
    assert [shown_percent(first.score), shown_percent(second.score)] == [before, after]


def test_the_next_picture_knows_the_answer_and_so_does_one_walked_back_to(
    alike: Annotate, watch: Watch
) -> None:
    first = alike.image_id
    following = alike.site.actions.deck(alike.project_id, 2).ids[1]
    alike.wait_for_request(watch, f"/images/{following}")
    category = alike.focused()
    before = expected(alike.site, alike.project_id, following)[category]
    with alike.page.expect_response("**/decisions"):
        alike.press("y")
    after = expected(alike.site, alike.project_id, following)[category]
    assert after != before
    alike.jump_to(following)
    expect(alike.percent(category)).to_have_text(after)
    other = next(name for name in alike.names() if name != category)
    alike.row(other).click()
    with alike.page.expect_response("**/decisions"):
        alike.press("n")
    alike.jump_to(first)
    expect(alike.percent(other)).to_have_text(expected(alike.site, alike.project_id, first)[other])


def test_one_answer_asks_for_at_most_four_pictures_again(alike: Annotate, watch: Watch) -> None:
    here, *ahead = alike.site.actions.deck(alike.project_id, 4).ids
    for image in ahead:
        alike.wait_for_request(watch, f"/img/{image}?size=full")
    watch.requests.clear()
    with alike.page.expect_request(f"**/images/{ahead[-1]}"):
        alike.press("y")
    with alike.page.expect_request("**/status"):  # the page goes on to other things
        pass
    again = [url.rsplit("/", 1)[1] for url in watch.requests if "/images/" in url]
    assert again == [str(image) for image in (here, *ahead)]


def test_numbers_that_come_too_late_are_dropped(alike: Annotate) -> None:
    first, held = alike.image_id, []

    def hold(route: Route) -> None:
        held.append(route)

    alike.page.route(f"**/images/{first}", hold)
    with alike.page.expect_request(f"**/images/{first}"):
        alike.press("y")
    second = alike.walk("ArrowRight")
    answer = held[0].fetch().json()
    for candidate in answer["candidates"]:
        candidate["p"] = 0.123
    held[0].fulfill(json=answer)
    alike.saved()
    assert second != first
    wanted = expected(alike.site, alike.project_id, second)
    for name in alike.names():
        expect(alike.percent(name)).to_have_text(wanted[name])
    alike.page.unroute_all()


def test_a_picture_still_on_its_way_when_an_answer_was_saved_is_read_again(
    page: Page, live_site: Site, pictures: list[Path]
) -> None:
    project = learned(live_site, CATEGORIES, pictures)
    held: list[Route] = []
    following = live_site.actions.deck(project, 2).ids[1]
    page.route(f"**/img/{following}?size=full*", lambda route: held.append(route))
    annotate = Annotate(page, live_site, project).open()
    with page.expect_response("**/decisions"):
        annotate.press("y")
    annotate.saved()
    assert held, "the next picture is loaded ahead"
    for route in held:
        route.continue_()
    page.unroute_all()
    assert annotate.walk("ArrowRight") == following
    wanted = expected(live_site, project, following)
    for name in annotate.names():
        expect(annotate.percent(name)).to_have_text(wanted[name])


def test_a_category_that_an_answer_makes_likely_joins_at_the_end_and_is_read_before_it_is_ruled_out(
    page: Page, live_site: Site, pictures: list[Path]
) -> None:
    logits = np.tile(np.linspace(1.0, -4.0, len(MANY)), (len(pictures), 1))
    context = np.zeros((len(MANY), len(MANY)))
    context[len(MANY) - 1, 0] = 30.0
    project = learned(live_site, MANY, pictures, logits=logits, context=context, neighbour_weight=0.0)
    annotate = Annotate(page, live_site, project).open()
    order = annotate.names()
    assert MANY[-1] not in order and MANY[0] in order
    annotate.row(MANY[0]).click()
    page.evaluate("() => { const now = performance.now(); performance.now = () => now; }")
    annotate.press("y")
    expect(annotate.row(MANY[-1])).to_be_visible()
    assert annotate.names() == [*order, MANY[-1]]
    annotate.press("r").saved()
    assert annotate.answers() == {MANY[0]: "positive"} | dict.fromkeys(
        (name for name in order if name != MANY[0]), "negative"
    )
    page.evaluate("() => { const now = performance.now() + 5000; performance.now = () => now; }")
    annotate.press("r").saved()
    assert annotate.answers()[MANY[-1]] == "negative"


def test_nothing_moves_for_those_who_asked_for_less_motion(told: Annotate) -> None:
    told.page.emulate_media(reduced_motion="reduce")
    told.row("umbrella").click()
    told.press("y")
    expect(told.row("bicycle").locator(".ann-chance")).to_have_attribute("data-moved", "true")
    style = "(node) => getComputedStyle(node).transitionProperty"
    assert told.row("bicycle").locator(".ann-chance").evaluate(style) == "none"
