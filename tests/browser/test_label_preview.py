"""The Import tab shows how a label file was read before anything of it is stored."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch
from tests.browser.test_tabs import open_tab

TABLE = (
    "file_name;dog;wild cat\n"
    "scene_000.jpg;1;0\n"
    "scene_001.jpg;?;\n"
    "scene_002.jpg;;\n"
    "scene_003.jpg;0;1\n"
    "elsewhere.jpg;1;1\n"
)


def test_a_label_file_is_shown_as_read_and_stored_only_by_the_button(
    page: Page, live_site: Site, project: int, tmp_path: Path, watch: Watch
) -> None:
    watch.allow("Method not implemented")  # Gradio's upload says so
    table = tmp_path / "labels.csv"
    table.write_text(TABLE, encoding="utf-8")
    Annotate(page, live_site, project).open()
    open_tab(page, "Import")
    preview, report = page.locator("#labels-preview"), page.locator("#import-report")
    page.get_by_role("button", name="Preview").click()
    expect(preview).to_contain_text("Choose a CSV or COCO JSON file first")
    page.locator("#upload-labels input[type=file]").first.set_input_files(str(table))
    expect(preview).to_contain_text("nothing is stored yet")
    expect(preview).to_contain_text("values separated by semicolons")
    expect(preview).to_contain_text("2 positive, 2 negative, 1 unsure; 3 stay unknown")
    expect(preview).to_contain_text('line 6: no picture of the project is named "elsewhere.jpg"')
    assert live_site.log(project) == []
    assert "wild cat" not in live_site.category_ids(project)
    page.get_by_role("button", name="Import labels").click()
    expect(report).to_contain_text("elsewhere.jpg")
    expect(preview).to_contain_text("nothing is stored yet")
    said, shown = report.bounding_box(), preview.bounding_box()
    assert said is not None and shown is not None and said["y"] < shown["y"], "a long preview hides nothing"
    assert live_site.log(project) == []
    page.get_by_label("Leave bad rows out and list them").check()
    page.get_by_role("button", name="Import labels").click()
    expect(report).to_contain_text("Cells answered")
    expect(preview).to_have_text("")
    counts = live_site.actions.status(project).counts
    assert (counts.positive, counts.negative, counts.unsure) == (2, 2, 1)
    expect(report).to_contain_text("1 row, listed below")
    refused = page.get_by_text("Why it was not taken").filter(visible=True)
    expect(refused.first).to_be_visible()
    page.get_by_role("button", name="Preview").click()
    expect(preview).to_contain_text("Answered that way already")
    expect(report).to_have_text("")  # it spoke of the import before
    expect(refused).to_have_count(0)
