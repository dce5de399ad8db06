"""The annotate surface as a test drives it, and a record of what went wrong in a page."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from playwright.sync_api import Locator, Page, expect

from tests.browser.site import Site

_NUMBER = re.compile(r"^[0-9]+$")


@dataclass
class Watch:
    """What went wrong in a page, and where it asked; a test may allow what it provokes."""

    home: str
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def allow(self, text: str) -> None:
        """Problems that contain this text are wanted."""
        self.allowed.append(text)

    def attach(self, page: Page) -> None:
        """Listen to a page."""
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfinished", lambda request: self.answered.append(request.url))

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.problems.append(f"{kind}: {text}")

    def foreign(self) -> list[str]:
        """Requests that left the own server."""
        inside = (self.home, "data:", "blob:", "about:")
        return [url for url in self.requests if not url.startswith(inside)]

    def unexpected(self) -> list[str]:
        """Problems that nobody allowed."""
        return [text for text in self.problems if not any(part in text for part in self.allowed)]


class Annotate:
    """The annotate surface as a test drives it; every wait is for a state."""

    def __init__(self, page: Page, site: Site, project_id: int) -> None:
        self.page = page
        self.site = site
        self.project_id = project_id
        self.surface = page.locator("#annotate-surface")

    def open(self, image_id: int | None = None) -> Annotate:
        """Load the page and wait for a picture."""
        deep = f"&image={image_id}" if image_id is not None else ""
        self.page.goto(f"{self.site.url}/?project={self.project_id}{deep}")
        expect(self.surface).to_have_attribute("data-image", str(image_id) if image_id else _NUMBER)
        return self

    def press(self, *keys: str) -> Annotate:
        """Press keys one after another."""
        for key in keys:
            self.page.keyboard.press(key)
        return self

    def type(self, text: str) -> Annotate:
        """Type into whatever has the focus."""
        self.page.keyboard.type(text)
        return self

    def part(self, name: str) -> Locator:
        """A named part of the surface."""
        return self.surface.locator(f'[data-part="{name}"]')

    @property
    def image_id(self) -> int:
        """The picture on screen."""
        return int(self.surface.get_attribute("data-image") or 0)

    def walk(self, key: str) -> int:
        """Go to another picture by key and wait for it; its id."""
        before = self.image_id
        self.press(key)
        expect(self.surface).not_to_have_attribute("data-image", str(before))
        expect(self.surface.locator(".ann-canvas img")).to_be_visible()
        return self.image_id

    def jump_to(self, image_id: int) -> Annotate:
        """Walk on, and back, until this picture is on screen."""
        for key in ("ArrowRight", "ArrowLeft"):
            for _ in range(20):
                if self.image_id == image_id:
                    return self
                before = self.image_id
                self.press(key)
                if key == "ArrowLeft" and "first picture" in self.part("said").inner_text():
                    break
                expect(self.surface).not_to_have_attribute("data-image", str(before))
        raise AssertionError(f"picture {image_id} is not among those asked about")

    def focused(self) -> str:
        """Name of the outlined category."""
        current = self.surface.locator("[aria-current]").first
        return (current.get_attribute("aria-label") or "").split(",")[0]

    def row(self, name: str) -> Locator:
        """The candidate row of a category."""
        return self.surface.locator(f'.ann-row[title="{name}"]')

    def names(self) -> list[str]:
        """Names of the candidates in the order shown."""
        return [row.get_attribute("title") or "" for row in self.surface.locator(".ann-row").all()]

    def button(self, action: str) -> Locator:
        """The button of an action."""
        return self.surface.locator(f'button[data-action="{action}"]').first

    def total(self, state: str) -> Locator:
        """The number of cells of the project in a state."""
        return self.surface.locator(f'[data-total="{state}"]').first

    def chip(self, name: str) -> Locator:
        """The entry of a category among the answered cells of the picture."""
        return self.surface.locator(".ann-chip").filter(has_text=name)

    def percent(self, name: str) -> Locator:
        """The probability shown in a candidate row."""
        return self.row(name).locator(".ann-percent")

    def cell(self, image_id: int) -> Locator:
        """The cell of a picture on the grid."""
        return self.surface.locator(f'.ann-cell[data-image="{image_id}"]')

    def grid_ids(self) -> list[int]:
        """Pictures of the grid on screen, in order."""
        return [
            int(cell.get_attribute("data-image") or 0) for cell in self.surface.locator(".ann-cell").all()
        ]

    def in_mode(self, mode: str) -> Annotate:
        """Wait until the surface is in a mode: image, blind or grid."""
        expect(self.surface).to_have_attribute("data-mode", mode)
        return self

    def wait_for_request(self, watch: Watch, ending: str) -> None:
        """Wait until a page of the test has had an answer to a request for this address."""
        if not any(url.endswith(ending) for url in watch.answered):
            self.page.wait_for_event("requestfinished", lambda request: request.url.endswith(ending))

    def saved(self) -> Annotate:
        """Wait until the page says that the server has everything."""
        expect(self.part("saved")).to_have_text("all saved")
        return self

    def said(self, text: str) -> None:
        """Wait until the live line holds this text."""
        expect(self.part("said")).to_contain_text(text)

    def answers(self, image_id: int | None = None) -> dict[str, str]:
        """What the database holds for a picture, in words."""
        found = self.site.answers(self.project_id, image_id or self.image_id)
        return {name: state.word for name, state in found.items()}
