"""Which generation serves: the current one, or while that is damaged the newest intact one before it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from annotator.errors import ArtifactDamaged
from annotator.records import Generation, GenerationStatus
from annotator.store import generations
from annotator.suggesting.generation import LoadedGeneration

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A loaded generation, None when there is none, and a sentence when it is not the current one."""

    generation: LoadedGeneration | None
    problem: str = ""


def serving(conn: Connection, data_dir: Path, current: Generation) -> Serving:
    """Load `current`; when a file of it is damaged the newest intact one that served before it.

    Every file that is read at once is checked against its digest first, so model, label map and combiner are
    always of one generation. A rejected generation is never fallen back to.
    """
    try:
        return Serving(generation=LoadedGeneration(data_dir, current))
    except ArtifactDamaged as error:
        _log.error("%s", error)
        found = str(error)
    for earlier in generations.history(conn, current.project_id):
        if earlier.status is not GenerationStatus.RETIRED:
            continue
        try:
            loaded = LoadedGeneration(data_dir, earlier)
        except ArtifactDamaged as error:
            _log.error("%s", error)
            continue
        return Serving(
            generation=loaded,
            problem=f"{found} Suggestions come from generation {earlier.id} until the next training.",
        )
    return Serving(
        generation=None, problem=f"{found} Suggestions come from similar pictures until the next training."
    )
