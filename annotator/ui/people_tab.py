"""People: members, accounts, projects, one's own password and tokens.

One `gr.HTML` whose own script talks to the JSON routes, which know who may do what; no secret travels as a
Gradio event and none is kept in the page's state.
"""

from __future__ import annotations

import gradio as gr

import assets


def build_people_tab() -> None:
    """Place the surface in the current tab."""
    gr.HTML(
        value="",  # constant: a new value would draw the template again and wipe what the script has built
        html_template=assets.people_markup(),
        js_on_load=assets.people_script(),
        apply_default_css=False,
        padding=False,
        elem_id="people",
    )
