"""A-47 on the page: before a project goes away its name is typed and its answers are offered as files."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from annotator.records import CellState, NewDecision
from annotator.store import now_ms, projects
from tests.browser.site import Site
from tests.browser.surface import Watch

DAY = 24 * 3600 * 1000


def listed(page: Page, site: Site) -> Locator:
    """The projects on the People tab."""
    page.goto(site.url)
    page.get_by_role("tab", name="People").click()
    part = page.locator("#people-surface section").filter(has=page.get_by_role("heading", name="Projects"))
    expect(part.get_by_role("table")).to_be_visible()
    return part


def answer_one(site: Site, project_id: int) -> None:
    image = site.actions.deck(project_id).ids[0]
    category = next(iter(site.category_ids(project_id).values()))
    new = NewDecision(
        op_id=f"gone-{project_id}", image_id=image, category_id=category, state=CellState.POSITIVE
    )
    site.actions.decide(project_id, [new])


def test_a_project_is_archived_exported_kept_for_thirty_days_and_removed_for_good(
    page: Page, live_site: Site, pictures: list[Path], watch: Watch, tmp_path: Path
) -> None:
    name = f"Old harbour {uuid.uuid4().hex[:6]}"  # a second try finds the first one's still there
    project_id = live_site.project(name, ["boat"], pictures[:2])
    answer_one(live_site, project_id)
    part = listed(page, live_site)
    part.get_by_role("button", name=f"Archive {name}").click()
    expect(part.get_by_role("link", name=f"COCO of {name}")).to_be_visible()  # offered before
    with page.expect_download() as offered:
        part.get_by_role("link", name=f"COCO of {name}").click()
    offered.value.save_as(tmp_path / "before.json")
    field = part.get_by_label(f"Type {name} to archive it")
    for wrong in ("", name[:-1], name.lower()):
        field.fill(wrong)
        expect(part.get_by_role("button", name="Archive it")).to_be_disabled()
    field.fill(f" {name} ")
    part.get_by_role("button", name="Archive it").click()
    expect(part.get_by_text(f"{name} (archived")).to_be_visible()
    remove = part.get_by_role("button", name=f"Remove {name} for good")
    expect(remove).to_be_disabled()  # it can be restored
    with page.expect_download() as offered:
        part.get_by_role("link", name=f"COCO of {name}").click()
    offered.value.save_as(tmp_path / "after.json")
    before, after = (json.loads((tmp_path / f"{when}.json").read_text()) for when in ("before", "after"))
    assert before["annotations"] == after["annotations"] != []
    live_site.store.write(lambda c: projects.set_archived(c, project_id, now_ms() - 31 * DAY))
    part = listed(page, live_site)
    remove.click()
    field = part.get_by_label(f"Type {name} to remove it for good")
    field.fill(name.lower())
    expect(part.get_by_role("button", name="Remove it")).to_be_disabled()
    field.fill(name)
    part.get_by_role("button", name="Remove it").click()
    expect(page.locator("#people-surface").get_by_role("status").first).to_contain_text("is gone for good")
    expect(part.get_by_text(name)).to_have_count(0)
