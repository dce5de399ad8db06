"""What a person answered is sent, once and in order and under their name, whatever happened in between."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from annotator.people import Role
from annotator.settings import Settings
from annotator.store import Store
from tests.browser.conftest import CATEGORIES
from tests.browser.people import PASSWORD, Dialog, Person, guarded, invite, own_name
from tests.browser.site import Site, draw_pictures, running
from tests.browser.surface import Annotate, Watch
from tests.browser.test_saving import KEPT, block

FULL = os.environ.get("FAULTS") == "full"
OFFLINE_PICTURES = 200 if FULL else 25
UNDO_STEPS = 5_000 if FULL else 150
FULL_STORAGE = """
    const setItem = Storage.prototype.setItem;
    Storage.prototype.setItem = function (key, value) {
      if (key.startsWith("annotator:outbox:")) throw new DOMException("no room", "QuotaExceededError");
      setItem.call(this, key, value);
    };
"""
FORBIDDEN_STORAGE = """
    const forbidden = { get() { throw new DOMException("not here", "SecurityError"); } };
    Object.defineProperty(window, "localStorage", forbidden);
    Object.defineProperty(window, "sessionStorage", forbidden);
"""
# Real key events, a task apart from each other, as fast as the page takes them.
PRESS = """async ([keys, times]) => {
    for (let i = 0; i < times; i += 1) {
        const key = keys[i % keys.length];
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        await new Promise((done) => setTimeout(done, 0));
    }
}"""


@pytest.fixture(scope="module")
def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with guarded(migrated, tmp_path_factory.mktemp("people")) as found:
        yield found


@pytest.fixture
def ann(site: Site, pictures: list[Path], request: pytest.FixtureRequest) -> Person:
    return invite(site, site.project(own_name(request), CATEGORIES, pictures), "Ann")


@pytest.fixture
def desk(ann: Person, site: Site, new_page: Callable[..., Page], watch: Watch) -> Annotate:
    """Ann is signed in, and being signed out is part of the test."""
    watch.home = site.url
    for status in ("401", "409", "403", "404"):
        watch.allow(status)
    watch.allow("ERR_INCOMPLETE_CHUNKED_ENCODING")  # the page's stream, cut when its session has ended
    return ann.at(new_page())


def log(annotate: Annotate) -> list[Any]:
    return annotate.site.log(annotate.project_id)


# ---- the line


def test_ten_minutes_offline_over_many_pictures_lose_and_double_nothing(
    live_site: Site, new_page: Callable[..., Page], watch: Watch, tmp_path: Path
) -> None:
    pictures = draw_pictures(tmp_path, OFFLINE_PICTURES)
    page = new_page()
    page.clock.install()
    annotate = Annotate(page, live_site, live_site.project("offline", ("dog", "cat"), pictures)).open()
    cut = block(page, watch)
    given: list[tuple[int, int]] = []
    for number in range(OFFLINE_PICTURES):
        annotate.press("y" if number % 3 else "n")
        given.append((annotate.image_id, 1 if number % 3 else -1))
        page.clock.fast_forward(600_000 // OFFLINE_PICTURES)
        if number + 1 < OFFLINE_PICTURES:
            annotate.walk("ArrowRight")
    expect(annotate.part("saved")).to_have_text(f"offline, retrying, {OFFLINE_PICTURES} not yet saved")
    annotate.open(given[0][0])
    expect(annotate.part("saved")).to_contain_text(f"{OFFLINE_PICTURES} not yet saved")
    page.unroute(
        "**/decisions", cut
    )  # what the leaving page still got through is sent again, and stored once
    page.clock.fast_forward(60_000)
    annotate.saved()
    assert [(row.image_id, row.state) for row in log(annotate)] == given
    assert page.evaluate(KEPT) == 0


def test_answers_given_while_the_server_restarts_arrive_once(
    migrated: Path, pictures: list[Path], new_page: Callable[..., Page], watch: Watch, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path / "data", backbone="tiny", threads=1, random_share=0)
    settings.data_dir.mkdir(parents=True)
    settings.database.write_bytes(migrated.read_bytes())
    for trouble in ("ERR_CONNECTION_REFUSED", "net::ERR", "could not be loaded"):
        watch.allow(trouble)
    store = Store.open(settings)
    with running(store, settings) as before:
        project = before.project("restart", CATEGORIES, pictures)
        watch.home = before.url
        annotate = Annotate(new_page(), before, project).open()
        order, image = annotate.names(), annotate.image_id
        annotate.press("y").saved()
    store.close()
    annotate.press("n", "u")
    expect(annotate.part("saved")).to_contain_text("2 not yet saved")
    store = Store.open(settings)
    try:
        with running(store, settings, port=int(before.url.rsplit(":", 1)[1])) as after:
            annotate.saved()
            found = {name: state.word for name, state in after.answers(project, image).items()}
            assert found == {order[0]: "positive", order[1]: "negative", order[2]: "unsure"}
            assert len(after.log(project)) == 3
    finally:
        store.close()


def test_a_clock_that_goes_back_does_not_change_the_order(annotate: Annotate, watch: Watch) -> None:
    cut = block(annotate.page, watch)
    annotate.press("y", "k")
    annotate.page.evaluate("() => { const now = Date.now; Date.now = () => now() - 86400000; }")
    annotate.press("n", "k", "u")
    expect(annotate.part("saved")).to_contain_text("3 not yet saved")
    annotate.page.unroute("**/decisions", cut)
    annotate.saved()
    assert [row.state for row in log(annotate)] == [1, -1, 2]


# ---- who is signed in


def test_when_the_session_ends_one_signs_in_in_place_and_everything_is_sent(
    desk: Annotate, ann: Person
) -> None:
    order, image = desk.names(), desk.image_id
    desk.press("y").saved()
    ann.expire()
    desk.press("n")
    dialog = Dialog(desk).shown()
    expect(dialog.box).to_contain_text("Nothing is lost. 1 answer kept on this computer")
    desk.press("Escape")
    expect(dialog.box).to_be_hidden()
    outside = "() => !document.activeElement || !document.activeElement.closest('dialog')"
    desk.page.wait_for_function(outside)
    desk.press("u", "y", "n")  # labelling goes on while nothing can be sent
    expect(desk.part("saved")).to_contain_text("signed out, 4 not yet saved")
    desk.part("saved").get_by_role("button", name="Sign in").click()
    dialog.sign_in(ann.name, "not my password")
    expect(dialog.box.get_by_role("alert")).to_contain_text("wrong")
    dialog.sign_in(ann.name)
    expect(dialog.box).to_be_hidden()
    desk.saved()
    assert desk.image_id == image
    words = ("positive", "negative", "unsure", "positive", "negative")
    assert desk.answers() == dict(zip(order, words, strict=True))
    assert [row.user_id for row in log(desk)] == [ann.id] * 5


def test_a_password_changed_elsewhere_asks_for_the_new_one(desk: Annotate, ann: Person) -> None:
    newer = "another good password"
    ann.site.actions.accounts.change_password(ann.id, PASSWORD, newer, keep=None)
    desk.press("y", "n")
    dialog = Dialog(desk).shown()
    dialog.sign_in(ann.name)
    expect(dialog.box.get_by_role("alert")).to_contain_text("wrong")
    dialog.sign_in(ann.name, newer)
    desk.saved()
    assert len(log(desk)) == 2


def test_nobody_sends_the_answers_of_another_person(desk: Annotate, ann: Person, site: Site) -> None:
    ben = invite(site, desk.project_id, "Ben")
    order, image = desk.names(), desk.image_id
    ann.expire()
    desk.press("y")
    dialog = Dialog(desk).shown()
    dialog.sign_in(ben.name)
    words = "here until they sign in again;"
    expect(desk.part("refused")).to_have_text(
        f"1 answer of {ann.name} waits {words} {ben.name} is signed in."
    )
    expect(desk.button("undo")).to_be_disabled()
    desk.open(image)
    expect(desk.row(order[0])).to_have_attribute("data-state", "unknown")
    desk.press("ArrowDown", "n").saved()
    assert [(row.user_id, row.state) for row in log(desk)] == [(ben.id, -1)]
    ben.expire()
    desk.press("u")
    dialog.shown().sign_in(ann.name)
    expect(desk.part("refused")).to_have_text(
        f"1 answer of {ben.name} waits {words} {ann.name} is signed in."
    )
    desk.saved()
    assert [(row.user_id, row.state) for row in log(desk)] == [(ben.id, -1), (ann.id, 1)]


def test_a_person_who_signs_in_in_another_tab_does_not_get_the_answers_of_this_one(
    desk: Annotate, ann: Person, site: Site, new_page: Callable[..., Page], watch: Watch
) -> None:
    ben = invite(site, desk.project_id, "Ben")
    cut = block(desk.page, watch)
    desk.press("y", "n")
    expect(desk.part("saved")).to_contain_text("2 not yet saved")
    second = ben.at(new_page(desk.page.context))
    second.press("u").saved()
    desk.page.unroute("**/decisions", cut)
    words = "wait here until they sign in again;"
    expect(desk.part("refused")).to_have_text(f"2 answers of {ann.name} {words} {ben.name} is signed in.")
    assert [(row.user_id, row.state) for row in log(desk)] == [(ben.id, 2)]
    assert desk.page.evaluate(KEPT) == 2


def test_an_answer_without_the_right_to_give_it_waits_and_can_be_sent_again(
    desk: Annotate, ann: Person
) -> None:
    ann.take_part(Role.VIEWER)
    desk.press("y")
    expect(desk.part("saved")).to_have_text("all saved, 1 refused")
    expect(desk.part("refused")).to_contain_text("“yes” to")
    assert log(desk) == []
    ann.take_part(Role.ANNOTATOR)
    desk.part("refused").get_by_role("button", name="Try again").click()
    desk.saved()
    assert len(log(desk)) == 1


def test_many_refused_answers_are_sent_again_together_and_in_order(desk: Annotate, ann: Person) -> None:
    ann.take_part(Role.VIEWER)
    desk.press("y", "n", "u")
    expect(desk.part("saved")).to_have_text("all saved, 3 refused")
    ann.take_part(Role.ANNOTATOR)
    desk.part("refused").get_by_role("button", name="Try all again").click()
    desk.saved()
    assert [row.state for row in log(desk)] == [1, -1, 2]


# ---- this computer


@pytest.mark.parametrize(
    ("spoil", "words"), [(FULL_STORAGE, "no room"), (FORBIDDEN_STORAGE, "keeps nothing")]
)
def test_a_browser_that_cannot_keep_answers_says_so_and_still_sends_them(
    spoil: str, words: str, live_site: Site, project: int, new_page: Callable[..., Page], watch: Watch
) -> None:
    page = new_page()
    page.add_init_script(spoil)
    annotate = Annotate(page, live_site, project).open()
    cut = block(page, watch)
    annotate.press("y", "n")
    expect(annotate.part("saved")).to_contain_text("2 not yet saved")
    expect(annotate.part("refused")).to_contain_text("no room for answers: 2 answers are in this tab only")
    page.unroute("**/decisions", cut)
    annotate.saved()
    expect(annotate.part("refused")).to_contain_text("keeps nothing")
    assert [row.state for row in log(annotate)] == [1, -1]


def test_a_held_key_and_a_double_click_have_one_effect_each(annotate: Annotate) -> None:
    order = annotate.names()
    held = """() => { for (let i = 0; i < 90; i += 1) document.body.dispatchEvent(new KeyboardEvent(
        "keydown", { key: "y", repeat: i > 0, bubbles: true, cancelable: true })); }"""
    annotate.page.evaluate(held)  # three seconds of thirty repeats
    annotate.row(order[3]).click()
    annotate.button("negative").dblclick()
    annotate.saved()
    states = [(row.category_id, row.state) for row in log(annotate)]
    ids = annotate.site.category_ids(annotate.project_id)
    assert states[:2] == [(ids[order[0]], 1), (ids[order[3]], -1)]
    assert len({row.op_id for row in log(annotate)}) == len(states)
    assert annotate.answers()[order[0]] == "positive"
    assert annotate.answers()[order[3]] == "negative"


def test_undo_walks_all_the_way_back_and_history_keeps_every_step(annotate: Annotate) -> None:
    page = annotate.page
    page.evaluate(PRESS, [["y", "k", "n", "k", "u", "k"], 2 * UNDO_STEPS])
    given = len(annotate.saved().site.log(annotate.project_id))
    assert given == UNDO_STEPS
    page.evaluate(PRESS, [["z"], UNDO_STEPS])
    expect(annotate.button("undo")).to_be_disabled()
    annotate.saved()
    rows = log(annotate)
    assert len(rows) == 2 * UNDO_STEPS
    assert [row.undo_of for row in rows[given:]] == [row.op_id for row in reversed(rows[:given])]
    assert annotate.answers() == {}
    expect(annotate.part("conflicts")).to_be_hidden()


# ---- pictures that go away


def test_a_picture_whose_file_is_gone_says_so_and_its_answers_stay(
    annotate: Annotate, watch: Watch, live_site: Site
) -> None:
    watch.allow("410")
    first, image = annotate.names()[0], annotate.image_id
    annotate.press("y").saved()
    path, _ = live_site.actions.image_file(image, "full")
    kept = path.read_bytes()
    path.unlink()
    try:
        annotate.press("n").saved()  # it is still open here
        annotate.page.goto(f"{live_site.url}/?project={annotate.project_id}&image={image}")
        expect(annotate.part("message")).to_contain_text("missing")
        annotate.press("ArrowRight")
        expect(annotate.surface).not_to_have_attribute("data-image", str(image))
        assert annotate.answers(image)[first] == "positive"
    finally:
        path.write_bytes(kept)
