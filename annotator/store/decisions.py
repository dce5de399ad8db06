"""Decisions are the only truth about labels; `label` and `category_stat` follow in the same transaction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Connection, bindparam, func, select

from annotator.errors import BadInput, Conflict, NotFound
from annotator.records import CategoryCount, CellState, Label, NewDecision, Source, StoredDecision
from annotator.store import batches
from annotator.store.registers import CellsMoved, Registers
from annotator.store.rows import MAX_ID, chunks, fields, known_id
from db import schema

_DECISION = schema.Decision
_LABEL = schema.Label
_STAT = schema.CategoryStat
_LABEL_COLUMNS = tuple(getattr(_LABEL, name) for name in batches.LABEL_COLUMNS)
_SOME: BindParameter[Any] = bindparam("some", expanding=True)  # ids, as many as there are
_HEAD = select(func.coalesce(func.max(_DECISION.seq), 0)).where(_DECISION.project_id == bindparam("project"))
_LABELS = select(*_LABEL_COLUMNS).where(_LABEL.image_id.in_(_SOME))
_TOUCHED = select(_DECISION.image_id, _DECISION.category_id).where(
    _DECISION.project_id == bindparam("project"), _DECISION.seq > bindparam("after")
)
_ALL_COUNTS = (
    select(_STAT.category_id, _STAT.positive, _STAT.negative, _STAT.unsure)
    .join(schema.Category, schema.Category.id == _STAT.category_id)
    .where(schema.Category.project_id == bindparam("project"))
    .order_by(schema.Category.position, schema.Category.id)
)
_COUNTS = _ALL_COUNTS.where(schema.Category.archived_at.is_(None))
BLIND = "blind"  # the mode of a question without a suggestion
Cell = tuple[int, int]


class GivenAnswer(NamedTuple):
    """How an answer came about, without what it said."""

    user_id: int
    image_id: int
    source: str
    mode: str
    shown_ms: int | None
    random_stream: bool
    takes_back: bool  # it undoes another


def record(
    c: Connection, project_id: int, new: Sequence[NewDecision], *, user_id: int, now: int
) -> list[StoredDecision]:
    """Store decisions in order and bring labels and counts up to date, all or nothing.

    An `op_id` seen before is answered with its old `seq` and stores nothing. NotFound for an image or
    category that is not in the project, BadInput for an unusable value, Conflict when an
    `op_id` comes back for another cell or state, CellsMoved when answers with a `base_seq` meet cells that
    somebody else has answered differently since. An archived category still takes answers.
    """
    for decision in new:
        _check_values(decision)
    known = batches.look(
        c,
        project_id,
        [(known_id(d.image_id, "image"), known_id(d.category_id, "category")) for d in new],
        [name for d in new for name in (d.op_id, d.after) if name is not None],
    )
    for noun, strange in (("image", known.strange_images), ("category", known.strange_categories)):
        if strange:  # one of another project is not told from one that never was
            raise NotFound(f"There is no {noun} {strange[0]}.")
    seen, seq = known.seen, known.newest
    registers = Registers(c, known.cells, seen)
    fresh: list[dict[str, Any]] = []
    answers = []
    for decision in new:
        content = (decision.image_id, decision.category_id, int(decision.state))
        if decision.op_id in seen:
            old_seq, old_content = seen[decision.op_id]
            if old_content != content:
                raise Conflict(f'The operation "{decision.op_id}" was already used for another decision.')
            answers.append(StoredDecision(op_id=decision.op_id, seq=old_seq, stored=False))
            continue
        if not registers.accepts(decision):
            continue  # the refusal at the end names every such cell at once
        seq += 1
        base = registers.put(decision, seq)
        seen[decision.op_id] = (seq, content)
        fresh.append(_row(decision, base, seq=seq, project_id=project_id, user_id=user_id, now=now))
        answers.append(StoredDecision(op_id=decision.op_id, seq=seq, stored=True))
    if registers.refused:
        raise CellsMoved(registers.conflicts(user_id=user_id, now=now))
    if fresh:
        batches.add(c, fresh, known.cells)
    return answers


def labels_of(c: Connection, image_ids: Sequence[int]) -> dict[int, dict[int, Label]]:
    """Decided cells of some images: image id -> category id -> label; an image without any is left out."""
    found: dict[int, dict[int, Label]] = {}
    for part in chunks([value for value in image_ids if 0 < value <= MAX_ID]):
        for row in c.execute(_LABELS, {"some": part}):
            found.setdefault(row.image_id, {})[row.category_id] = _label(row)
    return found


def head_seq(c: Connection, project_id: int) -> int:
    """`seq` of the newest decision of a project; 0 before the first."""
    return int(c.execute(_HEAD, {"project": project_id}).scalar_one())


def count_since(c: Connection, project_id: int, seq: int) -> int:
    """How many decisions came after `seq`."""
    query = select(func.count()).where(_DECISION.project_id == project_id, _DECISION.seq > seq)
    return int(c.execute(query).scalar_one())


def counts(c: Connection, project_id: int, *, archived: bool = False) -> list[CategoryCount]:
    """Decided cells of each active category, in the order of the categories; with `archived` of all."""
    query = _ALL_COUNTS if archived else _COUNTS
    return [CategoryCount(**fields(row)) for row in c.execute(query, {"project": project_id})]


def decided_images(c: Connection, project_id: int) -> int:
    """How many images have at least one decided cell."""
    decided = select(_LABEL.image_id).where(_LABEL.image_id == schema.Image.id).exists()
    return int(
        c.execute(select(func.count()).where(schema.Image.project_id == project_id, decided)).scalar_one()
    )


def labelled_pairs(c: Connection, project_id: int) -> Iterator[Label]:
    """Every decided cell of the active categories, streamed in the order of image and category."""
    query = _project_labels(project_id).order_by(_LABEL.image_id, _LABEL.category_id)
    for row in c.execute(query, execution_options={"yield_per": 2_000}):
        yield _label(row)


def of_category(c: Connection, category_id: int) -> list[tuple[int, int]]:
    """(image id, state) of every decided cell of one category, in image order; unsure cells included."""
    query = select(_LABEL.image_id, _LABEL.state).where(_LABEL.category_id == category_id)
    return [(image, state) for image, state in c.execute(query.order_by(_LABEL.image_id))]


def since(c: Connection, project_id: int, seq: int) -> list[Label]:
    """Current labels that were decided after `seq`, oldest first (a cleared cell has no label to show)."""
    query = _project_labels(project_id).where(_LABEL.seq > seq).order_by(_LABEL.seq)
    return [_label(row) for row in c.execute(query)]


def given(c: Connection, project_id: int, *, after: int, limit: int) -> list[GivenAnswer]:
    """The newest answers of a project above the `seq` `after`, at most `limit`, newest first."""
    table = _DECISION
    query = select(
        table.user_id,
        table.image_id,
        table.source,
        table.mode,
        table.shown_ms,
        table.random_stream,
        table.undo_of.is_not(None),
    ).where(table.project_id == project_id, table.seq > after)
    return [GivenAnswer(*row) for row in c.execute(query.order_by(table.seq.desc()).limit(limit))]


def touched_since(c: Connection, project_id: int, seq: int) -> set[Cell]:
    """Cells with any decision after `seq`, cleared ones included."""
    found = c.execute(_TOUCHED, {"project": project_id, "after": seq})
    return {(image, category) for image, category in found}


def _project_labels(project_id: int) -> Any:
    category = schema.Category
    active = select(category.id).where(category.project_id == project_id, category.archived_at.is_(None))
    return select(*_LABEL_COLUMNS).where(_LABEL.category_id.in_(active))


def _check_values(decision: NewDecision) -> None:
    if not 1 <= len(decision.op_id) <= 200:
        raise BadInput(f"An operation id has 1 to 200 characters, not {len(decision.op_id)}.")
    if not isinstance(decision.state, CellState):
        raise BadInput(f"{decision.state!r} is not a state of a cell.")
    if decision.score is not None and not math.isfinite(decision.score):
        raise BadInput(f"The score {decision.score} shown for image {decision.image_id} is not a number.")
    if decision.score is not None and (decision.random_stream or decision.mode == BLIND):
        raise BadInput(
            f"Image {decision.image_id} was asked without a suggestion, so its answer cannot carry the score "
            f"{decision.score:g}."
        )
    if not 1 <= len(decision.mode) <= 40:
        raise BadInput(f'The mode "{decision.mode[:40]}" must have 1 to 40 characters.')
    if decision.after is not None and decision.base_seq is None:
        raise BadInput(f'The answer "{decision.op_id}" says what it came after, but not its base_seq.')
    for name in ("op_id", "mode", "undo_of", "after"):
        given_text = getattr(decision, name)
        if given_text is not None and not given_text.isprintable():  # half a character cannot be read again
            raise BadInput(f"{name} {given_text!a} has signs that cannot be stored.")
    for name in ("shown_ms", "generation_id", "base_seq"):
        value = getattr(decision, name)
        if value is not None and not 0 <= value <= MAX_ID:
            raise BadInput(f"{name} {value} is out of range.")


def _row(
    decision: NewDecision, base: int | None, *, seq: int, project_id: int, user_id: int, now: int
) -> dict[str, Any]:
    return {
        "seq": seq,
        "op_id": decision.op_id,
        "project_id": project_id,
        "image_id": decision.image_id,
        "category_id": decision.category_id,
        "state": int(decision.state),
        "source": Source(decision.source).value,
        "user_id": user_id,
        "mode": decision.mode,
        "shown_ms": decision.shown_ms,
        "generation_id": decision.generation_id,
        "score": decision.score,
        "random_stream": decision.random_stream,
        "undo_of": decision.undo_of,
        "base_seq": base,
        "decided_at": now,
    }


def _label(row: Any) -> Label:
    image, category, state, source, user, seq, at, generation, score = row  # by the hundred: no dictionaries
    return Label(
        image_id=image,
        category_id=category,
        state=CellState(state),
        source=Source(source),
        user_id=user,
        seq=seq,
        decided_at=at,
        generation_id=generation,
        score=score,
    )
