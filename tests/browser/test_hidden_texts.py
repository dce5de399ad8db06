"""Texts inside pictures and suggestions of a model are never run, wherever they are shown or opened (A-20).

Ten payloads here, all of them with FAULTS=full.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from playwright.sync_api import Page, expect

from tests.browser.hidden_texts import ARTIST, COMMENT, DESCRIPTION, EXIF_FOLDER, pictures_with, profile
from tests.browser.learned import learned
from tests.browser.people import guarded
from tests.browser.script_payloads import PAYLOADS
from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch
from tests.browser.test_scripts import signed_in
from tests.faults.claims import Claims, size

INSIDE = 10  # payloads in one set of pictures
AT_ONCE = 5  # payloads as categories of one project
NO_SCRIPT = "MIME type"  # what Chromium says when a picture is asked for as a script
OWN_STYLE = (
    "Applying inline style violates"  # and of its own page around a picture, under our policy for those
)
TRAP = (
    "window.violations = [];"
    "const note = (event) => window.violations.push(event.effectiveDirective);"
    "document.addEventListener('securitypolicyviolation', note);"
)
AS_SCRIPT = """(address) => new Promise((told) => {
    const script = document.createElement("script");
    script.onload = () => told("run");
    script.onerror = () => told("refused");
    script.src = address;
    document.head.append(script);
})"""


@pytest.fixture(scope="module")
def own_site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site of these tests alone: what they plant would turn up in others' lists."""
    with guarded(migrated, tmp_path_factory.mktemp("hidden")) as site:
        yield site


@pytest.fixture
def dialogs(page: Page) -> list[str]:
    """Dialogs that the page opened; it notes violations of its policy from its first line on."""
    seen: list[str] = []
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    page.add_init_script(TRAP)
    return seen


def nothing_ran(page: Page) -> None:
    assert page.evaluate("[window.violations, window.ran]") == [[], None]


def walk_through(page: Page, site: Site, project_id: int, pictures: Sequence[int]) -> None:
    """Every picture large, all of them on the grid, every tab."""
    annotate = Annotate(page, site, project_id).open()
    seen = {annotate.image_id} | {annotate.walk("ArrowRight") for _ in pictures[1:]}
    assert seen >= set(pictures)
    annotate.press("m").in_mode("grid")
    expect(annotate.surface.locator(".ann-cell img").first).to_be_visible()
    annotate.press("m")
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
    nothing_ran(page)


def open_alone(page: Page, site: Site, image_id: int, texts: Sequence[str]) -> None:
    """The picture and its thumbnail by their own addresses, as a document and as a script."""
    for wanted in ("thumb", "full"):
        address = f"{site.url}/img/{image_id}?size={wanted}"
        answer = page.goto(address)
        assert answer is not None and answer.status == 200
        headers = answer.headers
        assert headers["content-type"] in {"image/jpeg", "image/png", "image/webp"}
        assert (
            headers["x-content-type-options"] == "nosniff" and "sandbox" in headers["content-security-policy"]
        )
        content = page.context.request.get(address).body()
        if wanted == "thumb":
            assert not any(text.encode() in content for text in texts), "a thumbnail carries pixels only"
        assert page.evaluate("[window.ran, document.images.length]") == [None, 1]


def test_texts_inside_pictures_are_never_run(
    page: Page,
    new_page: Callable[..., Page],
    watch: Watch,
    own_site: Site,
    tmp_path: Path,
    claim: Claims,
    dialogs: list[str],
) -> None:
    shown = claim(
        "A-20",
        "Script payloads in EXIF, XMP, IPTC, comments, PNG texts, the colour profile and behind the end of "
        "pictures: no dialog, no script, no violation on any tab or when a picture is opened by itself.",
        unit="payloads",
    )
    watch.home = own_site.url
    watch.allow(NO_SCRIPT)
    watch.allow(OWN_STYLE)
    signed_in(page, own_site)
    chosen = PAYLOADS[: size(10, len(PAYLOADS))]
    for start in range(0, len(chosen), INSIDE):
        payloads = chosen[start : start + INSIDE]
        pictures = pictures_with(" ".join(payloads), tmp_path / str(start))
        project_id = own_site.project(f"hidden {tmp_path.name} {start}", ["dog", "cat"], pictures)
        images = sorted(own_site.actions.deck(project_id).ids)
        walk_through(page, own_site, project_id, images)
        for image_id in images:
            assert page.evaluate(AS_SCRIPT, f"/img/{image_id}?size=full") == "refused"
        nothing_ran(page)
        alone = new_page(page.context)  # without the trap, whose script our policy for pictures would block
        alone.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        for image_id in images:
            open_alone(alone, own_site, image_id, payloads)
        alone.close()
    assert dialogs == []
    shown.done(len(chosen), pictures=5 * len(chosen) // INSIDE, fields=11)


def test_a_model_that_suggests_a_script_shows_its_text(
    page: Page, watch: Watch, own_site: Site, pictures: list[Path], claim: Claims, dialogs: list[str]
) -> None:
    shown = claim(
        "A-20",
        "Categories that a model suggests and whose names are scripts stand on the page as text, with their "
        "probabilities, on pictures, the grid and the Learn tab.",
        unit="payloads",
    )
    watch.home = own_site.url
    signed_in(page, own_site)
    chosen = PAYLOADS[: size(10, len(PAYLOADS))]
    for start in range(0, len(chosen), AT_ONCE):
        payloads = chosen[start : start + AT_ONCE]
        project_id = learned(
            own_site, payloads, pictures, logits=np.full((len(pictures), len(payloads)), 1.5)
        )
        annotate = Annotate(page, own_site, project_id).open()
        for payload in payloads:
            row = annotate.surface.locator(".ann-row").filter(has_text=payload)
            expect(row.locator(".ann-percent").first).to_contain_text("%")
        annotate.press("h")
        expect(annotate.surface.locator(".ann-heat")).to_be_visible()
        walk_through(page, own_site, project_id, [])
    assert dialogs == []
    shown.done(len(chosen))


def test_the_pictures_really_carry_the_texts(tmp_path: Path) -> None:
    """The harness tests itself: every place is there and holds the text."""
    text = PAYLOADS[0]
    jpeg, page, png, webp, gif = pictures_with(text, tmp_path / "made")
    for path in (jpeg, page, png, webp):
        with Image.open(path) as image:
            found = image.getexif()
            assert found[DESCRIPTION] == found[ARTIST] == text
            assert text.encode() in found.get_ifd(EXIF_FOLDER)[COMMENT]
            assert image.info["icc_profile"] == profile(text)
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile(text)))).strip() == text
    with Image.open(jpeg) as image:
        assert image.info["comment"] == text.encode() and text.encode() in image.info["xmp"]
        assert b"8BIM\x04\x04" in jpeg.read_bytes()
    assert page.read_bytes().endswith(b"</body></html>")
    with Image.open(png) as image:
        image.load()
        assert image.text["Title"] == image.text["Comment"] == text
        assert text in image.text["XML:com.adobe.xmp"]
    with Image.open(webp) as image:
        assert text.encode() in image.info["xmp"]
    with Image.open(gif) as image:
        assert image.info["comment"] == text.encode()
