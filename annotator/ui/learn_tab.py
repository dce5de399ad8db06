"""Learn: what the worker is doing, what it has learned, and a button."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from annotator.errors import AnnotatorError
from annotator.ui import learning, reliability, words
from annotator.ui.door import Act, Door, Here
from annotator.ui.generations import (
    Choice,
    GenerationsPanel,
    choices,
    generations_html,
    rejected_html,
)
from annotator.ui.projects import READ_JS, ProjectField
from dsrb_core.thresholds import PRECISION, RECALL

POLL_S = 2.0
_KEPT = (
    "status",
    "generation",
    "loss",
    "quality",
    "believed",
    "reliability",
    "categories",
    "generations",
    "others",
    "busy",
    "refused",
)
Enter = Callable[[], Here]  # asks the door; raises what the page then says


@dataclass(frozen=True)
class LearnPage:
    """Everything the tab shows of one project."""

    status: str  # HTML
    generation: str  # HTML
    loss: learning.Plot | None = None
    quality: learning.Plot | None = None
    believed: str = ""  # HTML
    reliability: learning.Plot | None = None
    categories: tuple[tuple[str | int, ...], ...] = ()
    generations: str = ""  # HTML
    others: tuple[Choice, ...] = ()  # generations that can be used instead
    busy: bool = False
    refused: str = ""  # why the reader may train nothing here; empty when they may


def learn_page(
    enter: Enter,
    data_dir: Path,
    *,
    precision: object = None,
    recall: object = None,
) -> LearnPage:
    """Read the state of one project; an error becomes its sentence.

    `precision` and `recall` in % are what thresholds are asked for, None = the usual ones.
    """
    try:
        wanted = reliability.Wanted.from_percent(precision, recall)
        here = enter()
        actions, chosen = here.actions, here.project_id
        status = actions.status(chosen)
        measured = reliability.measured(data_dir, status.generation, wanted)
        rows = learning.category_rows(actions.categories(chosen), measured.categories)
        known = actions.generations(chosen)
    except AnnotatorError as error:
        return LearnPage(status=words.trouble(error), generation="")
    curves = status.job.curves if status.job is not None else []
    return LearnPage(
        status=learning.status_html(status),
        generation=learning.generation_html(status.generation) + rejected_html(known),
        loss=learning.loss_plot(curves),
        quality=learning.ap_plot(curves),
        believed=reliability.reliability_html(status.generation, measured.pooled),
        reliability=reliability.reliability_plot(status.generation),
        categories=tuple(tuple(row) for row in rows),
        generations=generations_html(known),
        others=choices(known),
        busy=learning.busy(status.job),
    )


def retrain(enter: Enter) -> str:
    """The button *Retrain*: one sentence about what happens now."""
    try:
        here = enter()
        return words.sentence(here.actions.request_retrain(here.project_id)[1])
    except AnnotatorError as error:
        return words.trouble(error)


def cancel(enter: Enter) -> str:
    """The button *Cancel*: one sentence about what happens now."""
    try:
        here = enter()
        return words.sentence(here.actions.cancel(here.project_id))
    except AnnotatorError as error:
        return words.trouble(error)


class LearnTab:
    """The tab's components and what their events do."""

    def __init__(self, door: Door, tab: gr.Tab, data_dir: Path) -> None:
        self._door = door
        self._data_dir = data_dir
        self.timer = gr.Timer(POLL_S, active=False)
        self.seen: gr.State = gr.State(None)
        with gr.Column(elem_classes="sheet"):
            self._build()
        shown = [
            self.seen,
            self.said,
            self.status,
            self.generation,
            self.loss,
            self.quality,
            self.believed,
            self.reliability,
            self.categories,
            self.panel.listed,
            self.panel.choice,
            self.cancel_button,
            self.rights,
            self.retrain_button,
            self.panel.use_button,
        ]
        project, wanted = self.project.dropdown, [self.precision, self.recall]
        tab.select(self.project.refreshed, [self.project.wanted], [project], js=READ_JS, queue=False).then(
            self.on_show, [project, *wanted], [*shown, self.timer], queue=False
        )
        project.input(self.on_show, [project, *wanted], [*shown, self.timer], queue=False)
        looked: dict[str, Any] = {"inputs": [project, self.seen, *wanted], "outputs": shown, "queue": False}
        self.timer.tick(self.on_tick, show_progress="hidden", **looked)
        for field in wanted:
            field.change(self.on_tick, show_progress="hidden", **looked)
        for button, work in ((self.retrain_button, self.on_retrain), (self.cancel_button, self.on_cancel)):
            button.click(work, [project], [self.said], queue=False).then(
                self.on_tick, show_progress="hidden", **looked
            )
        self.panel.connect(project, self.on_tick, looked)

    def _build(self) -> None:
        with gr.Row(elem_classes="bar-row"):
            self.project = ProjectField(self._door)
            self.retrain_button = gr.Button("Retrain now", variant="primary", scale=0, min_width=140)
            self.cancel_button = gr.Button("Cancel", scale=0, min_width=110)
        self.rights = gr.HTML(elem_id="learn-rights")
        self.said = gr.HTML(elem_id="learn-said")
        with gr.Row():
            self.status = gr.HTML(elem_id="learn-status")
            self.generation = gr.HTML(elem_id="learn-generation")
        with gr.Row():
            self.loss = gr.LinePlot(
                x="epoch", y="loss", title="Loss: check, then all answers", height=240, visible=False
            )
            self.quality = gr.LinePlot(
                x="epoch",
                y="mAP in %",
                color="scores",
                title="Check: mAP on a held-out fifth of the answers",
                height=240,
                visible=False,
            )
        self._build_reliability()
        self.categories = gr.Dataframe(
            headers=learning.CATEGORY_HEADERS,
            label="Categories",
            interactive=False,
            datatype=learning.CATEGORY_TYPES,
            column_widths=learning.CATEGORY_WIDTHS,
            wrap=True,
        )
        self.panel = GenerationsPanel(self._door)

    def _build_reliability(self) -> None:
        with gr.Row():
            self.believed = gr.HTML(elem_id="learn-believed")
            self.reliability = gr.LinePlot(
                x=reliability.SAID,
                y=reliability.FOUND,
                color=reliability.LINE,
                title="Said and found: yes among held-out answers",
                tooltip="all",
                x_lim=[0, 100],
                y_lim=[0, 100],
                height=340,
                color_map=reliability.COLOURS,
                visible=False,
            )
        with gr.Row():
            share = partial(gr.Number, minimum=1, maximum=99.9, step=0.1)
            with gr.Column(scale=0, min_width=190):
                self.precision = share(100 * PRECISION, label="Wanted precision in %")
            with gr.Column(scale=0, min_width=190):
                self.recall = share(100 * RECALL, label="Wanted recall in %")

    def on_show(
        self,
        request: gr.Request,
        project_id: int | None,
        precision: object = None,
        recall: object = None,
    ) -> tuple[object, ...]:
        """The tab is opened or another project chosen: show all of it and begin to poll."""
        page = self._page(request, project_id, precision, recall)
        return (*self._show(page), gr.Timer(active=True))

    def on_tick(
        self,
        request: gr.Request,
        project_id: int | None,
        seen: LearnPage | None,
        precision: object = None,
        recall: object = None,
    ) -> tuple[object, ...]:
        """Show what changed; what did not keeps its scroll position and selection."""
        return self._show(self._page(request, project_id, precision, recall), seen)

    def _page(
        self, request: gr.Request, project_id: int | None, precision: object, recall: object
    ) -> LearnPage:
        enter = partial(self._door.enter, request, Act.LOOK, project_id)
        page = learn_page(enter, self._data_dir, precision=precision, recall=recall)
        return replace(page, refused=self._door.reason(request, Act.TRAIN, project_id))

    def _show(self, page: LearnPage, seen: LearnPage | None = None) -> tuple[object, ...]:
        if page == seen:
            return (gr.skip(),) * (len(_KEPT) + 4)
        keep = {name: seen is not None and getattr(page, name) == getattr(seen, name) for name in _KEPT}
        table = [list(row) for row in page.categories]
        may, alike = not page.refused, keep["busy"] and keep["refused"]
        ended = seen is not None and seen.busy and not page.busy
        return (
            page,
            "" if ended else gr.skip(),  # "Training is queued" is no longer true
            gr.skip() if keep["status"] else page.status,
            gr.skip() if keep["generation"] else page.generation,
            gr.skip() if keep["loss"] else _plotted(page.loss),
            gr.skip() if keep["quality"] else _plotted(page.quality),
            gr.skip() if keep["believed"] else page.believed,
            gr.skip() if keep["reliability"] else _plotted(page.reliability),
            gr.skip() if keep["categories"] else table,
            gr.skip() if keep["generations"] else page.generations,
            gr.skip() if keep["others"] else gr.Dropdown(choices=list(page.others), value=None),
            gr.skip() if alike else gr.Button(interactive=page.busy and may),
            gr.skip() if keep["refused"] else words.sentence(_told(page)),
            gr.skip() if keep["refused"] else gr.Button(interactive=may),
            gr.skip() if keep["refused"] else gr.Button(interactive=may),
        )

    def on_retrain(self, request: gr.Request, project_id: int | None) -> str:
        """The button *Retrain now*."""
        return retrain(partial(self._door.enter, request, Act.TRAIN, project_id))

    def on_cancel(self, request: gr.Request, project_id: int | None) -> str:
        """The button *Cancel*."""
        return cancel(partial(self._door.enter, request, Act.CANCEL, project_id))

    @staticmethod
    def pause() -> gr.Timer:
        """Another tab is shown: nobody looks, so nothing is asked."""
        return gr.Timer(active=False)


def _plotted(plot: learning.Plot | None) -> object:
    return gr.update(value=plot, visible=plot is not None)


def _told(page: LearnPage) -> str:
    """Why nothing can be trained; the status has said it already where the project cannot be seen at all."""
    return page.refused if page.generation else ""
