"""Open invitations on the People tab: listed, and withdrawn by a second press."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from annotator.people import Role
from annotator.store import users
from tests.browser.conftest import CATEGORIES
from tests.browser.people import Person, guarded, invite, own_name
from tests.browser.site import Site
from tests.browser.surface import Watch


@pytest.fixture(scope="module")
def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with guarded(migrated, tmp_path_factory.mktemp("invitations")) as found:
        yield found


@pytest.fixture
def ann(site: Site, pictures: list[Path], request: pytest.FixtureRequest, watch: Watch) -> Person:
    watch.home = site.url
    person = invite(site, site.project(own_name(request), CATEGORIES, pictures[:1]), "Ann")
    person.take_part(Role.ADMIN)
    return person


def section(page: Page, title: str) -> Locator:
    """A section of the People tab, opened."""
    page.get_by_role("tab", name="People").click()
    return page.locator("#people-surface section").filter(
        has=page.get_by_role("heading", name=title, level=3)
    )


def link_in(part: Locator, title: str) -> str:
    found = part.get_by_role("textbox", name=title).input_value()
    part.get_by_role("button", name="Done").click()
    return found


def test_an_admin_of_a_project_withdraws_a_link_that_went_to_the_wrong_person(
    ann: Person, site: Site, new_page: Callable[..., Page]
) -> None:
    page = ann.at(new_page()).page
    part = section(page, "Members")
    expect(part.get_by_role("table", name="Members")).to_be_visible()
    expect(part.get_by_role("heading", name="Open invitations")).to_be_hidden()
    part.get_by_label("Invite somebody as").select_option("reviewer")
    part.get_by_role("button", name="Make a link").click()
    link = link_in(part, "Invitation link")
    rows = part.get_by_role("table", name="Open invitations").get_by_role("row")
    expect(rows).to_have_count(2)
    expect(rows.last).to_contain_text("reviewer")
    expect(rows.last).to_contain_text(ann.name)
    assert link.rsplit("/", 1)[1] not in page.content()
    withdraw = rows.last.get_by_role("button", name="Withdraw the invitation: reviewer")
    withdraw.click()
    assert httpx.get(link).status_code == 200, "asked once more first"
    rows.last.get_by_role("button", name="Really withdraw?").click()
    expect(page.locator("#people-surface").get_by_role("status").first).to_contain_text("is withdrawn")
    expect(rows).to_have_count(0)
    assert httpx.get(link).status_code == 404


def test_a_server_admin_sees_the_links_of_everything(
    ann: Person, site: Site, new_page: Callable[..., Page]
) -> None:
    site.store.write(lambda c: users.set_admin(c, ann.id))
    site.actions.inviting.invite(ann.id, ann.project_id, Role.VIEWER)
    page = ann.at(new_page()).page
    part = section(page, "Accounts of this server")
    part.get_by_role("button", name="Invite another administrator").click()
    link = link_in(part, "Invitation for an administrator")
    table = part.get_by_role("table", name="Open invitations of the server")
    expect(table).to_contain_text("viewer of test_a_server_admin_sees")
    row = table.get_by_role("row").filter(has_text="administrator of this server")
    expect(row).to_have_count(1)
    row.get_by_role("button", name="Withdraw the invitation").click()
    row.get_by_role("button", name="Really withdraw?").click()
    expect(row).to_have_count(0)
    expect(table).to_contain_text("viewer of test_a_server_admin_sees")
    assert httpx.get(link).status_code == 404
