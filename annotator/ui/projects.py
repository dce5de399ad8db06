"""The project that all tabs talk about; the browser remembers it for the annotate surface and the tabs."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from annotator.errors import NotAllowed
from annotator.records import Project
from annotator.ui.door import Door

Choices = list[tuple[str, int]]

# The annotate surface defines the door; before it is there nothing is wanted.
READ_JS = "() => [window.annotatorProject ? window.annotatorProject.get() : null]"
KEEP_JS = "(id) => { if (id && window.annotatorProject) window.annotatorProject.set(id); }"


def choices(projects: Sequence[Project]) -> Choices:
    """Names to choose from, with their ids."""
    return [(project.name, project.id) for project in projects]


def choose(projects: Sequence[Project], wanted: float | None) -> int | None:
    """The wanted project when it exists, else the first; None when there is none."""
    ids = [project.id for project in projects]
    if wanted is not None and int(wanted) in ids:
        return int(wanted)
    return ids[0] if ids else None


class ProjectField:
    """A dropdown of the sender's projects that follows the project chosen elsewhere on the page."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.wanted = gr.Number(visible=False, precision=0)
        self.dropdown = gr.Dropdown(label="Project", choices=[], interactive=True, min_width=220, scale=1)
        self.dropdown.input(None, [self.dropdown], None, js=KEEP_JS, queue=False)

    def refreshed(self, request: gr.Request, wanted: float | None = None) -> gr.Dropdown:
        """The dropdown with the projects that the sender is in now; none for a stranger."""
        try:
            projects = self._door.projects(request)
        except NotAllowed:
            projects = []  # whatever the tab does next says why
        return gr.Dropdown(choices=list(choices(projects)), value=choose(projects, wanted))
