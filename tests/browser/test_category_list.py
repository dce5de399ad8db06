"""Categories change under an open page: ids are stable, names follow, nothing that was answered is lost."""

from __future__ import annotations

from playwright.sync_api import Locator, Route, expect

from annotator.records import CellState, NewDecision
from tests.browser.surface import Annotate, Watch
from tests.browser.test_saving import block

NAMES_MS = 60_000  # the page looks for new names every half minute


def opened(annotate: Annotate) -> Locator:
    annotate.part("category-count").click()
    box = annotate.part("categories")
    expect(box).to_be_visible()
    return box


def names(box: Locator) -> list[str]:
    return [field.input_value() for field in box.locator("input").all()]


def test_a_category_is_renamed_sorted_archived_and_brought_back(annotate: Annotate) -> None:
    first, second = annotate.names()[:2]
    annotate.press("y").saved()
    box = opened(annotate)
    assert names(box) == ["umbrella", "bicycle", "traffic light", "dog", "car"]
    box.get_by_role("button", name="Move dog up").click()
    expect(box.locator("input").nth(2)).to_have_value("dog")
    box.locator("input").first.fill("parasol")
    box.locator("input").first.press("Enter")
    expect(annotate.row("parasol")).to_be_visible()  # the open picture follows at once
    box.locator("li:has(input[value='bicycle'])").get_by_role("button", name="Archive").click()
    expect(box.locator("input")).to_have_count(4)
    expect(box.get_by_text("Archived: no longer asked, labels kept")).to_be_visible()
    assert list(annotate.site.category_ids(annotate.project_id)) == ["parasol", "dog", "traffic light", "car"]
    box.get_by_role("button", name="Restore").click()
    expect(box.locator("input")).to_have_count(5)
    annotate.press("Escape")
    assert (first, second) == ("umbrella", "bicycle")
    assert annotate.answers() == {"parasol": "positive"}


def test_a_category_is_merged_after_a_look_at_what_that_does(annotate: Annotate, watch: Watch) -> None:
    ids = annotate.site.category_ids(annotate.project_id)
    image = annotate.image_id
    others = [one for one in annotate.site.actions.deck(annotate.project_id).ids if one != image][:2]
    cells = [(image, "bicycle", CellState.POSITIVE)]
    for other in others:
        cells += [(other, "bicycle", CellState.NEGATIVE), (other, "dog", CellState.POSITIVE)]
    new = [
        NewDecision(op_id=f"merged-{image}-{place}", image_id=key, category_id=ids[name], state=state)
        for place, (key, name, state) in enumerate(cells)
    ]
    annotate.site.actions.decide(annotate.project_id, new)
    box = opened(annotate)
    box.get_by_role("button", name="Merge bicycle into another category").click()
    panel = box.locator(".ann-merging")
    expect(panel.get_by_role("heading")).to_have_text("Merge “bicycle”")
    expect(panel.get_by_role("button", name="Merge")).to_be_disabled()
    panel.get_by_label("Merge into").select_option("dog")
    expect(panel.get_by_role("status")).to_contain_text('1 answer of "bicycle" would be taken over by "dog"')
    expect(panel.get_by_label("Pictures that disagree").locator("li")).to_have_count(2)
    expect(panel.locator("li").first).to_contain_text("no, stays yes")
    expect(box.locator("input")).to_have_count(5)
    panel.get_by_role("button", name="Merge").click()
    expect(panel.get_by_role("status")).to_contain_text("is merged into")
    expect(panel.get_by_role("button", name="Done")).to_be_focused()
    expect(box.locator("input")).to_have_count(4)
    panel.get_by_role("button", name="Done").click()
    expect(panel).to_be_hidden()
    box.get_by_role("button", name="Merge bicycle into another category").click()
    panel.get_by_label("Merge into").select_option("dog")
    expect(panel.get_by_role("status")).to_contain_text("already")
    expect(panel.get_by_role("button", name="Merge")).to_be_disabled()
    annotate.press("Escape")
    annotate.site.actions.restore_category(annotate.project_id, ids["bicycle"])
    assert annotate.answers(image) == {"dog": "positive", "bicycle": "positive"}


