"""The list of generations on the Learn tab, and a button to use another one than the current one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from annotator.errors import AnnotatorError
from annotator.records import Generation, GenerationStatus
from annotator.ui import words
from annotator.ui.door import Act, Door, Here

STATUS = {
    GenerationStatus.CURRENT: "in use",
    GenerationStatus.RETIRED: "served before",
    GenerationStatus.REJECTED: "rejected",
    GenerationStatus.REMOVED: "files removed",
}
HEADS = ("Generation", "Trained", "State", "Held-out mAP", "Same answers, against the one then in use")
Choice = tuple[str, int]


def made_at(generation: Generation) -> str:
    """When it was trained, for people."""
    return datetime.fromtimestamp(generation.created_at / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def generations_html(known: Sequence[Generation]) -> str:
    """Every generation with its state and figures, newest first."""
    if not known:
        return ""
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in HEADS)
    body = "".join(f"<tr>{_cells(one)}</tr>" for one in known)
    return f'<div class="facts"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(one: Generation) -> str:
    values = (
        str(one.id),
        made_at(one),
        STATUS[one.status],
        words.percent(one.metrics.get("map")),
        _compared(one),
    )
    return "".join(f"<td>{escape(value)}</td>" for value in values)


def _compared(one: Generation) -> str:
    """How it stood against the generation that was in use when it was made, on the same answers."""
    found = one.metrics.get("compared")
    if not isinstance(found, dict):
        return "–"
    return (
        f"{words.percent(found.get('map'))} against {words.percent(found.get('current_map'))} "
        f"on {words.number(int(found.get('cells', 0)), 'answer')}"
    )


def rejected_html(known: Sequence[Generation]) -> str:
    """One sentence when the newest generation is not used because the quality gate or a person said so."""
    newest = known[0] if known else None
    current = next((one.id for one in known if one.status is GenerationStatus.CURRENT), None)
    if newest is None or newest.status is not GenerationStatus.REJECTED or current is None:
        return ""
    found = newest.metrics.get("compared")
    if isinstance(found, dict) and found.get("rejected"):
        said = (
            f"Generation {newest.id} is worse than generation {current} and is not used: mean AP "
            f"{_compared(newest)}. It is kept; choose it below to use it anyway."
        )
    else:
        said = f"Generation {newest.id} was put back in favour of generation {current}."
    return words.sentence(said)


def choices(known: Sequence[Generation]) -> tuple[Choice, ...]:
    """The generations that can be used instead of the current one."""
    return tuple(
        (
            f"{one.id} · {made_at(one)} · {STATUS[one.status]} · mAP {words.percent(one.metrics.get('map'))}",
            one.id,
        )
        for one in known
        if one.status in (GenerationStatus.RETIRED, GenerationStatus.REJECTED)
    )


def question(number: int | None) -> str:
    """What is asked before anything changes."""
    if number is None:
        return words.sentence("Choose a generation first.")
    return words.sentence(
        f"Use generation {number}? Everybody's suggestions in this project come from it at once, and the "
        "next training goes on from it. Answers are not touched."
    )


def use(enter: Callable[[], Here], number: int | None) -> str:
    """The button *Yes, use it*: one sentence about what happened."""
    try:
        here = enter()
        if number is None:
            return words.sentence("Choose a generation first.")
        made = here.actions.roll_back(here.project_id, number, user_id=here.user_id)
    except AnnotatorError as error:
        return words.trouble(error)
    return words.sentence(f"Suggestions come from generation {made.id} now.")


class GenerationsPanel:
    """The list, the choice, and the question before the switch."""

    def __init__(self, door: Door) -> None:
        self._door = door
        with gr.Accordion("Generations", open=False):
            self.listed = gr.HTML(elem_id="learn-generations")
            with gr.Row(elem_classes="bar-row"):
                self.choice = gr.Dropdown(choices=[], label="Another generation", scale=2)
                self.use_button = gr.Button("Use this one", scale=0, min_width=140)
            self.asked = gr.HTML(elem_id="learn-use-question")
            with gr.Row(visible=False) as row:
                self.yes_button = gr.Button("Yes, use it", variant="primary", scale=0, min_width=140)
                self.no_button = gr.Button("No", scale=0, min_width=90)
            self.row = row

    def connect(self, project: gr.Dropdown, look: Callable[..., Any], looked: dict[str, Any]) -> None:
        """Join the buttons to what they do; `look` refreshes the tab afterwards with `looked`."""
        shown = [self.asked, self.row]
        self.use_button.click(self.on_ask, [self.choice], shown, queue=False)
        self.no_button.click(self.on_no, [], shown, queue=False)
        self.yes_button.click(self.on_yes, [project, self.choice], shown, queue=False).then(
            look, show_progress="hidden", **looked
        )

    def on_ask(self, number: int | None) -> tuple[str, object]:
        """The button *Use this one* asks first."""
        return question(number), gr.Row(visible=number is not None)

    def on_no(self) -> tuple[str, object]:
        """The button *No* changes nothing."""
        return "", gr.Row(visible=False)

    def on_yes(self, request: gr.Request, project_id: int | None, number: int | None) -> tuple[str, object]:
        """The button *Yes, use it*."""
        enter = partial(self._door.enter, request, Act.USE_GENERATION, project_id)
        return use(enter, number), gr.Row(visible=False)
