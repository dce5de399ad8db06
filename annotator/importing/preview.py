"""What importing a label file would do: read as an import reads it, compared with the store, not stored."""

from __future__ import annotations

from pathlib import Path

from annotator.importing.cells import Cells, Problems
from annotator.importing.coco_json import Absent
from annotator.importing.labels import CHUNK, new_cells, read_labels
from annotator.importing.texts import encoding
from annotator.previews import CATEGORY, NEW, PICTURE, Dialect, LabelPreview, SeenColumn
from annotator.records import CellState
from annotator.store import Store, bulk, categories
from annotator.store.bulk import ImportedCells

_DECIDED = (CellState.POSITIVE, CellState.NEGATIVE, CellState.UNSURE)


def preview_labels(store: Store, project_id: int, path: Path, *, absent: Absent = "unknown") -> LabelPreview:
    """How a CSV or COCO file is read and what its good rows would change; the first bad rows are listed.

    BadFile, as `import_labels` would raise it, for a file that cannot be read as a whole.
    """
    problems = Problems(file=path.name, lenient=True)
    digest, cells = read_labels(store, project_id, path, problems, absent=absent)
    with store.read() as c:
        active = {categories.name_key(one.name): one.id for one in categories.list_active(c, project_id)}
    category_ids = [active.get(categories.name_key(name)) for name in cells.names]
    counts = _compared(store, project_id, digest, cells, category_ids)
    sight, known_rows = cells.sight, len(set(cells.image_ids))
    return LabelPreview(
        file=path.name,
        dialect=Dialect(
            form=sight.form, encoding=encoding(path), separator=sight.separator, quoted=sight.quoted
        ),
        columns=_columns(cells, category_ids),
        first=tuple(sight.first),
        known_rows=known_rows,
        unknown_rows=sight.pictures - known_rows,
        bad_rows=problems.count,
        cells=_by_state(cells),
        new=counts.stored,
        same=counts.same,
        kept=counts.kept,
        cleared=counts.seen,
        bad=tuple(problems.listed),
        notes=() if sight.separator else tuple(cells.notes),  # of a table they tell the dialect
    )


def _compared(
    store: Store, project_id: int, digest: str, cells: Cells, category_ids: list[int | None]
) -> ImportedCells:
    """What the store would do with the cells; those of categories that are not there yet are all new."""
    counts, total = ImportedCells(), len(cells.states)
    for start in range(0, total, CHUNK):
        places = range(start, min(start + CHUNK, total))
        old = new_cells(project_id, digest, cells, places, category_ids)
        counts += ImportedCells(stored=len(places) - len(old))
        with store.read() as c:  # each by itself: a long read would keep the log from being copied back
            counts += bulk.compare_cells(c, old)
    return counts


def _by_state(cells: Cells) -> dict[CellState, int]:
    found = {state: cells.states.count(state) for state in _DECIDED}
    return {**found, CellState.UNKNOWN: cells.sight.pictures * len(cells.names) - len(cells.states)}


def _columns(cells: Cells, category_ids: list[int | None]) -> tuple[SeenColumn, ...]:
    found = [
        SeenColumn(name=name, meaning=NEW if known is None else CATEGORY)
        for name, known in zip(cells.names, category_ids, strict=True)
    ]
    if cells.sight.key is not None:
        found.insert(cells.sight.key, SeenColumn(name="file_name", meaning=PICTURE))
    return tuple(found)