def test_a_late_preview_is_not_shown_for_another_category_and_a_merge_on_its_way_is_not_cancelled(
    annotate: Annotate,
) -> None:
    page = annotate.page
    held: list[Route] = []
    box = opened(annotate)
    panel = box.locator(".ann-merging")
    page.route("**/merge", lambda route: held.append(route))
    box.get_by_role("button", name="Merge bicycle into another category").click()
    with page.expect_request("**/merge"):
        panel.get_by_label("Merge into").select_option("dog")
    panel.get_by_role("button", name="Cancel").click()
    box.get_by_role("button", name="Merge umbrella into another category").click()
    with page.expect_request("**/merge"):
        panel.get_by_label("Merge into").select_option("dog")
    with page.expect_response("**/categories/archived"):  # the list is read again after the late answer
        held[0].continue_()
    expect(panel.get_by_role("status")).not_to_contain_text("bicycle")
    expect(panel.get_by_role("button", name="Merge")).to_be_disabled()
    held[1].continue_()
    expect(panel.get_by_role("status")).to_contain_text('of "umbrella" would be taken over by "dog"')
    with page.expect_request("**/merge"):
        panel.get_by_role("button", name="Merge").click()
    expect(panel.get_by_role("button", name="Cancel")).to_be_disabled()
    held[2].continue_()
    expect(panel.get_by_role("button", name="Done")).to_be_focused()


def test_a_taken_name_is_refused_in_words_and_the_old_one_stays(annotate: Annotate, watch: Watch) -> None:
    watch.allow("409")
    box = opened(annotate)
    box.locator("input").first.fill("DOG")
    box.locator("input").first.press("Enter")
    expect(box.get_by_role("alert")).to_contain_text("already a category")
    expect(box.locator("input").first).to_have_value("umbrella")


def test_answers_to_a_category_that_is_archived_under_the_open_page_are_kept(
    annotate: Annotate, watch: Watch
) -> None:
    first, image = annotate.names()[0], annotate.image_id
    category = annotate.site.category_ids(annotate.project_id)[first]
    cut = block(annotate.page, watch)
    annotate.press("y")
    annotate.site.actions.archive_category(annotate.project_id, category)
    annotate.press("k", "n")
    expect(annotate.part("saved")).to_contain_text("2 not yet saved")
    annotate.page.unroute("**/decisions", cut)
    annotate.saved()
    annotate.press("z").saved()  # undo still works on it
    annotate.site.actions.restore_category(annotate.project_id, category)
    assert annotate.answers(image) == {first: "positive"}
    assert len(annotate.site.log(annotate.project_id)) == 3


def test_a_name_changed_by_somebody_else_appears_without_moving_a_row(annotate: Annotate) -> None:
    order = annotate.names()
    ids = annotate.site.category_ids(annotate.project_id)
    annotate.press("y").saved()
    annotate.site.actions.rename_category(annotate.project_id, ids[order[1]], "two wheels")
    annotate.site.actions.archive_category(annotate.project_id, ids[order[2]])
    expect(annotate.row("two wheels")).to_be_visible(timeout=NAMES_MS)
    assert annotate.names() == [order[0], "two wheels", *order[2:]]
    annotate.press("n", "u").saved()
    annotate.site.actions.restore_category(annotate.project_id, ids[order[2]])
    assert annotate.answers() == {order[0]: "positive", "two wheels": "negative", order[2]: "unsure"}


def test_the_keyboard_stays_where_it_was_in_the_list(annotate: Annotate) -> None:
    """Every change draws the list again; whoever works with keys would have to begin at the top each time."""
    box = opened(annotate)
    up = box.get_by_role("button", name="Move dog up")
    up.focus()
    for place in (2, 1, 0):
        annotate.press("Enter")
        expect(box.locator("input").nth(place)).to_have_value("dog")
        if place:
            expect(up).to_be_focused()
    expect(box.get_by_role("button", name="Move dog down")).to_be_focused()  # it cannot go further up
    field = box.locator("input").nth(1)
    field.fill("parasol")
    field.press("Enter")
    expect(annotate.row("parasol")).to_be_attached()
    expect(box.locator("input").nth(1)).to_be_focused()
    box.locator("li").nth(1).get_by_role("button", name="Archive").focus()
    annotate.press("Enter")
    expect(box.locator("input")).to_have_count(4)
    expect(box.locator("li").nth(1).get_by_role("button", name="Archive")).to_be_focused()
    annotate.press("Enter")
    expect(box.locator("input")).to_have_count(3)
    box.get_by_label("Archived categories").get_by_role("button", name="Restore").first.focus()
    annotate.press("Enter")
    expect(box.locator("input")).to_have_count(4)
    expect(box.get_by_role("button", name="Restore")).to_be_focused()
