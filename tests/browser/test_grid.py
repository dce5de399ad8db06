"""One category over many pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import CATEGORIES
from tests.browser.learned import learned, shown_percent
from tests.browser.site import Site, draw_pictures
from tests.browser.surface import Annotate, Watch
from tests.browser.test_walking import CONTRASTS


@pytest.fixture
def ranked(page: Page, live_site: Site, pictures: list[Path]) -> Annotate:
    """A project whose generation has an opinion of every cell; six pictures are open."""
    logits = np.random.default_rng(3).normal(size=(len(pictures), len(CATEGORIES))) * 2
    project = learned(live_site, CATEGORIES, pictures, logits=logits, neighbour_weight=0.0)
    return Annotate(page, live_site, project).open()


def open_grid(annotate: Annotate, category: str = "bicycle") -> list[int]:
    """The grid of a category by keys; its pictures."""
    annotate.row(category).click()
    annotate.press("m").in_mode("grid")
    return annotate.grid_ids()


def test_m_opens_the_grid_of_the_outlined_category_in_the_order_of_the_server(ranked: Annotate) -> None:
    shown = open_grid(ranked)
    found = ranked.site.actions.grid(
        ranked.project_id, ranked.site.category_ids(ranked.project_id)["bicycle"]
    )
    assert shown == [cell.image_id for cell in found.cells] and len(shown) == 6
    expect(ranked.part("grid-title")).to_have_text("Which of these have: bicycle?")
    expect(ranked.part("grid-why")).to_have_text(found.why)
    expect(ranked.part("grid-left")).to_have_text("6 of 6 pictures open")
    for cell in found.cells:
        assert cell.probability is not None
        expect(ranked.cell(cell.image_id)).to_contain_text(shown_percent(round(cell.probability, 4)))
    expect(ranked.part("picture")).to_be_hidden()


def test_keys_answer_cells_and_the_decisions_say_grid(ranked: Annotate) -> None:
    shown = open_grid(ranked)
    before = len(ranked.site.log(ranked.project_id))
    ranked.press("y", "n", "u", "r").saved()
    stored = ranked.site.log(ranked.project_id)[before:]
    assert [one.image_id for one in stored] == shown
    assert [one.state for one in stored] == [1, -1, 2, -1, -1, -1]
    assert {one.mode for one in stored} == {"grid"}
    assert [one.source for one in stored] == ["human"] * 3 + ["group"] * 3
    bicycle = ranked.site.category_ids(ranked.project_id)["bicycle"]
    assert {one.category_id for one in stored} == {bicycle}
    texts = [ranked.cell(one.image_id).locator(".ann-percent").inner_text() for one in stored]
    assert [shown_percent(one.score) for one in stored] == texts
    assert all(one.generation_id is not None and one.shown_ms >= 0 for one in stored)
    assert not any(one.random_stream for one in stored)
    states = [ranked.cell(image).get_attribute("data-state") for image in shown]
    assert states == ["positive", "negative", "unsure", "negative", "negative", "negative"]
    ranked.said("No to 3 pictures")


def test_time_on_the_grid_is_shared_by_its_cells(ranked: Annotate) -> None:
    ranked.page.evaluate("() => { performance.now = () => 1000; }")
    open_grid(ranked)
    ranked.page.evaluate("() => { performance.now = () => 13000; }")
    ranked.press("r").saved()
    assert [one.shown_ms for one in ranked.site.log(ranked.project_id)[-6:]] == [2000] * 6


def test_the_cursor_moves_by_arrows_and_letters_and_stays_inside(ranked: Annotate) -> None:
    shown = open_grid(ranked)
    columns = int(
        ranked.part("grid-cells").evaluate("(node) => node.style.getPropertyValue('--ann-columns')")
    )
    assert 1 < columns < len(shown)

    def at() -> int:
        current = ranked.surface.locator(".ann-cell[aria-current]")
        return shown.index(int(current.get_attribute("data-image") or 0))

    for key, place in (("ArrowLeft", 0), ("ArrowRight", 1), ("l", 2), ("h", 1), ("ArrowUp", 1), ("k", 1)):
        ranked.press(key)
        assert at() == place, key
    ranked.press("h", "j")
    assert at() == columns
    ranked.press("ArrowUp")
    assert at() == 0
    ranked.press("y")
    assert at() == 1
    ranked.press("ArrowLeft", "Backspace").saved()
    assert "bicycle" not in ranked.answers(shown[0])


def test_pressing_a_picture_says_yes_and_pressing_it_again_takes_it_back(ranked: Annotate) -> None:
    shown = open_grid(ranked)
    ranked.cell(shown[3]).click()
    expect(ranked.cell(shown[3])).to_have_attribute("data-state", "positive")
    ranked.saved()
    assert ranked.answers(shown[3]) == {"bicycle": "positive"}
    ranked.cell(shown[3]).click()
    ranked.saved()
    assert ranked.answers(shown[3]) == {}


def test_a_group_on_the_grid_is_taken_back_at_once_also_from_the_picture(ranked: Annotate) -> None:
    shown = open_grid(ranked)
    ranked.press("y", "r").saved()
    ranked.press("z").saved()
    assert [ranked.answers(image) for image in shown] == [{"bicycle": "positive"}] + [{}] * 5
    undone = ranked.site.log(ranked.project_id)[-5:]
    assert {one.mode for one in undone} == {"grid"} and all(one.undo_of for one in undone)
    ranked.press("Escape").in_mode("image")
    ranked.press("z").in_mode("grid").saved()
    assert ranked.grid_ids() == shown
    expect(ranked.cell(shown[0])).to_have_attribute("data-state", "unknown")
    assert ranked.answers(shown[0]) == {}


def test_undo_leaves_the_grid_for_an_answer_given_on_a_picture(ranked: Annotate) -> None:
    image, category = ranked.image_id, ranked.focused()
    ranked.press("y")
    open_grid(ranked, next(name for name in CATEGORIES if name != category))
    ranked.press("z").in_mode("image").saved()
    assert ranked.image_id == image
    assert ranked.answers(image) == {}


def test_the_picture_on_screen_knows_what_the_grid_answered(ranked: Annotate) -> None:
    image = ranked.image_id
    shown = open_grid(ranked)
    total = int(ranked.total("positive").inner_text())
    ranked.cell(image).click()
    expect(ranked.total("positive")).to_have_text(str(total + 1))
    ranked.press("m").in_mode("image")
    expect(ranked.row("bicycle")).to_have_attribute("data-state", "positive")
    assert image in shown
    ranked.saved()
    assert ranked.answers(image) == {"bicycle": "positive"}


def test_enter_shows_others_first_and_then_those_left_open(
    page: Page, live_site: Site, tmp_path: Path
) -> None:
    project = live_site.project("forty", ["dog"], draw_pictures(tmp_path, 40))
    annotate = Annotate(page, live_site, project).open()
    first = open_grid(annotate, "dog")
    assert len(first) == 36
    annotate.press("y", "Enter")
    expect(annotate.part("grid-left")).to_have_text("4 of 4 pictures open")
    assert not set(annotate.grid_ids()) & set(first)
    annotate.press("r", "Enter")
    expect(annotate.part("grid-left")).to_have_text("35 of 35 pictures open")
    assert set(annotate.grid_ids()) == set(first[1:])
    expect(annotate.part("grid-why")).to_contain_text("these were left open")
    annotate.press("r", "Enter")
    expect(annotate.part("grid-empty")).to_be_visible()
    assert len(annotate.part("grid-empty").inner_text()) > 10
    annotate.press("y", "n", "r").saved()
    assert live_site.actions.status(project).counts.unknown == 0
    annotate.press("Escape").in_mode("image")


def test_the_grid_fits_without_scrolling_in_any_window(page: Page, live_site: Site, tmp_path: Path) -> None:
    project = live_site.project("thirty-six", ["dog"], draw_pictures(tmp_path, 36))
    annotate = Annotate(page, live_site, project).open()
    open_grid(annotate, "dog")
    for width, height in ((900, 640), (1280, 800), (2200, 1200)):
        page.set_viewport_size({"width": width, "height": height})
        expect(annotate.surface.locator(".ann-cell").last).to_be_in_viewport(ratio=1)
        room = annotate.surface.locator(".ann-grid-scroll")
        assert room.evaluate("(node) => node.scrollHeight <= node.clientHeight"), width
        for line in (".ann-grid-head", ".ann-grid-foot"):
            assert annotate.surface.locator(line).evaluate("(node) => node.scrollWidth <= node.clientWidth")


def test_a_proposal_of_the_server_opens_its_grid(page: Page, live_site: Site, pictures: list[Path]) -> None:
    logits = np.full((len(pictures), len(CATEGORIES)), -7.0)
    logits[:, CATEGORIES.index("dog")] = 2.0
    project = learned(live_site, CATEGORIES, pictures, logits=logits, neighbour_weight=0.0)
    proposal = live_site.actions.deck(project).proposal
    assert proposal is not None and proposal.mode == "grid"
    annotate = Annotate(page, live_site, project).open()
    expect(annotate.part("proposal")).to_have_text(proposal.words)
    annotate.row("umbrella").click()
    annotate.part("proposal").click()
    annotate.in_mode("grid")
    expect(annotate.part("grid-title")).to_have_text("Which of these have: dog?")
    annotate.press("Enter")  # the pressed button keeps no key
    annotate.in_mode("grid")


def test_a_grid_that_cannot_be_read_says_so_and_the_picture_stays(ranked: Annotate, watch: Watch) -> None:
    watch.allow("net::ERR_FAILED")
    ranked.page.route(re.compile(r"/grid\?"), lambda route: route.abort())
    ranked.press("m")
    ranked.said("The server cannot be reached.")
    ranked.in_mode("image")
    ranked.press("y").saved()
    assert len(ranked.answers()) == 1
    ranked.page.unroute_all()


def test_the_keyboard_alone_finds_the_grid_and_the_sheet_lists_its_keys(ranked: Annotate) -> None:
    ranked.press("?")
    sheet = ranked.part("sheet")
    expect(sheet.get_by_text("Grid: the outlined category over many pictures")).to_be_visible()
    expect(sheet.get_by_text("Next grid of the same category")).to_be_visible()
    ranked.press("Escape", "m").in_mode("grid")
    ranked.press("?", "y", "Escape").in_mode("grid")
    ranked.cell(ranked.grid_ids()[2]).focus()
    ranked.press("Enter").saved()
    ranked.in_mode("grid")
    assert len(ranked.site.log(ranked.project_id)) == 2 * len(CATEGORIES) + 1
    style = "(node) => getComputedStyle(node).outlineStyle"
    assert ranked.surface.locator(".ann-cell[aria-current]").evaluate(style) == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_of_the_grid_has_enough_contrast(
    new_page: Callable[..., Page], live_site: Site, pictures: list[Path], scheme: str
) -> None:
    project = learned(live_site, CATEGORIES, pictures)
    annotate = Annotate(new_page(color_scheme=scheme), live_site, project).open()
    open_grid(annotate)
    annotate.press("y", "n", "u").saved()
    assert annotate.page.evaluate(CONTRASTS) == []
