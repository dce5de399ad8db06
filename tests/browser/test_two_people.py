"""Two people answer one cell: both values are shown, one key chooses, and nothing else waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import CATEGORIES
from tests.browser.people import Person, guarded, invite, own_name
from tests.browser.site import Site, draw_pictures
from tests.browser.surface import Annotate, Watch


@pytest.fixture(scope="module")
def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with guarded(migrated, tmp_path_factory.mktemp("people")) as found:
        yield found


@pytest.fixture(scope="module")
def many_pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """More than two people walk through in a test: what is left at the very end is for both."""
    return draw_pictures(tmp_path_factory.mktemp("many"), 64)


@pytest.fixture
def two(site: Site, pictures: list[Path], request: pytest.FixtureRequest) -> tuple[Person, Person]:
    project = site.project(own_name(request), CATEGORIES, pictures)
    return invite(site, project, "Ann"), invite(site, project, "Ben")


@pytest.fixture
def desks(
    two: tuple[Person, Person], site: Site, new_page: Callable[..., Page], watch: Watch
) -> tuple[Annotate, Annotate]:
    """Both have the same picture on screen, and nothing is answered."""
    watch.home = site.url
    watch.allow("409")
    ann, ben = two[0].at(new_page()), two[1].at(new_page())
    ben.open(ann.image_id)
    assert ann.names() == ben.names()
    return ann, ben


def log(desk: Annotate) -> list[tuple[int, int, int | None]]:
    return [(row.user_id, row.state, row.base_seq) for row in desk.site.log(desk.project_id)]


def test_the_second_sees_both_answers_and_the_others_are_saved(
    desks: tuple[Annotate, Annotate], two: tuple[Person, Person]
) -> None:
    ann, ben = desks
    first, second, third = ann.names()[:3]
    ben.press("y").saved()
    ann.press("n", "y", "u")
    expect(ann.part("conflicts")).to_contain_text(
        f"{first} on {ann.site.actions.item(ann.project_id, ann.image_id).image.name}"
    )
    expect(ann.part("conflicts")).to_contain_text(f"{two[1].name}, just now: yes. You: no.")
    expect(ann.part("saved")).to_have_text("all saved, 1 to choose")
    expect(ann.row(first)).to_have_attribute("data-state", "positive")
    assert ann.answers() == {first: "positive", second: "positive", third: "unsure"}
    assert [state for _, state, _ in log(ann)] == [1, 1, 2]


def test_one_key_keeps_the_other_answer(desks: tuple[Annotate, Annotate]) -> None:
    ann, ben = desks
    first = ann.names()[0]
    ben.press("y").saved()
    ann.press("n")
    expect(ann.part("conflicts")).to_be_visible()
    ann.press("t")
    expect(ann.part("conflicts")).to_be_hidden()
    ann.saved()
    assert ann.answers() == {first: "positive"}
    assert len(log(ann)) == 1
    expect(ann.button("undo")).to_be_disabled()  # nothing of Ann's is stored


def test_one_key_uses_the_own_answer_and_history_keeps_both(
    desks: tuple[Annotate, Annotate], two: tuple[Person, Person]
) -> None:
    ann, ben = desks
    first = ann.names()[0]
    ben.press("y").saved()
    ann.press("n")
    expect(ann.part("conflicts")).to_be_visible()
    ann.press("i")
    expect(ann.part("conflicts")).to_be_hidden()
    ann.saved()
    expect(ann.row(first)).to_have_attribute("data-state", "negative")
    assert ann.answers() == {first: "negative"}
    seen = ann.site.log(ann.project_id)[0].seq
    assert log(ann) == [(two[1].id, 1, 0), (two[0].id, -1, seen)]


def test_a_choice_outlives_a_reload_and_the_mouse_chooses_too(desks: tuple[Annotate, Annotate]) -> None:
    ann, ben = desks
    first, image = ann.names()[0], ann.image_id
    ben.press("y").saved()
    ann.press("n")
    expect(ann.part("conflicts")).to_be_visible()
    ann.open(image)
    expect(ann.chip(first)).to_have_attribute("data-state", "positive")
    ann.part("conflicts").get_by_role("button", name="Use mine: no").click()
    ann.saved()
    assert ann.answers() == {first: "negative"}


def test_one_person_who_changes_their_mind_never_meets_themselves(annotate: Annotate, watch: Watch) -> None:
    first = annotate.names()[0]
    watch.allow("net::ERR_FAILED")
    annotate.page.route("**/decisions", lambda route: route.abort())
    annotate.press("y", "k", "n", "k", "u", "z")
    expect(annotate.part("saved")).to_contain_text("4 not yet saved")
    annotate.page.unroute_all()
    annotate.saved()
    annotate.press("k", "k", "y").saved()
    expect(annotate.part("conflicts")).to_be_hidden()
    assert annotate.answers() == {first: "positive"}
    rows = annotate.site.log(annotate.project_id)
    assert [row.base_seq for row in rows] == [0, *(row.seq for row in rows[:-1])]


def test_an_undo_of_what_somebody_else_changed_leaves_it(desks: tuple[Annotate, Annotate]) -> None:
    ann, ben = desks
    first, image = ann.names()[0], ann.image_id
    ann.press("y").saved()
    ben.open(image)
    ben.chip(first).click()
    ben.press("n").saved()
    ann.press("z")
    ann.said("that stays")
    expect(ann.part("conflicts")).to_be_hidden()
    expect(ann.row(first)).to_have_attribute("data-state", "negative")
    assert ann.answers() == {first: "negative"}


def test_two_on_one_grid_meet_cell_by_cell(desks: tuple[Annotate, Annotate]) -> None:
    ann, ben = desks
    ann.press("m").in_mode("grid")
    ben.press("m").in_mode("grid")
    ids = ann.grid_ids()
    assert ids == ben.grid_ids()
    ben.press("y").saved()
    ann.press("r")
    expect(ann.part("conflicts")).to_contain_text("yes. You: no.")
    expect(ann.part("saved")).to_have_text("all saved, 1 to choose")
    expect(ann.cell(ids[0])).to_have_attribute("data-state", "positive")
    assert sorted(state for _, state, _ in log(ann)) == [-1] * (len(ids) - 1) + [1]
    ann.press("t")
    ann.saved()


def test_a_newer_answer_to_the_cell_settles_the_open_question(desks: tuple[Annotate, Annotate]) -> None:
    ann, ben = desks
    first = ann.names()[0]
    ben.press("y").saved()
    ann.press("n")
    expect(ann.part("conflicts")).to_be_visible()
    ann.row(first).click()
    ann.press("u").saved()
    expect(ann.part("conflicts")).to_be_hidden()
    assert ann.answers() == {first: "unsure"}
    assert (
        ann.page.evaluate("Object.keys(localStorage).filter((k) => k.startsWith('annotator:outbox:'))") == []
    )


def test_two_who_begin_at_the_same_time_walk_through_different_pictures(
    site: Site,
    many_pictures: list[Path],
    request: pytest.FixtureRequest,
    new_page: Callable[..., Page],
    watch: Watch,
) -> None:
    watch.home = site.url
    project = site.project(own_name(request), CATEGORIES[:2], many_pictures)
    ann, ben = (invite(site, project, name).at(new_page()) for name in ("Ann", "Ben"))
    bens = [ben.image_id, *(ben.walk("ArrowRight") for _ in range(3))]
    anns = [ann.image_id, *(ann.walk("ArrowRight") for _ in range(30))]  # far beyond what was hers at first
    assert len({*anns, *bens}) == 35
