"""Large windows, small ones and phones: everything can be seen, reached and pressed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import CATEGORIES
from tests.browser.people import guarded, invite, own_name
from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch
from tests.browser.test_people import people, section

SIZES = [(1440, 900), (1024, 700), (390, 844)]
CONTROLS = ("positive", "negative", "unsure", "unknown", "previous", "next", "rest", "undo", "grid", "find")


@pytest.fixture(scope="module")
def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with guarded(migrated, tmp_path_factory.mktemp("sizes")) as found:
        yield found


def inside(locator: Locator, width: int, height: int) -> bool:
    """Whether all of an element lies in the window."""
    box = locator.bounding_box()
    assert box is not None
    right, bottom = box["x"] + box["width"], box["y"] + box["height"]
    return box["x"] >= 0 and box["y"] >= 0 and right <= width + 0.5 and bottom <= height + 0.5


def apart(one: Locator, other: Locator) -> bool:
    """Whether two elements do not lie over each other."""
    a, b = one.bounding_box(), other.bounding_box()
    assert a is not None and b is not None
    beside = a["x"] + a["width"] <= b["x"] + 0.5 or b["x"] + b["width"] <= a["x"] + 0.5
    return beside or a["y"] + a["height"] <= b["y"] + 0.5 or b["y"] + b["height"] <= a["y"] + 0.5


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_picture_can_be_answered_with_the_finger_in_every_window(
    annotate: Annotate, width: int, height: int
) -> None:
    annotate.page.set_viewport_size({"width": width, "height": height})
    names = annotate.names()
    stage = annotate.part("stage")
    expect(annotate.surface.locator(".ann-canvas img")).to_be_visible()
    for action in CONTROLS:
        if width > 860 or action != "find":  # the picture of its key in the field
            assert inside(annotate.button(action), width, height), action
    for part in (stage, annotate.part("saved"), annotate.part("find"), annotate.row(names[0])):
        assert inside(part, width, height)
    assert annotate.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    annotate.row(names[1]).click()
    annotate.button("negative").click()
    annotate.saved()
    assert annotate.answers() == {names[1]: "negative"}
    annotate.button("grid").click()
    annotate.in_mode("grid")
    ids = annotate.grid_ids()
    assert all(inside(annotate.cell(one), width, height) for one in ids)
    assert inside(annotate.button("grid-positive"), width, height)
    assert inside(annotate.button("grid-next"), width, height)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_name_of_the_person_and_the_tabs_have_their_own_places(
    site: Site,
    pictures: list[Path],
    request: pytest.FixtureRequest,
    new_page: Callable[..., Page],
    watch: Watch,
    width: int,
    height: int,
) -> None:
    watch.home = site.url
    name = "Ann Katharina of the Harbour Museum"
    ann = invite(site, site.project(own_name(request), CATEGORIES, pictures), name)
    page = new_page()
    page.set_viewport_size({"width": width, "height": height})
    ann.at(page)
    brand = page.locator(".brand-person")
    expect(brand).to_have_text(ann.name)
    shown = page.get_by_role("tab").filter(visible=True)
    assert shown.count() >= 2
    for tab in shown.all():
        assert inside(tab, width, height)
        assert apart(tab, brand), tab.inner_text()
    assert inside(brand, width, height)


def test_what_the_people_tab_says_is_in_sight_where_the_button_was(
    site: Site,
    pictures: list[Path],
    request: pytest.FixtureRequest,
    new_page: Callable[..., Page],
    watch: Watch,
) -> None:
    watch.home = site.url
    ann = invite(site, site.project(own_name(request), CATEGORIES, pictures), "Ann")
    for name in range(12):
        invite(site, ann.project_id, f"One of many {name}")
    page = new_page()
    page.set_viewport_size({"width": 1024, "height": 480})
    ann.at(page)
    people(page)
    you = section(page, "You")
    for label, word in (("Old", "x"), ("New, at least", "a long password"), ("New once more", "another one")):
        you.get_by_label(label).fill(word)
    you.get_by_role("button", name="Change").click()
    alert = page.locator("#people-surface [role=alert]")
    expect(alert).to_have_text("The two new passwords differ.")
    assert page.evaluate("scrollY") > 100, "the form is further down than the alert stands"
    assert inside(alert, 1024, 480)
