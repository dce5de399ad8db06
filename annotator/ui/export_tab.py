"""Export: plain links to the download routes, with what each format keeps."""

from __future__ import annotations

import gradio as gr

from annotator.errors import AnnotatorError
from annotator.ui import words
from annotator.ui.door import Act, Door
from annotator.ui.projects import READ_JS, ProjectField


def export_page(door: Door, request: gr.Request, project_id: int | None) -> str:
    """Links and totals of one project as HTML."""
    try:
        here = door.enter(request, Act.EXPORT, project_id)
        chosen = here.project_id
        counts = here.actions.status(chosen).counts
    except AnnotatorError as error:
        return words.trouble(error)
    totals = words.joined(
        [
            f"{counts.positive:,} yes",
            f"{counts.negative:,} no",
            f"{counts.unsure:,} unsure",
            f"{counts.unknown:,} not asked",
        ]
    )
    return (
        f"<p>{words.number(counts.images, 'picture')}: {totals}</p>"
        + _format(
            f"/api/projects/{chosen}/export/coco",
            "Download COCO JSON",
            "All four states, for tools that read COCO: yes answers are annotations, no answers stand in "
            "neg_category_ids and unsure ones beside them, never as annotations. "
            "What was not asked stays not asked.",
        )
        + _format(
            f"/api/projects/{chosen}/export/csv",
            "Download CSV",
            "One row per picture, one column per category: 1 yes, 0 no, ? unsure, empty not asked. "
            "It can be imported again as it is.",
        )
    )


def _format(address: str, title: str, keeps: str) -> str:
    return (
        f'<div class="export-format"><a class="button-link" href="{address}">{title}</a><p>{keeps}</p></div>'
    )


class ExportTab:
    """The tab's components and what their events do."""

    def __init__(self, door: Door, tab: gr.Tab) -> None:
        self._door = door
        with gr.Column(elem_classes="sheet"):
            with gr.Row():
                project = ProjectField(door)
            page = gr.HTML(elem_id="export-page")
        tab.select(project.refreshed, [project.wanted], [project.dropdown], js=READ_JS, queue=False).then(
            self.on_show, [project.dropdown], [page], queue=False
        )
        project.dropdown.input(self.on_show, [project.dropdown], [page], queue=False)

    def on_show(self, request: gr.Request, project_id: int | None) -> str:
        """The chosen project's links."""
        return export_page(self._door, request, project_id)
