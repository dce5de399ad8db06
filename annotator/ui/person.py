"""Who is signed in, above the tabs, and which tabs there are for them."""

from __future__ import annotations

from html import escape

import gradio as gr

import assets
from annotator.errors import NotAllowed
from annotator.ui.door import Act, Door, reaches


def brand(title: str, name: str = "") -> str:
    """Logo and title, and the name of who is signed in where somebody has to be."""
    person = f'<span class="brand-person">{escape(name)}</span>' if name else ""
    return f'<div class="brand-line">{person}{assets.logo()}<span>{escape(title)}</span></div>'


class Person:
    """The line above the tabs; decides when the page is opened which of them the person gets.

    What a tab does is decided again at each of its events: this only spares people what they cannot use.
    """

    def __init__(self, door: Door, title: str) -> None:
        self._door = door
        self._title = title
        self.line = gr.HTML(brand(title), elem_classes="brand", padding=False)

    def connect(self, page: gr.Blocks, importing: gr.Tab, exporting: gr.Tab) -> None:
        """Ask who it is once the page is there."""
        page.load(self.on_load, None, [self.line, importing, exporting], queue=False, show_progress="hidden")

    def on_load(self, request: gr.Request) -> tuple[object, ...]:
        """The page was opened."""
        if not self._door.sign_in:
            return brand(self._title), gr.Tab(visible=True), gr.Tab(visible=True)
        try:
            me = self._door.me(request)
        except NotAllowed:
            return brand(self._title), gr.Tab(visible=False), gr.Tab(visible=False)
        imports = reaches(me, Act.IMPORT_PICTURES, Act.IMPORT_LABELS)
        exports = reaches(me, Act.EXPORT)
        return brand(self._title, me.user.name), gr.Tab(visible=imports), gr.Tab(visible=exports)
