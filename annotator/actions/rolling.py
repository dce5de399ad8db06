"""Going back to an earlier generation, or using one that the quality gate has rejected."""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from annotator import artifacts
from annotator.errors import AnnotatorError, ArtifactDamaged, NotFound
from annotator.records import Generation, GenerationStatus
from annotator.store import Store, decisions, deeds, generations, jobs, projects
from annotator.store.clock import now_ms

DEED = "use_generation"

_log = logging.getLogger(__name__)


def roll_back(store: Store, project_id: int, generation_id: int | None, user_id: int) -> Generation:
    """Make a kept generation the current one, None = the newest intact one before the current one.

    All its files are checked against their digests first; the switch is one transaction, and it is noted who
    did it. NotFound without such a generation, Conflict when it is current already or its files were removed,
    ArtifactDamaged when a file is not what it was: then nothing changes.
    """
    with store.read() as c:
        projects.get(c, project_id)
        if generation_id is None:
            wanted = _before(store, c, project_id)
        else:
            wanted = generations.of_project(c, project_id, generation_id)
            generations.check_usable(wanted)
            check(store, wanted)

    def work(c: Connection) -> Generation:
        left = generations.current(c, project_id)
        made = generations.switch(c, project_id, wanted.id)
        deeds.add(
            c,
            DEED,
            user_id=user_id,
            now=now_ms(),
            project_id=project_id,
            generation=wanted.id,
            instead_of=None if left is None else left.id,
        )
        return made

    return store.write(work)


def check(store: Store, wanted: Generation) -> None:
    """ArtifactDamaged, without the server's own paths, when a file is not what was published."""
    refused = f"Generation {wanted.id} cannot be used, {{}}; the suggestions stay as they were."
    try:
        manifest = artifacts.verify(store.data_dir / wanted.folder, wanted.manifest_sha256)
    except ArtifactDamaged as error:
        _log.warning("%s", error)
        raise ArtifactDamaged(refused.format("a file of it is not what was published")) from error
    if (manifest.get("project"), manifest.get("generation")) != (wanted.project_id, wanted.id):
        raise ArtifactDamaged(refused.format("its folder holds another generation"))


def ask_to_rebuild(store: Store, project_id: int) -> None:
    """Queue a training because the current generation is damaged; a refusal of the store is logged only."""
    try:
        store.write(
            lambda c: jobs.request(
                c, project_id, "retrain", wanted_seq=decisions.head_seq(c, project_id), now=now_ms()
            )
        )
    except AnnotatorError as error:
        _log.warning("the training for a damaged generation could not be asked for: %s", error)


def _before(store: Store, c: Connection, project_id: int) -> Generation:
    current = generations.current(c, project_id)
    for one in generations.history(c, project_id):
        if one.status is not GenerationStatus.RETIRED or (current is not None and one.id > current.id):
            continue
        try:
            check(store, one)
        except ArtifactDamaged:
            continue
        return one
    raise NotFound("There is no earlier generation to go back to.")
