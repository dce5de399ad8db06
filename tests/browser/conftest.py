"""Real Chromium against the real server. Without a browser every test here is skipped, with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from annotator.settings import Settings
from annotator.store import Store
from tests.browser.site import Site, draw_pictures, running
from tests.browser.surface import Annotate, Watch

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 15_000  # busy machines
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
GRADIO_PANDAS = "pandas.errors.Pandas4Warning"  # Gradio uses what the newest pandas deprecates
CATEGORIES = ("umbrella", "bicycle", "traffic light", "dog", "car")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder carry the mark `browser`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.filterwarnings(f"ignore::{GRADIO_PANDAS}"))


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver."""
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One Chromium for all tests, with a profile of its own that is thrown away."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    binary = found or playwright.chromium.executable_path
    if not Path(binary).exists():
        pytest.skip(
            f"no browser: none of {', '.join(NAMES)} is on PATH and Playwright has none at {binary}; "
            "run `playwright install chromium`"
        )
    chromium = playwright.chromium.launch(executable_path=binary, headless=True, args=FLAGS)
    yield chromium
    chromium.close()


@pytest.fixture(scope="session")
def live_site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One running site for the session; tests make projects of their own in it. No worker runs."""
    with _site(migrated, tmp_path_factory.mktemp("site"), random_share=0) as site:
        yield site


@pytest.fixture(scope="module")
def blind_site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running site on which every second question is asked without a suggestion."""
    with _site(migrated, tmp_path_factory.mktemp("blind"), random_share=0.5) as site:
        yield site


@contextmanager
def _site(migrated: Path, folder: Path, *, random_share: float) -> Iterator[Site]:
    settings = Settings(data_dir=folder / "data", backbone="tiny", threads=1, random_share=random_share)
    settings.data_dir.mkdir(parents=True)
    shutil.copyfile(migrated, settings.database)
    store = Store.open(settings)
    try:
        with running(store, settings) as site:
            yield site
    finally:
        store.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight drawn pictures."""
    return draw_pictures(tmp_path_factory.mktemp("pictures"), 8)


_numbers = count(1)


@pytest.fixture
def project(live_site: Site, pictures: list[Path]) -> int:
    """A fresh project with five categories and eight pictures; nothing is answered."""
    return live_site.project(f"street {next(_numbers)}", CATEGORIES, pictures)


@pytest.fixture
def watch(live_site: Site) -> Watch:
    """The record of the test's pages."""
    return Watch(live_site.url)


@pytest.fixture
def new_page(browser: Browser, watch: Watch) -> Iterator[Callable[..., Page]]:
    """Opens pages; those of one `context` share storage, as tabs of one person do.

    Afterwards no page may have asked another host or reported an error that was not allowed.
    """
    contexts = []

    def opener(context: Any = None, **options: Any) -> Page:
        if context is None:
            context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
            contexts.append(context)
        page: Page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        watch.attach(page)
        return page

    yield opener
    for context in contexts:
        context.close()
    assert watch.foreign() == []
    assert watch.unexpected() == []


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """One page of a person who has never been here."""
    return new_page()


@pytest.fixture
def annotate(page: Page, live_site: Site, project: int) -> Annotate:
    """The surface with the fresh project open."""
    return Annotate(page, live_site, project).open()
