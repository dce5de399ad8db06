"""Pictures: asking order, loading ahead, looking closely, and what is said when there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch

SCALE = "(node) => new DOMMatrix(getComputedStyle(node).transform).a"


def test_the_next_pictures_are_loaded_before_they_are_asked_for(annotate: Annotate, watch: Watch) -> None:
    ahead = annotate.site.actions.deck(annotate.project_id, 4).ids[1:4]
    for image in ahead:
        annotate.wait_for_request(watch, f"/images/{image}")
        annotate.wait_for_request(watch, f"/img/{image}?size=full")
    # Shown from memory: the way to the server is cut, and the pictures come all the same.
    watch.allow("net::ERR_FAILED")
    annotate.page.route("**/api/**", lambda route: route.abort())
    annotate.page.route("**/img/**", lambda route: route.abort())
    assert [annotate.walk("ArrowRight") for _ in ahead] == list(ahead)
    annotate.page.unroute_all()


def test_arrows_walk_the_asking_order_and_back(annotate: Annotate) -> None:
    order = list(annotate.site.actions.deck(annotate.project_id).ids)
    seen = [
        annotate.image_id,
        annotate.walk("ArrowRight"),
        annotate.walk("Enter"),
        annotate.walk("ArrowRight"),
    ]
    assert seen == order[:4]
    assert [annotate.walk("ArrowLeft") for _ in range(3)] == order[2::-1]
    annotate.press("ArrowLeft").said("This is the first picture")


def test_a_link_opens_its_picture(annotate: Annotate) -> None:
    last = annotate.site.actions.deck(annotate.project_id).ids[-1]
    annotate.open(last)
    assert annotate.image_id == last
    annotate.walk("ArrowRight")
    assert f"image={annotate.image_id}" in annotate.page.url


def test_when_everything_is_decided_the_page_says_so(
    page: Page, live_site: Site, pictures: list[Path]
) -> None:
    project = live_site.project("done soon", ["dog", "cat"], pictures[:2])
    annotate = Annotate(page, live_site, project).open()
    annotate.press("r")
    annotate.walk("ArrowRight")
    annotate.press("r", "ArrowRight")
    expect(annotate.part("message")).to_contain_text("Every cell of every picture is decided")
    annotate.saved()
    assert live_site.actions.status(project).counts.unknown == 0


def test_pictures_left_open_come_round_again(page: Page, live_site: Site, pictures: list[Path]) -> None:
    project = live_site.project("round", ["dog", "cat"], pictures[:3])
    annotate = Annotate(page, live_site, project).open()
    first = annotate.image_id
    annotate.press("y")
    annotate.walk("ArrowRight")
    annotate.press("r")
    annotate.walk("ArrowRight")
    third = annotate.image_id
    annotate.press("r")
    assert annotate.walk("ArrowRight") == first
    assert third != first


@pytest.mark.parametrize(
    ("categories", "with_pictures", "words"),
    [((), True, "Press C to add the first one"), (("dog",), False, "Import tab")],
    ids=["no categories", "no pictures"],
)
def test_an_unfinished_project_says_what_to_do_next(
    page: Page,
    live_site: Site,
    pictures: list[Path],
    categories: tuple[str, ...],
    with_pictures: bool,
    words: str,
) -> None:
    project = live_site.project(f"start {words}", categories, pictures[:1] if with_pictures else [])
    page.goto(f"{live_site.url}/?project={project}")
    annotate = Annotate(page, live_site, project)
    expect(annotate.surface).to_contain_text(words)
    if with_pictures:
        annotate.press("c").type("bird").press("Enter")
        expect(annotate.row("bird")).to_be_visible()
        annotate.press("y").saved()
        assert annotate.answers() == {"bird": "positive"}


def test_the_wheel_zooms_drag_moves_and_zero_fits_again(annotate: Annotate) -> None:
    stage, layer = annotate.part("stage"), annotate.part("canvas")
    box = stage.bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    annotate.page.mouse.move(*middle)
    annotate.page.mouse.wheel(0, -600)
    expect(stage).to_have_attribute("data-zoomed", "true")
    assert layer.evaluate(SCALE) > 2
    before = layer.bounding_box()
    annotate.page.mouse.down()
    annotate.page.mouse.move(middle[0] + 60, middle[1] + 30, steps=3)
    annotate.page.mouse.up()
    after = layer.bounding_box()
    assert before is not None and after is not None
    assert (round(after["x"] - before["x"]), round(after["y"] - before["y"])) == (60, 30)
    annotate.press("0")
    assert layer.evaluate(SCALE) == 1
    annotate.press("+", "+", "-")
    assert layer.evaluate(SCALE) == pytest.approx(1.25)
    annotate.walk("ArrowRight")
    assert layer.evaluate(SCALE) == 1


def test_the_heat_map_covers_the_picture_exactly(annotate: Annotate) -> None:
    values = [0] * 12
    values[0] = 255
    annotate.page.route(
        "**/attention/*",
        lambda route: route.fulfill(json={"grid": [3, 4], "values": values, "generation": 1}),
    )
    annotate.press("h")
    heat = annotate.surface.locator("canvas.ann-heat")
    expect(heat).to_be_visible()
    assert heat.bounding_box() == annotate.surface.locator(".ann-canvas img").bounding_box()
    alpha = """(canvas) => [[0.05, 0.05], [0.9, 0.9]].map(([x, y]) => canvas.getContext('2d')
        .getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3])"""
    strong, weak = heat.evaluate(alpha)
    assert strong > 120 and weak == 0
    expect(annotate.part("badge")).to_contain_text(f"Where the model looked for {annotate.focused()}")
    annotate.press("h")
    expect(heat).to_have_count(0)


def test_without_a_generation_the_heat_map_key_says_why(annotate: Annotate, watch: Watch) -> None:
    watch.allow("404")
    annotate.press("h")
    expect(annotate.part("badge")).to_be_visible()
    assert len(annotate.part("badge").inner_text()) > 15
    expect(annotate.surface.locator("canvas.ann-heat")).to_have_count(0)


def test_the_sheet_lists_every_key_and_holds_the_keys_back(annotate: Annotate) -> None:
    annotate.press("?")
    sheet = annotate.part("sheet")
    expect(sheet).to_be_visible()
    for cap in ("Y", "N", "U", "Z", "R", "H", "/", "C", "J", "K"):
        expect(sheet.locator("kbd", has_text=cap).first).to_be_visible()
    annotate.press("y", "Escape")
    expect(sheet).to_be_hidden()
    annotate.saved()
    assert annotate.site.log(annotate.project_id) == []


CONTRASTS = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll('#annotate-surface *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest(':disabled')) continue;
    const [a, b] = [light(numbers(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${node.className} "${node.textContent.trim()}" ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(
    new_page: Callable[..., Page], live_site: Site, project: int, scheme: str
) -> None:
    annotate = Annotate(new_page(color_scheme=scheme), live_site, project).open()
    annotate.press("y", "n", "u").saved()
    assert annotate.page.evaluate(CONTRASTS) == []


def test_the_surface_fits_a_narrow_and_a_wide_window(annotate: Annotate) -> None:
    for width, height in ((900, 700), (1280, 800), (2200, 1200)):
        annotate.page.set_viewport_size({"width": width, "height": height})
        expect(annotate.surface.locator(".ann-worker")).to_be_in_viewport(ratio=1)
        for cut in (".ann-bar", ".ann-panel .ann-verdicts", ".ann-find", ".ann-walk", ".ann-order"):
            assert annotate.surface.locator(cut).evaluate("(node) => node.scrollWidth <= node.clientWidth"), (
                cut,
                width,
            )
