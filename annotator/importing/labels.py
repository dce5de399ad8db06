"""Label files in: which format it is, and one way of writing cells for all of them.

A file is read and checked as a whole first. A cell somebody already decided is never touched, and
operation ids follow from the content, so importing the same file again changes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from sqlalchemy import Connection

from annotator.errors import BadInput
from annotator.importing import coco_json, csv_labels
from annotator.importing.cells import Cells, Problems, were
from annotator.importing.coco_json import Absent
from annotator.importing.texts import check_text, open_text
from annotator.records import ImportReport
from annotator.store import LONG_PATIENCE_S, Store, bulk, categories, images, now_ms, projects
from annotator.store.bulk import ImportedCells, NewCell

Progress = Callable[[int, int | None, str], None]
CHUNK = 20_000
ONE_TRANSACTION = 100_000  # cells


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
    lenient: bool = False,
) -> ImportReport:
    """Import a CSV or COCO file, told apart by content; cells already decided are kept and counted.

    BadFile with the first thing that is wrong, and then nothing is written; `lenient` takes the good rows and
    lists the bad ones instead. `absent` says what a missing annotation means in plain COCO. Up to
    `ONE_TRANSACTION` cells are written all or none; more come in steps so that nobody else waits for them.
    """
    problems = Problems(file=path.name, lenient=lenient)
    digest, cells = read_labels(store, project_id, path, problems, absent=absent)
    writer = _Writer(project_id, user_id, digest, cells)
    if len(cells.states) <= ONE_TRANSACTION:
        counts, added = store.write(writer.write_all, patience_s=LONG_PATIENCE_S)
        on_progress(len(cells.states), len(cells.states), path.name)
    else:
        counts, added = _in_steps(store, writer, path.name, on_progress)
    return _report(cells, counts, added, problems)


def read_labels(
    store: Store, project_id: int, path: Path, problems: Problems, *, absent: Absent
) -> tuple[str, Cells]:
    """SHA-256 of a label file and its cells; nothing is written. Errors as `import_labels`."""
    if not path.exists():
        raise BadInput(f"There is no file {path.name}.")
    with store.read() as c:
        projects.get(c, project_id)
        known = images.name_map(c, project_id)
    digest, first = check_text(path)
    with open_text(path) as file:
        if first in "{[":
            return digest, coco_json.read(file, known, problems, absent=absent)
        return digest, csv_labels.read(file, known, problems)


def _in_steps(store: Store, writer: _Writer, name: str, on_progress: Progress) -> tuple[ImportedCells, int]:
    """Everything checked already, so only a full disk or an end of the program can leave it half done.

    The same file again then finishes it.
    """
    ids, added = store.write(writer.ensure, patience_s=LONG_PATIENCE_S)
    counts, total = ImportedCells(), len(writer.cells.states)
    for start in range(0, total, CHUNK):
        chunk = range(start, min(start + CHUNK, total))
        work = functools.partial(writer.write, category_ids=ids, places=chunk)
        counts += store.write(work, patience_s=LONG_PATIENCE_S)
        on_progress(chunk.stop, total, name)
    return counts, added


@dataclass(frozen=True)
class _Writer:
    """Writes slices of the cells of one file."""

    project_id: int
    user_id: int
    digest: str
    cells: Cells

    def write_all(self, c: Connection) -> tuple[ImportedCells, int]:
        """Categories and all cells."""
        ids, added = self.ensure(c)
        return self.write(c, ids, range(len(self.cells.states))), added

    def ensure(self, c: Connection) -> tuple[list[int], int]:
        """Ids of the categories, and how many of them are new."""
        found, added = categories.ensure(c, self.project_id, self.cells.names, now=now_ms())
        return [category.id for category in found], added

    def write(self, c: Connection, category_ids: list[int], places: range) -> ImportedCells:
        """A slice of the cells."""
        new = new_cells(self.project_id, self.digest, self.cells, places, category_ids)
        return bulk.import_cells(c, self.project_id, new, user_id=self.user_id, now=now_ms())


def new_cells(
    project_id: int, digest: str, cells: Cells, places: range, category_ids: Sequence[int | None]
) -> list[NewCell]:
    """A slice of a file's cells as the store takes them; those of a category without an id are left out."""
    found: list[NewCell] = []
    for place in places:
        image, category = cells.image_ids[place], category_ids[cells.columns[place]]
        if category is not None:
            state = cells.states[place]
            content = f"{project_id}/{image}/{category}/{state}/{digest}"
            op_id = f"import-{blake2b(content.encode(), digest_size=20).hexdigest()}"
            found.append((op_id, image, category, state))
    return found


def _report(cells: Cells, counts: ImportedCells, added: int, problems: Problems) -> ImportReport:
    notes = [*cells.notes, *problems.notes()]
    if counts.kept:
        as_is = "was kept as it is" if counts.kept == 1 else "were kept as they are"
        notes.append(f"{were(counts.kept, 'cell')} already decided otherwise and {as_is}.")
    if counts.seen:
        stay = "stays" if counts.seen == 1 else "stay"
        notes.append(f"{were(counts.seen, 'cell')} cleared since this file was imported and {stay} cleared.")
    return ImportReport(
        cells=counts.stored,
        cells_known=counts.same + counts.kept,
        categories_added=added,
        refused=tuple(problems.listed),
        notes=tuple(notes),
    )
