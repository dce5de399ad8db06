"""Several people on one page: set up, invited, signed in, removed, and programs with a token of theirs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from annotator.people import Role
from annotator.settings import Settings
from annotator.store import Store, members
from tests.browser.conftest import CATEGORIES
from tests.browser.people import PASSWORD, Person, guarded, invite, own_name
from tests.browser.site import Site, running
from tests.browser.surface import Annotate, Watch


@pytest.fixture(scope="module")
def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with guarded(migrated, tmp_path_factory.mktemp("people")) as found:
        yield found


@pytest.fixture
def street(site: Site, pictures: list[Path], request: pytest.FixtureRequest, watch: Watch) -> int:
    watch.home = site.url
    site.project(f"secret of {own_name(request)}", CATEGORIES, pictures[:1])
    return site.project(own_name(request), CATEGORIES, pictures)


def tabs(page: Page) -> list[str]:
    return [one.inner_text() for one in page.get_by_role("tab").filter(visible=True).all()]


def people(page: Page) -> Locator:
    """The People tab, opened."""
    page.get_by_role("tab", name="People").click()
    surface = page.locator("#people-surface")
    expect(surface.get_by_text("Signed in as")).to_be_visible()
    return surface


def section(page: Page, title: str) -> Locator:
    return page.locator("#people-surface section").filter(has=page.get_by_role("heading", name=title))


def test_from_the_secret_to_an_invited_annotator_who_labels(
    store: Store, settings: Settings, pictures: list[Path], new_page: Callable[..., Page], watch: Watch
) -> None:
    guarded_settings = settings.model_copy(update={"single_user": False, "random_share": 0})
    with running(store, guarded_settings) as site:
        watch.home = site.url
        site.project("Not hers", CATEGORIES, pictures[:1])
        owner = new_page()
        owner.goto(f"{site.url}/setup")
        owner.get_by_label("One-time secret").fill(site.secret or "")
        owner.get_by_label("New password").fill(PASSWORD)
        owner.get_by_role("button", name="Set password").click()
        expect(owner.locator(".brand-person")).to_have_text("owner")
        people(owner)
        projects = section(owner, "Projects")
        projects.get_by_label("New project").fill("Birds <b>2</b>")
        projects.get_by_role("button", name="Create").click()
        expect(owner.locator("#people-surface").get_by_role("status").first).to_contain_text("is ready")
        birds = next(one.id for one in site.actions.projects() if one.name == "Birds <b>2</b>")
        site.actions.import_files(birds, pictures[:2])
        site.actions.add_category(birds, "owl")
        link = made_link(owner, "annotator")

        guest = new_page()
        guest.goto(link)
        expect(guest.get_by_text("Birds <b>2</b>")).to_be_visible()
        guest.get_by_label("Your name").fill("Ann <i>A</i>")
        guest.get_by_label("Password").fill(PASSWORD)
        guest.get_by_role("button", name="Join").click()
        expect(guest.locator(".brand-person")).to_have_text("Ann <i>A</i>")
        annotate = Annotate(guest, site, birds).open()
        assert tabs(guest) == ["Annotate", "Learn", "People"]
        assert annotate.part("project").locator("option").all_inner_texts() == ["Birds <b>2</b> (2)"]
        annotate.press("y").saved()
        assert annotate.answers() == {"owl": "positive"}
        guest.get_by_role("tab", name="Learn").click()
        expect(guest.locator("#learn-rights")).to_have_text(
            "Training needs the role “admin” in this project."
        )
        expect(guest.get_by_role("button", name="Retrain now")).to_be_disabled()
        people(guest)
        expect(section(guest, "Accounts")).to_be_hidden()
        expect(section(guest, "Projects")).to_be_hidden()
        expect(section(guest, "Members")).to_contain_text("Your role here: annotator.")
        watch.allow("410")
        guest.goto(link)
        expect(guest.get_by_role("alert")).to_contain_text("used already")


def made_link(page: Page, role: str) -> str:
    """An invitation for the chosen project, as its admin makes and copies it."""
    part = section(page, "Members")
    part.get_by_label("Invite somebody as").select_option(role)
    part.get_by_role("button", name="Make a link").click()
    link = part.get_by_role("textbox", name="Invitation link")
    expect(link).to_have_value(re.compile(r"^http://127\.0\.0\.1:\d+/invite/\S+$"))
    expect(part).to_contain_text("is not shown again")
    part.get_by_role("button", name="Copy").click()
    expect(part.get_by_role("button", name=re.compile("Copied|by hand"))).to_be_visible()
    found = link.input_value()
    part.get_by_role("button", name="Done").click()
    expect(link).to_be_hidden()
    return found


def test_an_admin_of_a_project_changes_a_role_and_removes(
    site: Site, street: int, new_page: Callable[..., Page], watch: Watch
) -> None:
    ann, ben = invite(site, street, "Ann"), invite(site, street, "Ben")
    ann.take_part(Role.ADMIN)
    page = ann.at(new_page()).page
    people(page)
    part = section(page, "Members")
    part.get_by_label(f"Role of {ben.name}").select_option("reviewer")
    expect(page.locator("#people-surface").get_by_role("status").first).to_have_text(
        f"{ben.name} is now reviewer."
    )
    assert role(site, street, ben) is Role.REVIEWER
    part.get_by_role("button", name=f"Remove {ben.name}").click()
    assert role(site, street, ben) is Role.REVIEWER  # asked once more first
    part.get_by_role("button", name="Really remove?").click()
    expect(part.get_by_text(ben.name)).to_be_hidden()
    assert role(site, street, ben) is None
    expect(section(page, "Accounts")).to_be_hidden()
    archive = section(page, "Projects")
    name = "test_an_admin_of_a_project_changes_a_role_and_removes"
    archive.get_by_role("button", name=f"Archive {name}").click()
    archive.get_by_label(f"Type {name}").fill("something else")
    expect(archive.get_by_role("button", name="Archive it")).to_be_disabled()
    archive.get_by_role("button", name="Keep it").click()
    expect(archive.get_by_role("button", name=f"Archive {name}")).to_be_visible()


def role(site: Site, project_id: int, person: Person) -> Role | None:
    with site.store.read() as c:
        return members.role(c, project_id, person.id)


def test_whoever_is_removed_is_told_at_the_next_answer_and_loses_nothing(
    site: Site, street: int, new_page: Callable[..., Page], watch: Watch
) -> None:
    watch.allow("404")
    ann = invite(site, street, "Ann")
    desk = ann.at(new_page())
    first = desk.names()[0]
    ann.take_part(None)
    desk.press("y")
    expect(desk.part("refused")).to_contain_text(f"“yes” to {first}")
    expect(desk.part("refused")).to_contain_text("You are not in this project any more")
    expect(desk.part("saved")).to_contain_text("1 refused")
    assert site.log(street) == []
    ann.take_part(Role.ANNOTATOR)
    desk.part("refused").get_by_role("button", name="Try again").click()
    desk.saved()
    assert [row.state for row in site.log(street)] == [1]


def test_a_viewer_looks_and_is_told_why_nothing_is_answered(
    site: Site, street: int, new_page: Callable[..., Page]
) -> None:
    ann = invite(site, street, "Ann")
    ann.take_part(Role.VIEWER)
    desk = ann.at(new_page())
    first = desk.names()[0]
    desk.press("y")
    desk.said("answering needs the role “annotator”")
    expect(desk.row(first)).to_have_attribute("data-state", "unknown")
    desk.press("r", "m").in_mode("grid").press("n")
    desk.saved()
    expect(desk.part("refused")).to_be_hidden()
    assert site.log(street) == []
    ann.take_part(Role.ANNOTATOR)
    desk.open().press("y").saved()
    assert [row.state for row in site.log(street)] == [1]


def test_a_token_is_shown_once_and_a_program_works_with_it(
    site: Site, street: int, new_page: Callable[..., Page]
) -> None:
    ann = invite(site, street, "Ann")
    page = ann.at(new_page()).page
    people(page)
    you = section(page, "You")
    you.get_by_label("Name").fill("night job")
    you.get_by_role("button", name="Make a token").click()
    shown = you.get_by_role("textbox", name="Token “night job”")
    expect(shown).to_have_value(re.compile("^annotator_"))
    bearer = {"Authorization": f"Bearer {shown.input_value()}"}
    assert httpx.get(f"{site.url}/api/me", headers=bearer).json()["name"] == ann.name
    page.reload()
    people(page)
    expect(you.get_by_role("table", name="Tokens")).to_contain_text("night job")
    assert bearer["Authorization"].removeprefix("Bearer ") not in page.content()
    you.get_by_role("button", name="Revoke night job").click()
    you.get_by_role("button", name="Really revoke?").click()
    expect(you.get_by_text("You have no token.")).to_be_visible()
    assert httpx.get(f"{site.url}/api/me", headers=bearer).status_code == 401


def test_password_and_sign_out(site: Site, street: int, new_page: Callable[..., Page], watch: Watch) -> None:
    watch.allow("403")
    ann = invite(site, street, "Ann")
    page = ann.at(new_page()).page
    surface = people(page)
    form = page.get_by_role("form", name="Change the password")
    for old, said in (
        ("wrong wrong wrong", "The old password is wrong."),
        (PASSWORD, "The password is changed"),
    ):
        form.get_by_label("Old").fill(old)
        form.get_by_label("New, at least").fill("a much better one")
        form.get_by_label("once more").fill("a much better one")
        form.get_by_role("button", name="Change").click()
        expect(surface).to_contain_text(said)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_alone_the_tab_says_that_there_is_one_person(page: Page, live_site: Site) -> None:
    page.goto(live_site.url)
    page.get_by_role("tab", name="People").click()
    expect(page.locator("#people-surface")).to_contain_text("This server knows one person only")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    expect(page.locator(".brand-person")).to_have_count(0)
    assert tabs(page) == ["Annotate", "Import", "Learn", "Export", "People"]
