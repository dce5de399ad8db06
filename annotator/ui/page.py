"""The page: a table of contents."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from annotator.ui.annotate_tab import build_annotate_tab
from annotator.ui.door import Door
from annotator.ui.export_tab import ExportTab
from annotator.ui.health_banner import build_health_banner
from annotator.ui.import_tab import ImportTab
from annotator.ui.learn_tab import LearnTab
from annotator.ui.people_tab import build_people_tab
from annotator.ui.person import Person

TITLE = "Annotation assistant"
UPLOADS_KEPT_S = 24 * 3600


def build_page(door: Door, *, data_dir: Path) -> gr.Blocks:
    """All tabs; every event goes through `door`. `data_dir` holds generations."""
    page = gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(3600, UPLOADS_KEPT_S),
    )
    everybody = (
        not door.sign_in
    )  # with accounts a tab that not all may use is shown when it is known who came
    with page:
        build_health_banner()
        person = Person(door, TITLE)
        with gr.Tabs():
            with gr.Tab("Annotate") as annotate:
                build_annotate_tab()
            with gr.Tab("Import", visible=everybody) as importing:
                ImportTab(door, importing, data_dir / "demo")
            with gr.Tab("Learn") as learn:
                learning = LearnTab(door, learn, data_dir)
            with gr.Tab("Export", visible=everybody) as exporting:
                ExportTab(door, exporting)
            with gr.Tab("People") as people:
                build_people_tab()
        for other in (annotate, importing, exporting, people):
            other.select(learning.pause, None, [learning.timer], queue=False)
        person.connect(page, importing, exporting)
    return page
