"""From the files of a generation to the one in use: finite, compared, switched to in one transaction."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from annotator.artifacts import ArtifactWriter
from annotator.errors import Conflict, DiskFull, NotFound, StoreBusy, StoreStopping
from annotator.failpoints import failpoint
from annotator.records import GenerationStatus, JobStatus
from annotator.settings import Settings
from annotator.store import Store, categories, generations, jobs
from annotator.store.clock import now_ms
from annotator.worker import gate
from annotator.worker.facts import end_message
from annotator.worker.lease import Lease
from annotator.worker.tasks_generation import Training, write_files
from annotator.worker.tasks_instances import Stopped

# With these nothing was stored.
_NOT_STORED = (Stopped, Conflict, NotFound, StoreBusy, StoreStopping, DiskFull)


def publish_generation(store: Store, settings: Settings, training: Training, lease: Lease) -> str:
    """Write the generation beside the others and switch to it in one transaction with the end of the job.

    One that is clearly worse than the current one is kept as rejected and not switched to. Returns the
    message the job ended with, or "" when the lease was lost or the job cancelled on the way: then nothing is
    left behind and the old generation stays. NothingToLearn when a number of it is not finite, Gone when the
    project was archived meanwhile.
    """
    frozen, project_id = training.frozen, training.job.project_id
    number = store.write(generations.reserve)
    folder = Path("projects") / str(project_id) / "generations" / f"{number:06d}"
    writer = ArtifactWriter(settings.data_dir / folder)
    try:
        with writer:
            facts = write_files(writer.folder, settings, training, lease)
            gate.check_finite(writer.folder, training.result.model)
            lease.report("comparing with the current generation")
            held, backbone = training.result.holdout, training.backbone.key
            verdict = gate.compare(store, settings.data_dir, frozen, held, backbone=backbone)
            rejected = verdict is not None and verdict.worse(settings.gate_tolerance / 100)
            if verdict is not None:
                facts["metrics"]["compared"] = verdict.facts(rejected)
            lease.report("publishing")
            failpoint("before_files")
            writer.describe(
                project=project_id,
                generation=number,
                snapshot=frozen.snapshot.id,
                up_to_seq=frozen.snapshot.up_to_seq,
                backbone=backbone,
                grid=list(training.backbone.grid),
                **facts,
            )
    except Stopped:
        return ""
    with store.read() as c:
        later = {category.id for category in categories.list_active(c, project_id)}
    message = end_message(number, facts, added=len(later - set(frozen.category_ids.tolist())))
    message = " ".join([verdict.sentence(number) if verdict and rejected else message, *training.notes])
    failpoint("before_switch")
    try:
        message = _switch(
            store,
            training,
            lease,
            message=message,
            generation_id=number,
            folder=folder.as_posix(),
            manifest_sha256=writer.manifest_sha256,
            metrics=facts["metrics"],
            rejected=rejected,
        )
    except _NOT_STORED as error:  # after any other error the row may be there; the next start looks
        shutil.rmtree(settings.data_dir / folder, ignore_errors=True)
        if isinstance(error, Stopped):
            lease.cancelled = True
            return ""
        raise
    failpoint("after_switch")
    return message


def _switch(
    store: Store,
    training: Training,
    lease: Lease,
    *,
    message: str,
    generation_id: int,
    rejected: bool,
    **published: Any,
) -> str:
    """Publish and end the job in one transaction; the message it ended with.

    One that went on from a generation which somebody has rejected meanwhile is rejected, too. An owner whose
    lease was taken over raises Conflict at the end of the job, a job that a person has cancelled Stopped;
    with it the switch is undone.
    """
    snapshot, notes, origin = training.frozen.snapshot, training.notes, training.start.origin

    def work(c: Connection) -> str:
        if jobs.get(c, training.job.id).cancel_requested:  # since the last heartbeat
            raise Stopped
        left = origin is not None and generations.get(c, origin).status is GenerationStatus.REJECTED
        said = " ".join([_left_behind(generation_id, origin), *notes]) if left else message
        generations.publish(
            c,
            project_id=training.job.project_id,
            snapshot_id=snapshot.id,
            generation_id=generation_id,
            backbone=training.backbone.key,
            now=now_ms(),
            rejected=rejected or left,
            **published,
        )
        jobs.finish(
            c,
            training.job.id,
            owner=lease.owner,
            status=JobStatus.DONE,
            message=said,
            reached_seq=snapshot.up_to_seq,
            now=now_ms(),
        )
        return said

    return store.write(work)


def _left_behind(number: int, origin: int | None) -> str:
    return (
        f"Generation {number} was made but is not used: it went on from generation {origin}, which was "
        f"rejected meanwhile. The list of generations lets you use {number} anyway."
    )
