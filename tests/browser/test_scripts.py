"""Nothing that people write is ever run: scripts in every text field, every tab visited (A-19, A-20, N-09).

Ten payloads here, all of them with FAULTS=full.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Connection

from annotator.api.auth import COOKIE
from annotator.people import Role
from annotator.store import members, now_ms, sessions, users
from tests.browser.people import guarded
from tests.browser.script_payloads import PAYLOADS
from tests.browser.site import Site, draw_pictures
from tests.browser.surface import Annotate, Watch
from tests.faults.claims import Claims, size

AT_ONCE = 5  # payloads in one project


def file_name(payload: str, number: int) -> str:
    """A payload as the name of a picture: everything but the sign that ends a folder's name."""
    return f"{number} {payload.replace('/', '∕')}"[:100] + ".jpg"


def planted(site: Site, payloads: Sequence[str], folder: Path) -> int:
    """A project with the payloads as its own name, names of pictures and of categories, by every way in."""
    actions = site.actions
    project = actions.create_project(payloads[0])
    pictures = []
    for number, (path, payload) in enumerate(zip(draw_pictures(folder, AT_ONCE), payloads, strict=True)):
        pictures.append(path.rename(folder / file_name(payload, number)))
    assert actions.import_files(project.id, pictures).added == AT_ONCE
    by_hand, by_table, by_coco = payloads[:2], payloads[2:4], payloads[4:]
    for payload in by_hand:
        actions.add_category(project.id, payload)
    quoted = ['"' + payload.replace('"', '""') + '"' for payload in (pictures[0].name, *by_table)]
    table = folder / "labels.csv"
    table.write_text(f"file_name,{quoted[1]},{quoted[2]}\n{quoted[0]},1,0\n", encoding="utf-8")
    assert actions.import_labels(project.id, table).cells == 2
    coco = folder / "labels.json"
    told = {
        "images": [{"id": 1, "file_name": pictures[1].name, "width": 480, "height": 320}],
        "categories": [{"id": 7 + number, "name": payload} for number, payload in enumerate(by_coco)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 1, 5, 5], "iscrowd": 0}],
    }
    coco.write_text(json.dumps(told), encoding="utf-8")
    assert actions.import_labels(project.id, coco).cells == 1
    assert set(site.category_ids(project.id)) == set(payloads)
    for payload in payloads:
        site.store.write(lambda c, name=payload: _join(c, project.id, name))
    return project.id


def _join(c: Connection, project_id: int, name: str) -> None:
    person = users.create(c, name, None, now=now_ms())
    members.put(c, project_id, person.id, Role.VIEWER, now=now_ms())


@pytest.fixture(scope="module")
def own_site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site of these tests alone: what they plant would turn up in others' lists."""
    with guarded(migrated, tmp_path_factory.mktemp("scripts")) as site:
        yield site


def signed_in(page: Page, site: Site) -> None:
    """Open a session of the owner, who sees everything that is on the page."""

    def work(c: Connection) -> str:
        return sessions.create(c, users.owner(c, now=now_ms()), ttl_ms=3_600_000, now=now_ms())

    page.context.add_cookies([{"name": COOKIE, "value": site.store.write(work), "url": site.url}])


def visit(page: Page, site: Site, project_id: int, payloads: Sequence[str], refused: Path) -> None:
    """Every tab, with the text on it exactly as it was written."""
    annotate = Annotate(page, site, project_id).open()
    shown = annotate.part("project").locator("option:checked")
    expect(shown).to_contain_text(payloads[0])
    for _ in range(AT_ONCE):
        annotate.press("y")
    annotate.saved()
    for payload in payloads:
        expect(annotate.surface).to_contain_text(payload)
    annotate.press("m").in_mode("grid").press("m")
    tabs = page.get_by_role("tab")
    names = [tab.inner_text() for tab in tabs.all()]
    assert {"Annotate", "Import", "Learn", "Export", "People"} <= set(names)
    for name in names:
        page.get_by_role("tab", name=name).click()
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
        if name == "Import":
            page.get_by_label("Folder on the machine").fill(str(refused))
            page.get_by_role("button", name="Import folder").click()
            expect(page.locator("#import-report")).to_contain_text("Refused")
            expect(page.get_by_text(payloads[0].replace("/", "∕")).filter(visible=True).first).to_be_visible()
        if name in {"Learn", "People"}:
            for payload in payloads:
                expect(page.get_by_text(payload, exact=True).filter(visible=True).first).to_be_visible()


def test_scripts_in_every_text_field_are_shown_and_never_run(
    page: Page, watch: Watch, own_site: Site, tmp_path: Path, claim: Claims
) -> None:
    watch.home = own_site.url
    signed_in(page, own_site)
    claimed = claim(
        "N-09",
        "Script payloads as names of projects, people, categories (typed, from CSV, from COCO) and "
        "pictures: no dialog, no script run, no violation of the enforced policy on any tab, "
        "the text shown as it is",
        unit="payloads",
    )
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.add_init_script(
        "window.violations = [];"
        "document.addEventListener('securitypolicyviolation', (e) => window.violations.push(e.blockedURI));"
    )
    chosen = PAYLOADS[: size(10, len(PAYLOADS))]
    for start in range(0, len(chosen), AT_ONCE):
        payloads = chosen[start : start + AT_ONCE]
        folder = tmp_path / str(start)
        project_id = planted(own_site, payloads, folder / "good")
        refused = folder / "refused"
        draw_pictures(refused, AT_ONCE + 1)  # one picture is new, so that the others are a list of refusals
        for number, payload in enumerate(payloads):
            (refused / file_name(payload, number)).write_bytes(b"no picture")
        visit(page, own_site, project_id, payloads, refused)
        assert page.evaluate("window.violations") == []
        assert page.evaluate("[window.ran, document.title.includes('ran')]") == [None, False]
    assert dialogs == []
    assert watch.unexpected() == [] and watch.foreign() == []
    claimed.done(len(chosen), fields=6)


def test_the_trap_catches_a_script_that_runs(page: Page, watch: Watch, live_site: Site) -> None:
    """The test above must be able to fail: the policy blocks what a careless page would have run."""
    watch.allow("Content Security Policy")
    watch.allow("Content-Security-Policy")
    watch.allow("Failed to load resource")
    page.goto(live_site.url)
    expect(page.locator("#annotate-surface")).to_be_attached()
    page.evaluate(
        "window.violations = [];"
        "const note = (event) => window.violations.push(event.effectiveDirective);"
        "document.addEventListener('securitypolicyviolation', note);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran=1\">');"
        "const script = document.createElement('script'); script.textContent = 'window.ran = 1';"
        "document.body.append(script);"
        "const far = document.createElement('img'); far.src = 'http://127.0.0.1:9/x.png';"
        "document.body.append(far);"
    )
    page.wait_for_function("window.violations.length >= 3")
    seen = set(page.evaluate("window.violations"))
    assert {"script-src-attr", "script-src-elem", "img-src"} <= seen
    assert page.evaluate("window.ran") is None
    watch.requests[:] = [url for url in watch.requests if "127.0.0.1:9/" not in url]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_every_payload_is_a_name_of_its_own(payload: str) -> None:
    from annotator.store.names import tidy_name, twin_key

    assert tidy_name(payload, "category") == payload
    assert [twin_key(one) for one in PAYLOADS].count(twin_key(payload)) == 1
