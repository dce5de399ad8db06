"""The enforced policy and the page: plots draw, nothing is violated or leaves the server (N-15, A-19)."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from annotator.store import jobs, now_ms
from tests.browser.learned import learned
from tests.browser.site import Site
from tests.browser.surface import Annotate, Watch

CURVES = [
    {"loss": 1.0 - 0.1 * step, "heldout_map": 0.5 + 0.05 * step, "floor_map": 0.5 + 0.04 * step}
    for step in range(6)
]


def test_plots_are_drawn_under_the_policy(
    page: Page, watch: Watch, blind_site: Site, pictures: list[Path]
) -> None:
    watch.allow("Vega-Lite v")  # Gradio's plots name another version than they bring
    watch.home = blind_site.url  # nobody else's jobs are on it
    project_id = learned(blind_site, ("dog", "car"), pictures)
    store = blind_site.store
    job, _ = store.write(lambda c: jobs.request(c, project_id, "retrain", wanted_seq=1, now=now_ms()))
    claimed = None
    while claimed is None or claimed.id != job.id:  # the job for the pictures' features comes before it
        claimed = store.write(lambda c: jobs.claim(c, owner="test", lease_ms=60_000, now=now_ms()))
        assert claimed is not None
    beat = {"stage": "epoch", "done": 6, "total": 12, "curves": CURVES}
    store.write(lambda c: jobs.beat(c, job.id, owner="test", lease_ms=60_000, now=now_ms(), **beat))
    Annotate(page, blind_site, project_id).open()
    page.get_by_role("tab", name="Learn").click()
    for title in ("Loss: check", "mAP on a held-out fifth"):
        plot = page.locator(".block", has_text=title).filter(has=page.locator("canvas, svg.marks"))
        expect(plot.first).to_be_visible()
    assert watch.foreign() == [] and watch.unexpected() == []


def test_the_page_is_served_with_an_enforced_policy(page: Page, live_site: Site) -> None:
    answer = page.goto(live_site.url)
    assert answer is not None
    policy = answer.header_value("content-security-policy") or ""
    assert "default-src 'self'" in policy and "script-src 'self' 'unsafe-eval' 'sha256-" in policy
    assert answer.header_value("content-security-policy-report-only") is None
    expect(page.locator("#annotate-surface")).to_be_attached()
