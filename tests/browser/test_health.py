"""The line above the tabs: nothing while all is well, a sentence while answers are not saved as usual."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from tests.browser.surface import Annotate, Watch

GIB = 2**30


def pretend(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = SimpleNamespace(free=free, total=100 * GIB, used=100 * GIB - free)
    monkeypatch.setattr("annotator.health.shutil.disk_usage", lambda _: usage)


def test_the_line_is_not_there_while_all_is_well(annotate: Annotate, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 50 * GIB)
    with annotate.page.expect_response("**/api/health"):
        annotate.open()
    line = annotate.page.locator("#health .health")
    expect(line).to_be_hidden()
    tabs = annotate.page.get_by_role("tablist").first.bounding_box()
    assert tabs is not None and tabs["y"] < 30, "it takes no room"


def test_a_nearly_full_disk_is_told_and_goes_away_again(
    annotate: Annotate, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, GIB // 2)
    annotate.open()
    line = annotate.page.locator("#health .health")
    expect(line).to_have_text(
        "The disk is nearly full (512 MB of 100.0 GB are free): "
        "uploads and trainings wait, answers are saved."
    )
    pretend(monkeypatch, 50 * GIB)
    annotate.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(line).to_be_hidden()


def test_a_refused_answer_tells_at_once_why_and_is_saved_when_there_is_room(
    annotate: Annotate, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from annotator.errors import DiskFull
    from annotator.store import Store
    from annotator.store.faults import FULL_TEXT

    watch.allow("507")
    order, image = annotate.names(), annotate.image_id
    line = annotate.page.locator("#health .health")
    expect(line).to_be_hidden()
    written = Store.written

    def full(*_: object, **__: object) -> None:
        raise DiskFull(FULL_TEXT)

    pretend(monkeypatch, 0)
    monkeypatch.setattr(Store, "written", full)
    annotate.press("y")
    expect(line).to_contain_text("answers wait in your browser")
    expect(annotate.part("saved")).to_have_text("retrying, 1 not yet saved")  # it is not offline
    monkeypatch.setattr(Store, "written", written)
    pretend(monkeypatch, 50 * GIB)
    annotate.page.evaluate("window.dispatchEvent(new Event('online'))")  # tried again without waiting
    annotate.saved()
    assert annotate.answers(image)[order[0]] == "positive"


def test_the_line_takes_its_room_from_the_picture_and_gives_it_back(
    annotate: Annotate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the surface goes below the window, nothing of the line behind the name of the page."""
    page, line = annotate.page, annotate.page.locator("#health .health")

    def bottom() -> float:
        box = annotate.surface.bounding_box()
        assert box is not None
        return box["y"] + box["height"]

    before = bottom()
    pretend(monkeypatch, GIB // 2)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(line).to_be_visible()
    assert bottom() <= 800
    brand, text = page.locator(".brand-line").bounding_box(), line.bounding_box()
    assert brand is not None and text is not None
    assert brand["y"] >= text["y"] + text["height"] - 1
    pretend(monkeypatch, 50 * GIB)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(line).to_be_hidden()
    assert bottom() == before
