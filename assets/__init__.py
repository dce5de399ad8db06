"""Stylesheets, scripts and the logo of the page, read as package data."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

SCRIPTS: Final = (
    "dom.js",
    "api.js",
    "outbox.js",
    "viewer.js",
    "heat.js",
    "deck.js",
    "candidates.js",
    "typeahead.js",
    "statusline.js",
    "answers.js",
    "asking.js",
    "live.js",
    "order.js",
    "grid.js",
    "keys.js",
    "annotate.js",
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


def annotate_markup() -> str:
    """Skeleton of the annotate surface; it holds no template placeholders."""
    return read_text("annotate.html")


def page_styles() -> str:
    """Stylesheets of the page and of the annotate surface."""
    return read_text("page.css") + read_text("annotate.css")


def logo() -> str:
    """The logo as SVG text."""
    return read_text("logo.svg")
