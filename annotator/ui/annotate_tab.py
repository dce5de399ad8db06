"""Annotate: one `gr.HTML` whose own script talks to the JSON routes; no answer travels as a Gradio event."""

from __future__ import annotations

import gradio as gr

import assets


def build_annotate_tab() -> None:
    """Place the surface in the current tab."""
    gr.HTML(
        value="",  # constant: a new value would draw the template again and wipe what the script has built
        html_template=assets.annotate_markup(),
        js_on_load=assets.annotate_script(),
        apply_default_css=False,
        padding=False,
        elem_id="annotate",
    )
