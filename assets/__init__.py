"""Stylesheets, scripts and the logo of the page, read as package data."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

SCRIPTS: Final = (
    "dom.js",
    "api.js",
    "keeping.js",
    "outbox.js",
    "pictures.js",
    "viewer.js",
    "heat.js",
    "deck.js",
    "candidates.js",
    "typeahead.js",
    "statusline.js",
    "conflicts.js",
    "signin.js",
    "together.js",
    "merging.js",
    "categories.js",
    "answers.js",
    "undo.js",
    "asking.js",
    "live.js",
    "order.js",
    "grid.js",
    "keys.js",
    "annotate.js",
)

STYLES: Final = ("page.css", "annotate.css", "people.css", "narrow.css")  # a later one wins

PEOPLE_SCRIPTS: Final = (
    "dom.js",
    "api.js",
    "showing.js",
    "invitations.js",
    "members.js",
    "accounts.js",
    "people.js",
)


def read_text(name: str) -> str:
    """Text of one file of this package; FileNotFoundError when it was not installed."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def annotate_script() -> str:
    """Script of the annotate surface: all parts in one function, so that nothing leaks into the page.

    It expects `element`, the node that holds `annotate.html`.
    """
    parts = "\n".join(read_text(name) for name in SCRIPTS)
    return f'(function () {{\n"use strict";\n{parts}\n}})();\n//# sourceURL=annotate-surface.js\n'


def health_script() -> str:
    """Script of the line above the tabs; it expects `element`, the node that holds it."""
    return f'(function () {{\n"use strict";\n{read_text("health.js")}\n}})();\n//# sourceURL=health.js\n'


def people_script() -> str:
    """Script of the People tab; it expects `element`, the node that holds `people.html`."""
    parts = "\n".join(read_text(name) for name in PEOPLE_SCRIPTS)
    return f'(function () {{\n"use strict";\n{parts}\n}})();\n//# sourceURL=people-surface.js\n'


def people_markup() -> str:
    """Skeleton of the People tab; it holds no template placeholders."""
    return read_text("people.html")


def annotate_markup() -> str:
    """Skeleton of the annotate surface; it holds no template placeholders."""
    return read_text("annotate.html")


def page_styles() -> str:
    """Stylesheets of the page, of the annotate surface and of the People tab."""
    return "".join(read_text(name) for name in STYLES)


def logo() -> str:
    """The logo as SVG text."""
    return read_text("logo.svg")
