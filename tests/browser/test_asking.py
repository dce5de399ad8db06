"""In which order is asked, why, and questions that are asked without a suggestion."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import CATEGORIES
from tests.browser.learned import learned
from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch

STORED_ORDER = "Object.entries(localStorage).filter(([key]) => key.startsWith('annotator:order:'))"


def scattered(count: int) -> np.ndarray:
    """Logits (count, 5) that put every order apart."""
    return np.random.default_rng(3).normal(size=(count, len(CATEGORIES))) * 2


@pytest.fixture
def ranked(page: Page, live_site: Site, pictures: list[Path]) -> Annotate:
    """A project whose generation has an opinion of every cell."""
    project = learned(live_site, CATEGORIES, pictures, logits=scattered(len(pictures)), neighbour_weight=0.0)
    return Annotate(page, live_site, project).open()


@pytest.fixture
def blind(page: Page, blind_site: Site, pictures: list[Path], watch: Watch) -> Annotate:
    """The first question that is asked without a suggestion."""
    watch.home = blind_site.url
    project = learned(blind_site, CATEGORIES, pictures, logits=scattered(len(pictures)), neighbour_weight=0.0)
    annotate = Annotate(page, blind_site, project).open()
    while annotate.surface.get_attribute("data-mode") != "blind":
        before = annotate.part("name").inner_text()
        annotate.press("ArrowRight")
        expect(annotate.part("name")).not_to_have_text(before)
    return annotate


def test_the_page_says_why_a_picture_is_asked_and_begins_with_the_cell_that_is_meant(
    ranked: Annotate,
) -> None:
    names = {number: name for name, number in ranked.site.category_ids(ranked.project_id).items()}
    questions = ranked.site.actions.deck(ranked.project_id).questions
    for question in questions[:3]:
        assert ranked.image_id == question.image_id
        expect(ranked.part("why")).to_have_text(question.why)
        assert question.category_id is not None and question.why
        assert ranked.focused() == names[question.category_id]
        ranked.walk("ArrowRight")


def test_after_the_cell_that_was_meant_the_others_follow_from_the_top(ranked: Annotate) -> None:
    order, meant = ranked.names(), ranked.focused()
    ranked.press("y")
    assert ranked.focused() == next(name for name in order if name != meant)
    ranked.saved()
    assert ranked.answers() == {meant: "positive"}


def test_another_order_is_chosen_by_name_and_remembered_for_the_project(
    ranked: Annotate, watch: Watch
) -> None:
    chooser = ranked.part("order")
    deck = ranked.site.actions.deck(ranked.project_id)
    expect(chooser).to_have_value(deck.strategy)
    first = ranked.image_id
    with ranked.page.expect_response(re.compile(r"/deck\?.*strategy=uncertain")):
        chooser.select_option("uncertain")
    expect(ranked.surface).not_to_have_attribute("data-image", str(first))
    wanted = [
        one for one in ranked.site.actions.deck(ranked.project_id, strategy="uncertain").ids if one != first
    ]
    assert [ranked.image_id, ranked.walk("ArrowRight"), ranked.walk("ArrowRight")] == wanted[:3]
    assert ranked.page.evaluate(STORED_ORDER) == [[f"annotator:order:{ranked.project_id}", "uncertain"]]
    ranked.open()
    expect(chooser).to_have_value("uncertain")
    assert any("strategy=uncertain" in url for url in watch.requests[-60:])
    ranked.press("y").saved()
    assert len(ranked.answers()) == 1


def test_an_order_that_no_longer_exists_is_forgotten(ranked: Annotate, watch: Watch) -> None:
    watch.allow("422")
    ranked.page.evaluate(f"localStorage.setItem('annotator:order:{ranked.project_id}', 'by moonlight')")
    ranked.open()
    expect(ranked.part("order")).to_have_value(ranked.site.actions.deck(ranked.project_id).strategy)


def test_a_blind_question_shows_one_category_and_no_number(blind: Annotate) -> None:
    panel = blind.surface.locator(".ann-panel")
    assert len(blind.names()) == 1
    expect(panel).to_contain_text("Asked without a suggestion, so that the rest can be trusted.")
    assert "%" not in panel.inner_text()
    assert "%" not in blind.surface.locator(".ann-walk").inner_text()
    expect(panel.locator("img")).to_have_count(0)
    expect(panel.locator(".ann-meter i")).to_have_count(0)
    assert "%" not in (blind.row(blind.focused()).get_attribute("aria-label") or "")
    expect(blind.button("heat")).to_be_disabled()
    expect(blind.button("rest")).to_be_disabled()
    blind.press("h", "r")
    expect(blind.surface.locator("canvas.ann-heat")).to_have_count(0)
    assert len(blind.site.log(blind.project_id)) == 2 * len(CATEGORIES)  # what was known before


@pytest.mark.parametrize(("key", "state"), [("y", "positive"), ("n", "negative"), ("u", "unsure")])
def test_a_blind_answer_is_stored_as_such_and_the_next_question_comes(
    blind: Annotate, key: str, state: str
) -> None:
    image, name = blind.image_id, blind.focused()
    said = blind.part("name").inner_text()
    blind.press(key).saved()
    stored = blind.site.log(blind.project_id)[-1]
    assert (stored.image_id, stored.mode, stored.random_stream, stored.score) == (image, "blind", True, None)
    assert stored.shown_ms >= 0 and stored.source == "human"
    assert blind.answers(image)[name] == state
    expect(blind.part("name")).not_to_have_text(said)


def test_a_blind_answer_can_be_taken_back_and_is_asked_blind_again(blind: Annotate) -> None:
    image, name = blind.image_id, blind.focused()
    said = blind.part("name").inner_text()
    blind.press("y").saved()
    expect(blind.part("name")).not_to_have_text(said)
    blind.press("z")
    blind.said("Taken back")
    blind.in_mode("blind").saved()
    assert (blind.image_id, blind.names()) == (image, [name])
    assert name not in blind.answers(image)
    first, undone = blind.site.log(blind.project_id)[-2:]
    assert (undone.undo_of, undone.mode, undone.random_stream) == (first.op_id, "blind", True)
    blind.press("n").saved()
    assert blind.answers(image)[name] == "negative"


def test_a_cell_that_waits_to_be_asked_blind_is_not_suggested_on_its_picture(blind: Annotate) -> None:
    names = {number: name for name, number in blind.site.category_ids(blind.project_id).items()}
    questions = blind.site.actions.deck(blind.project_id).questions
    waiting: dict[int, set[str]] = {}
    for one in questions:
        if one.blind and one.category_id is not None:
            waiting.setdefault(one.image_id, set()).add(names[one.category_id])
    image = next(one.image_id for one in questions if not one.blind and one.image_id in waiting)
    blind.open(image).in_mode("image")
    assert set(blind.names()) == set(CATEGORIES) - waiting[image] - set(blind.answers(image))
    blind.press("r").saved()
    expect(blind.chip(blind.names()[0])).to_have_attribute("data-state", "negative")
    assert not waiting[image] & set(blind.answers(image))


def test_another_category_named_on_a_blind_question_is_an_ordinary_answer(blind: Annotate) -> None:
    image, asked = blind.image_id, blind.focused()
    known = blind.answers(image)
    other = next(name for name in CATEGORIES if name != asked and name not in known)
    blind.press("/").type(other).press("Enter").saved()
    stored = blind.site.log(blind.project_id)[-1]
    assert (stored.mode, stored.random_stream, stored.score) == ("image", False, None)
    assert blind.focused() == asked


def test_a_blind_question_that_was_answered_on_its_picture_is_not_asked_any_more(
    page: Page, blind_site: Site, pictures: list[Path], watch: Watch
) -> None:
    watch.home = blind_site.url
    project = learned(blind_site, ["dog"], pictures[:6])
    annotate = Annotate(page, blind_site, project).open()
    asked: list[int] = []
    for _ in range(12):
        if annotate.part("message").is_visible():
            break
        before = annotate.part("name").inner_text()
        asked.append(annotate.image_id)
        annotate.press(
            "y", *([] if annotate.surface.get_attribute("data-mode") == "blind" else ["ArrowRight"])
        )
        expect(annotate.part("name")).not_to_have_text(before)
    expect(annotate.part("message")).to_contain_text("Every cell of every picture is decided")
    assert len(asked) == len(set(asked)) == 4
