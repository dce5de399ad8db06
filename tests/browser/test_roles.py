"""What a role may not do is not offered, and the page says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from annotator.people import Role
from tests.browser.conftest import CATEGORIES
from tests.browser.people import Person, guarded, invite, own_name
from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch
from tests.browser.test_category_list import opened


@pytest.fixture(scope="module")
def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with guarded(migrated, tmp_path_factory.mktemp("roles")) as found:
        yield found


@pytest.fixture
def ann(site: Site, pictures: list[Path], request: pytest.FixtureRequest, watch: Watch) -> Person:
    watch.home = site.url
    return invite(site, site.project(own_name(request), CATEGORIES, pictures), "Ann")


def answering(desk: Annotate) -> list[Locator]:
    actions = ("positive", "negative", "unsure", "unknown", "rest", "add", "grid-positive", "grid-rest")
    return [desk.button(action) for action in actions]


def test_a_viewer_is_offered_no_answer_and_told_so_beside_the_list(
    ann: Person, new_page: Callable[..., Page]
) -> None:
    ann.take_part(Role.VIEWER)
    desk = ann.at(new_page())
    expect(desk.part("note")).to_contain_text("answering needs the role “annotator”")
    for button in answering(desk):
        expect(button).to_be_disabled()
    desk.press("c")
    expect(desk.part("find")).not_to_be_focused()
    ann.take_part(Role.ANNOTATOR)
    desk.open()
    expect(desk.part("note")).not_to_contain_text("annotator")
    for button in answering(desk):
        expect(button).to_be_enabled()
    desk.press("y").saved()


@pytest.mark.parametrize(
    ("role", "fields", "moves", "archives", "words"),
    [
        (Role.VIEWER, 0, 0, 0, "need the role “reviewer”"),
        (Role.ANNOTATOR, 0, 0, 0, "need the role “reviewer”"),
        (Role.REVIEWER, 5, 10, 0, "need the role “admin”"),
        (Role.ADMIN, 5, 10, 5, "nothing is deleted"),
    ],
)
def test_the_list_of_categories_offers_what_the_role_may_do(
    ann: Person,
    new_page: Callable[..., Page],
    role: Role,
    fields: int,
    moves: int,
    archives: int,
    words: str,
) -> None:
    ann.take_part(role)
    box = opened(ann.at(new_page()))
    expect(box.locator("p").first).to_contain_text(words)
    expect(box.get_by_label("Asked categories").locator("li")).to_have_count(len(CATEGORIES))
    expect(box.locator("input")).to_have_count(fields)
    expect(box.locator("[data-what=up], [data-what=down]")).to_have_count(moves)
    expect(box.locator("[data-what=archive]")).to_have_count(archives)
    expect(box.locator("[data-what=merge]")).to_have_count(archives)
