"""The Gradio tabs around the surface."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.site import Site, draw_pictures
from tests.browser.surface import Annotate, Watch


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_a_new_project_and_a_folder_become_pictures_to_annotate(
    page: Page, live_site: Site, tmp_path: Path
) -> None:
    folder = tmp_path / "holiday"
    draw_pictures(folder, 3)
    (folder / "broken.jpg").write_bytes(b"not a picture")
    page.goto(live_site.url)
    open_tab(page, "Import")
    page.get_by_label("New project").fill("From the page")
    page.get_by_role("button", name="Create project").click()
    expect(page.locator("#import-report")).to_contain_text("“From the page” is ready")
    page.get_by_label("Folder on the machine").fill(str(folder))
    page.get_by_role("button", name="Import folder").click()
    expect(page.locator("#import-report")).to_contain_text("Pictures added")
    expect(page.get_by_text("broken.jpg").filter(visible=True).first).to_be_visible()
    project = next(one for one in live_site.actions.projects() if one.name == "From the page")
    assert live_site.actions.status(project.id).counts.images == 3
    open_tab(page, "Annotate")
    annotate = Annotate(page, live_site, project.id)
    expect(annotate.part("project")).to_have_value(str(project.id))
    annotate.press("c").type("boat").press("Enter")
    expect(annotate.row("boat")).to_be_visible()
    annotate.press("y").saved()
    assert annotate.answers() == {"boat": "positive"}


def test_uploaded_pictures_and_labels_arrive(
    page: Page, live_site: Site, project: int, pictures: list[Path], tmp_path: Path, watch: Watch
) -> None:
    watch.allow("Method not implemented")  # Gradio's upload says so
    fresh = draw_pictures(tmp_path / "more", 10)[8:]
    table = tmp_path / "labels.csv"
    table.write_text("file_name,dog,sheep\nscene_008.jpg,1,0\nscene_009.jpg,,1\n", encoding="utf-8")
    Annotate(page, live_site, project).open()
    open_tab(page, "Import")
    sent = [str(path) for path in [*fresh, pictures[0]]]
    page.locator("#upload-pictures input[type=file]").first.set_input_files(sent)
    expect(page.locator("#upload-pictures").get_by_text("scene_009")).to_be_visible()
    page.get_by_role("button", name="Import uploaded files").click()
    expect(page.locator("#import-report")).to_contain_text("Already there")
    assert live_site.actions.status(project).counts.images == 10
    page.locator("#upload-labels input[type=file]").first.set_input_files(str(table))
    expect(page.locator("#upload-labels").get_by_text("labels")).to_be_visible()
    page.get_by_role("button", name="Import labels").click()
    expect(page.locator("#import-report")).to_contain_text("Cells answered")
    counts = live_site.actions.status(project).counts
    assert (counts.positive, counts.negative) == (2, 1)
    assert "sheep" in live_site.category_ids(project)


def test_a_wrong_folder_is_one_sentence(page: Page, live_site: Site, project: int) -> None:
    Annotate(page, live_site, project).open()
    open_tab(page, "Import")
    page.get_by_label("Folder on the machine").fill("/no/such/folder")
    page.get_by_role("button", name="Import folder").click()
    report = page.locator("#import-report [role=alert]")
    expect(report).to_contain_text("/no/such/folder")
    assert "Traceback" not in page.content()


def test_learn_follows_the_chosen_project_and_says_that_no_worker_runs(annotate: Annotate) -> None:
    annotate.press("y", "n").saved()
    page = annotate.page
    open_tab(page, "Learn")
    expect(page.locator("#learn-status")).to_contain_text("No worker is running")
    expect(page.locator("#learn-status")).to_contain_text("2 new answers")
    page.get_by_role("button", name="Retrain now").click()
    expect(page.locator("#learn-said")).to_contain_text("Training is queued")
    expect(page.locator("#learn-status")).to_contain_text("waiting for the worker")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#learn-said")).to_contain_text("cancelled")
    for name in annotate.site.category_ids(annotate.project_id):
        expect(page.get_by_text(name, exact=True).filter(visible=True).first).to_be_visible()


def test_both_exports_download_what_was_answered(annotate: Annotate, tmp_path: Path) -> None:
    annotate.press("y", "n", "u").saved()
    page = annotate.page
    open_tab(page, "Export")
    expect(page.locator("#export-page")).to_contain_text("1 yes · 1 no · 1 unsure · 37 not asked")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download COCO JSON").click()
    waiting.value.save_as(tmp_path / "coco.json")
    coco = json.loads((tmp_path / "coco.json").read_text(encoding="utf-8"))
    assert len(coco["images"]) == 8 and len(coco["annotations"]) == 1
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download CSV").click()
    waiting.value.save_as(tmp_path / "table.csv")
    assert len((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()) == 9


def test_no_tab_asks_another_host(annotate: Annotate, watch: Watch) -> None:
    for name in ("Import", "Learn", "Export", "Annotate"):
        open_tab(annotate.page, name)
    expect(annotate.surface).to_be_visible()
    assert len(watch.requests) > 20
    assert watch.foreign() == []
    assert watch.unexpected() == []
