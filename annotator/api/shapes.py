"""How answers look as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from annotator.actions import Attention, CategoryView, Item, RetrainAnswer, Status, merging
from annotator.ordering import STRATEGIES, Grid, Ordered, Proposal
from annotator.records import (
    Category,
    CategoryCount,
    ConflictingCell,
    Evidence,
    Generation,
    ImportReport,
    Job,
    Merged,
    PastDecision,
    Project,
    StoredDecision,
    Suggestion,
)

Json = dict[str, Any]


def picture_url(image_id: int) -> str:
    """Address of the picture in full size."""
    return f"/img/{image_id}?size=full"


def thumb_url(image_id: int) -> str:
    """Address of the thumbnail."""
    return f"/img/{image_id}?size=thumb"


def project(found: Project, size: int, removable_from: int | None = None) -> Json:
    """One line of the list of projects; `removable_from`: when an archived one can be removed for good."""
    told = {"id": found.id, "name": found.name, "images": size}
    if found.archived_at is None:
        return told
    return told | {"archived_at": found.archived_at, "removable_from": removable_from}


def category(found: Category, count: CategoryCount | None = None) -> Json:
    """A category with its counts."""
    count = count or CategoryCount(category_id=found.id)
    return {
        "id": found.id,
        "name": found.name,
        "position": found.position,
        "positive": count.positive,
        "negative": count.negative,
        "unsure": count.unsure,
    }


def merged(found: Merged) -> Json:
    """What merging a category does, or did when `done`."""
    return {
        "done": found.done,
        "nothing": found.nothing,
        "message": merging.sentence(found),
        "taken": found.taken,
        "same": found.same,
        "differ": found.differ,
        "cleared": found.cleared,
        "differing": [
            {
                "image_id": one.image_id,
                "name": one.name,
                "source": one.source.word,
                "target": one.target.word,
            }
            for one in found.differing
        ],
    }


def categories(found: Sequence[CategoryView]) -> list[Json]:
    """All categories of a project."""
    return [category(view.category, view.count) for view in found]


def deck(found: Ordered) -> Json:
    """Questions in asking order, how they were ordered, and how they can be."""
    return {
        "ids": list(found.ids),
        "generation": found.generation_id,
        "strategy": found.strategy,
        "note": found.note,
        "questions": [
            {"image_id": one.image_id, "why": one.why, "category_id": one.category_id, "blind": one.blind}
            for one in found.questions
        ],
        "strategies": [{"name": name, "words": words} for name, words in STRATEGIES.items()],
        "proposal": None if found.proposal is None else _proposal(found.proposal),
    }


def _proposal(found: Proposal) -> Json:
    return {
        "mode": found.mode,
        "category_id": found.category_id,
        "cells": found.cells,
        "seconds": round(found.seconds, 1),
        "words": found.words,
    }


def grid(found: Grid) -> Json:
    """Unknown cells of one category over many pictures."""
    return {
        "category_id": found.category_id,
        "generation": found.generation_id,
        "why": found.why,
        "seconds": round(found.seconds, 1),
        "cells": [
            {
                "image_id": one.image_id,
                "name": one.name,
                "thumb": thumb_url(one.image_id),
                "url": picture_url(one.image_id),
                "p": None if one.probability is None else round(one.probability, 4),
            }
            for one in found.cells
        ],
    }


def item(found: Item) -> Json:
    """One image with its cells and candidates."""
    image = found.image
    return {
        "image": {
            "id": image.id,
            "name": image.name,
            "width": image.width,
            "height": image.height,
            "state": image.state.value,
            "url": picture_url(image.id),
            "thumb": thumb_url(image.id),
        },
        "cells": [
            {"category_id": cell.category_id, "state": cell.state.word, "seq": cell.seq}
            for cell in found.cells
        ],
        "candidates": [candidate(one) for one in found.suggested.suggestions],
        "generation": found.suggested.generation_id,
        "note": found.suggested.note,
    }


def candidate(found: Suggestion) -> Json:
    """One suggestion with its evidence."""
    return {
        "category_id": found.category_id,
        "p": round(found.probability, 4),
        "basis": found.basis,
        "known": found.known,
        "evidence": [_evidence(one) for one in found.evidence],
    }


def _evidence(found: Evidence) -> Json:
    return {
        "image_id": found.image_id,
        "state": found.state.word,
        "similarity": round(found.similarity, 4),
        "thumb": thumb_url(found.image_id),
    }


def attention(found: Attention) -> Json:
    """Where the model looked."""
    return {"grid": list(found.grid), "values": list(found.values), "generation": found.generation_id}


def stored(results: Sequence[StoredDecision], head_seq: int) -> Json:
    """Receipt for answers."""
    return {
        "results": [{"op_id": one.op_id, "seq": one.seq, "stored": one.stored} for one in results],
        "head_seq": head_seq,
    }


def conflict(found: ConflictingCell) -> Json:
    """A refused answer beside what its cell holds."""
    return {
        "op_id": found.op_id,
        "image_id": found.image_id,
        "category_id": found.category_id,
        "mine": found.mine.word,
        "theirs": found.theirs.word,
        "seq": found.seq,
        "user": found.user,
        "decided_at": found.decided_at,
    }


def history(found: Sequence[PastDecision]) -> list[Json]:
    """Who decided what and when, newest first."""
    return [
        {
            "seq": one.seq,
            "op_id": one.op_id,
            "image_id": one.image_id,
            "category_id": one.category_id,
            "category": one.category,
            "state": one.state.word,
            "source": one.source.value,
            "mode": one.mode,
            "user": one.user,
            "decided_at": one.decided_at,
            "base_seq": one.base_seq,
            "undo_of": one.undo_of,
        }
        for one in found
    ]


def status(found: Status) -> Json:
    """The learning loop."""
    counts, worker = found.counts, found.worker
    return {
        "counts": {
            "images": counts.images,
            "decided_images": counts.decided_images,
            "positive": counts.positive,
            "negative": counts.negative,
            "unsure": counts.unsure,
            "unknown": counts.unknown,
        },
        "generation": None if found.generation is None else generation(found.generation),
        "new_decisions": found.new_decisions,
        "trains_after": found.trains_after,
        "job": None if found.job is None else job(found.job),
        "worker": {"alive": worker.alive, "seen_ms_ago": worker.seen_ms_ago, "doing": worker.doing},
    }


def generation(found: Generation) -> Json:
    """A generation with its measured quality."""
    return {
        "id": found.id,
        "status": found.status.value,
        "created_at": found.created_at,
        "map": found.metrics.get("map"),
        "metrics": found.metrics,
    }


def job(found: Job) -> Json:
    """A job with its progress."""
    return {
        "id": found.id,
        "kind": found.kind,
        "status": found.status.value,
        "stage": found.stage,
        "done": found.done,
        "total": found.total,
        "message": found.message,
        "curves": found.curves,
        "started_at": found.started_at,
        "cancel_requested": found.cancel_requested,
    }


def retrain(found: RetrainAnswer) -> Json:
    """What pressing the button did."""
    job_id = None if found.job is None else found.job.id
    return {"job_id": job_id, "created": found.created, "message": found.message}


def import_report(found: ImportReport) -> Json:
    """What an import did, every refused file by name and reason."""
    return {
        "added": found.added,
        "duplicates": found.duplicates,
        "refused": [{"name": one.name, "reason": one.reason} for one in found.refused],
        "cells": found.cells,
        "cells_known": found.cells_known,
        "categories_added": found.categories_added,
        "notes": list(found.notes),
    }
