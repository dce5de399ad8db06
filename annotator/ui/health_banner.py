"""The line above all tabs that says when answers are not saved as usual."""

from __future__ import annotations

import gradio as gr

import assets


def build_health_banner() -> None:
    """Place the line; its own script asks `/api/health` and nothing is shown while all is well."""
    gr.HTML(
        value="",  # constant: a new value would draw the template again
        html_template='<div class="health" role="status" aria-live="polite" hidden></div>',
        js_on_load=assets.health_script(),
        apply_default_css=False,
        padding=False,
        elem_id="health",
    )
