"""Keys become decisions in the database."""

from __future__ import annotations

from playwright.sync_api import expect

from annotator.records import CellState, Source
from tests.browser.surface import Annotate


def test_keys_label_a_picture_and_the_decisions_are_in_the_database(annotate: Annotate) -> None:
    order = annotate.names()
    annotate.press("y", "n", "u").saved()
    assert annotate.answers() == {order[0]: "positive", order[1]: "negative", order[2]: "unsure"}
    stored = annotate.site.log(annotate.project_id)
    assert [row.source for row in stored] == [Source.HUMAN] * 3
    assert len({row.op_id for row in stored}) == 3
    assert all(row.shown_ms >= 0 and row.mode == "image" for row in stored)


def test_the_focus_moves_to_the_next_open_category_and_arrows_move_it_back(annotate: Annotate) -> None:
    order = annotate.names()
    assert annotate.focused() == order[0]
    annotate.press("y")
    assert annotate.focused() == order[1]
    annotate.press("ArrowDown", "j")
    assert annotate.focused() == order[3]
    annotate.press("k", "ArrowUp", "ArrowUp")
    assert annotate.focused() == order[0]
    annotate.press("n").saved()
    assert annotate.answers() == {order[0]: "negative"}


def test_backspace_clears_a_cell_to_not_asked(annotate: Annotate) -> None:
    order = annotate.names()
    annotate.press("y", "k", "Backspace").saved()
    assert annotate.answers() == {}
    assert [row.state for row in annotate.site.log(annotate.project_id)] == [
        CellState.POSITIVE,
        CellState.UNKNOWN,
    ]
    expect(annotate.row(order[0])).to_have_attribute("data-state", "unknown")


def test_pressing_the_same_answer_again_stores_nothing_new(annotate: Annotate) -> None:
    annotate.press("y", "k", "y").saved()
    assert len(annotate.site.log(annotate.project_id)) == 1


def test_a_held_key_answers_once(annotate: Annotate) -> None:
    for _ in range(10):
        annotate.page.keyboard.down("y")  # without a key up in between, as a held key sends it
    annotate.page.keyboard.up("y")
    annotate.saved()
    assert len(annotate.site.log(annotate.project_id)) == 1


def test_buttons_do_what_their_keys_do(annotate: Annotate) -> None:
    order = annotate.names()
    annotate.row(order[2]).click()
    annotate.button("negative").click()
    annotate.saved()
    assert annotate.answers() == {order[2]: "negative"}
    annotate.row(order[2]).click()
    expect(annotate.button("negative")).to_have_attribute("aria-pressed", "true")
    expect(annotate.button("positive")).to_have_attribute("aria-pressed", "false")


def test_none_of_the_rest_is_a_group_of_negatives_and_one_undo(annotate: Annotate) -> None:
    order = annotate.names()
    annotate.press("y", "r").saved()
    assert annotate.answers() == {order[0]: "positive"} | dict.fromkeys(order[1:], "negative")
    assert [row.source for row in annotate.site.log(annotate.project_id)] == [Source.HUMAN] + [
        Source.GROUP
    ] * 4
    annotate.press("z").saved()
    assert annotate.answers() == {order[0]: "positive"}


def test_undo_walks_back_over_pictures_to_the_first_answer(annotate: Annotate) -> None:
    first = annotate.image_id
    annotate.press("y")
    second = annotate.walk("ArrowRight")
    annotate.press("n", "u").saved()
    assert len(annotate.answers(second)) == 2
    annotate.press("z", "z").saved()
    assert annotate.answers(second) == {}
    annotate.press("z")
    expect(annotate.surface).to_have_attribute("data-image", str(first))
    annotate.said("Taken back")
    annotate.saved()
    assert annotate.answers(first) == {}
    log = annotate.site.log(annotate.project_id)
    assert [row.undo_of for row in log[3:]] == [log[2].op_id, log[1].op_id, log[0].op_id]
    expect(annotate.button("undo")).to_be_disabled()


def test_type_ahead_answers_any_category_with_yes_no_and_unsure(annotate: Annotate) -> None:
    annotate.press("/").type("traf").press("Enter")
    annotate.press("/").type("DOG").press("Shift+Enter")
    annotate.press("/").type("brella").press("Control+Enter").saved()
    assert annotate.answers() == {"traffic light": "positive", "dog": "negative", "umbrella": "unsure"}


def test_type_ahead_walks_its_list_and_escape_answers_nothing(annotate: Annotate) -> None:
    annotate.press("/", "ArrowDown", "ArrowDown", "Enter").saved()
    assert annotate.answers() == {"traffic light": "positive"}
    annotate.press("/").type("dog").press("Escape", "n").saved()
    assert "dog" not in annotate.answers()
    assert len(annotate.answers()) == 2


def test_an_unmatched_name_becomes_a_category_and_is_answered_here_only(annotate: Annotate) -> None:
    annotate.press("/").type("zebra crossing")
    expect(annotate.part("options")).to_contain_text("Add category “zebra crossing”")
    annotate.press("Enter")
    annotate.said("zebra crossing: yes")
    annotate.saved()
    assert annotate.answers() == {"zebra crossing": "positive"}
    assert len(annotate.site.log(annotate.project_id)) == 1
    expect(annotate.part("category-count")).to_have_text("6 categories")


def test_c_adds_a_category_without_answering_anything(annotate: Annotate) -> None:
    annotate.press("c").type("bench").press("Enter")
    annotate.said("Category “bench” added")
    assert "bench" in annotate.site.category_ids(annotate.project_id)
    assert annotate.site.log(annotate.project_id) == []
    annotate.press("y").saved()  # the keys belong to the picture again
    assert len(annotate.answers()) == 1


def test_keys_do_nothing_while_typing_with_a_modifier_or_on_another_tab(annotate: Annotate) -> None:
    annotate.press("/").type("yn").press("Escape")
    annotate.press("Control+y", "Alt+n")
    annotate.page.get_by_role("tab", name="Export").click()
    expect(annotate.surface).to_be_hidden()
    annotate.press("y", "n", "u")
    annotate.page.get_by_role("tab", name="Annotate").click()
    expect(annotate.surface).to_be_visible()
    annotate.saved()
    assert annotate.site.log(annotate.project_id) == []
    annotate.press("y").saved()
    assert len(annotate.site.log(annotate.project_id)) == 1


def test_totals_follow_every_answer_at_once_and_agree_with_the_server(annotate: Annotate) -> None:
    expect(annotate.total("unknown")).to_have_text("40")
    annotate.press("y", "n", "u")
    shown = [annotate.total(state).inner_text() for state in ("positive", "negative", "unsure", "unknown")]
    assert shown == ["1", "1", "1", "37"]
    annotate.saved()
    counts = annotate.site.actions.status(annotate.project_id).counts
    assert (counts.positive, counts.negative, counts.unsure, counts.unknown) == (1, 1, 1, 37)


def test_nothing_moves_when_a_candidate_is_answered(annotate: Annotate) -> None:
    def places() -> list[dict[str, float]]:
        boxes = annotate.surface.locator(".ann-row, .ann-bar > *, .ann-verdicts button, .ann-stage").all()
        return [box.bounding_box() or {} for box in boxes]

    before = places()
    annotate.press("y", "n", "u").saved()
    assert places() == before
