"""Projects with a generation whose numbers a test has chosen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np

from annotator.records import Project
from annotator.store import projects
from tests.annotator import generation_builder
from tests.browser.site import Site

_numbers = count(1)


def learned(
    site: Site,
    categories: Sequence[str],
    pictures: Sequence[Path],
    *,
    logits: np.ndarray | None = None,
    instances: np.ndarray | None = None,
    context: np.ndarray | None = None,
    neighbour_weight: float = 1.0,
) -> int:
    """A project of these pictures with a generation; the last picture has a yes and a no of every category.

    Without `instances` all cells of a category look the same, so that every answer reaches every picture.
    """
    project_id = site.project(f"learned {next(_numbers)}", categories, pictures)
    with site.store.read() as c:
        project: Project = projects.get(c, project_id)
    ids = site.category_ids(project_id)
    ordered = [ids[one] for one in categories]
    images = sorted(site.actions.deck(project_id, strategy="random").ids)
    generation_builder.decide(site.store, project, [(images[-1], one, 1) for one in ordered])
    generation_builder.decide(site.store, project, [(images[-2], one, -1) for one in ordered])
    shape = (len(images), len(ordered))
    generation_builder.build(
        site.store,
        project,
        logits=np.zeros(shape) if logits is None else logits,
        instances=np.ones((*shape, generation_builder.DIM)) if instances is None else instances,
        context=context,
        neighbour_weight=neighbour_weight,
    )
    return project_id


def shown_percent(p: float) -> str:
    """A probability as the page writes it."""
    if p < 0.01:
        return "<1 %"
    return ">99 %" if p > 0.99 else f"{int(p * 100 + 0.5)} %"


def expected(site: Site, project_id: int, image_id: int) -> dict[str, str]:
    """What the server would show of a picture now, by category name."""
    names = {number: name for name, number in site.category_ids(project_id).items()}
    suggestions = site.actions.item(project_id, image_id).suggested.suggestions
    return {names[one.category_id]: shown_percent(round(one.probability, 4)) for one in suggestions}
