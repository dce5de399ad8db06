"""Label files in: which format it is, and one way of writing cells for all of them.

A file is read and checked as a whole first. A cell somebody already decided is never touched, and
operation ids follow from the content, so importing the same file again changes nothing.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from annotator.errors import BadInput
from annotator.importing import coco_json, csv_labels
from annotator.importing.cells import Cells, read_text
from annotator.importing.coco_json import Absent
from annotator.records import CellState, ImportReport, NewDecision, Source
from annotator.store import Store, categories, decisions, images, now_ms, projects

Progress = Callable[[int, int | None, str], None]
CHUNK = 4_000


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """Cells of a chunk by what became of them."""

    stored: int = 0
    same: int = 0
    kept: int = 0  # decided otherwise before
    seen: int = 0  # stored by an earlier import of this file and cleared since

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(
            stored=self.stored + other.stored,
            same=self.same + other.same,
            kept=self.kept + other.kept,
            seen=self.seen + other.seen,
        )


def no_progress(done: int, total: int | None, name: str) -> None:
    """Progress that nobody watches."""


def import_labels(
    store: Store,
    project_id: int,
    path: Path,
    *,
    user_id: int,
    on_progress: Progress = no_progress,
    absent: Absent = "unknown",
) -> ImportReport:
    """Import a CSV or COCO file, told apart by content; cells already decided are kept and counted.

    BadFile with the first thing that is wrong, and then nothing is written. `absent` says what a missing
    annotation means in plain COCO.
    """
    if not path.exists():
        raise BadInput(f"There is no file {path}.")
    with store.read() as c:
        projects.get(c, project_id)
        known = images.name_map(c, project_id)
    data, text = read_text(path)
    if text.lstrip()[0] in "{[":
        cells = coco_json.read(text, path.name, known, absent=absent)
    else:
        cells = csv_labels.read(text, path.name, known)
    ids, added = _categories(store, project_id, cells)
    digest = hashlib.sha256(data).hexdigest()
    writer = _Writer(project_id, user_id, digest, cells, ids)
    counts = _Counts()
    total = len(cells.states)
    for start in range(0, total, CHUNK):
        chunk = range(start, min(start + CHUNK, total))
        counts += store.write(functools.partial(writer.write, places=chunk))
        on_progress(chunk.stop, total, path.name)
    return _report(cells, counts, added)


def _categories(store: Store, project_id: int, cells: Cells) -> tuple[list[int], int]:
    def work(c: Connection) -> tuple[list[int], int]:
        found, added = categories.ensure(c, project_id, cells.names, now=now_ms())
        return [category.id for category in found], added

    return store.write(work)


@dataclass(frozen=True)
class _Writer:
    """Writes slices of the cells of one file."""

    project_id: int
    user_id: int
    digest: str
    cells: Cells
    category_ids: list[int]

    def write(self, c: Connection, places: range) -> _Counts:
        known = decisions.labels_of(c, sorted({self.cells.image_ids[place] for place in places}))
        counts = _Counts()
        new = []
        for place in places:
            image, category = self.cells.image_ids[place], self.category_ids[self.cells.columns[place]]
            state = CellState(self.cells.states[place])
            label = known.get(image, {}).get(category)
            if label is None:
                new.append(self._decision(image, category, state))
            elif label.state is state:
                counts = replace(counts, same=counts.same + 1)
            else:
                counts = replace(counts, kept=counts.kept + 1)
        answers = decisions.record(c, self.project_id, new, user_id=self.user_id, now=now_ms())
        stored = sum(answer.stored for answer in answers)
        return counts + _Counts(stored=stored, seen=len(answers) - stored)

    def _decision(self, image_id: int, category_id: int, state: CellState) -> NewDecision:
        content = f"{self.project_id}/{image_id}/{category_id}/{int(state)}/{self.digest}"
        return NewDecision(
            op_id=f"import-{hashlib.blake2b(content.encode(), digest_size=20).hexdigest()}",
            image_id=image_id,
            category_id=category_id,
            state=state,
            source=Source.IMPORTED,
            mode="import",
        )


def _report(cells: Cells, counts: _Counts, added: int) -> ImportReport:
    notes = list(cells.notes)
    if counts.kept:
        notes.append(f"{counts.kept} cells were already decided otherwise and were kept as they are.")
    if counts.seen:
        notes.append(f"{counts.seen} cells were cleared since this file was imported and stay cleared.")
    return ImportReport(
        cells=counts.stored,
        cells_known=counts.same + counts.kept,
        categories_added=added,
        notes=tuple(notes),
    )
