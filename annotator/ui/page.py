"""The page: a table of contents."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

import assets
from annotator.actions import Actions
from annotator.ui.annotate_tab import build_annotate_tab
from annotator.ui.export_tab import ExportTab
from annotator.ui.import_tab import ImportTab
from annotator.ui.learn_tab import LearnTab

TITLE = "Annotation assistant"
UPLOADS_KEPT_S = 24 * 3600


def build_page(actions: Actions, *, data_dir: Path) -> gr.Blocks:
    """All tabs; every event goes through `actions`. `data_dir` holds generations."""
    page = gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(3600, UPLOADS_KEPT_S),
    )
    with page:
        gr.HTML(
            f'<div class="brand-line">{assets.logo()}<span>{TITLE}</span></div>',
            elem_classes="brand",
            padding=False,
        )
        with gr.Tabs():
            with gr.Tab("Annotate") as annotate:
                build_annotate_tab()
            with gr.Tab("Import") as importing:
                ImportTab(actions, importing, data_dir / "demo")
            with gr.Tab("Learn") as learn:
                learning = LearnTab(actions, learn, data_dir)
            with gr.Tab("Export") as exporting:
                ExportTab(actions, exporting)
        for other in (annotate, importing, exporting):
            other.select(learning.pause, None, [learning.timer], queue=False)
    return page
