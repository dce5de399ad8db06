"""COCO-style export, schema `coco_partial/1`.

Positives are annotations with a full-image box; known negatives and unsure cells are lists on the image; what
is in neither is unknown. No annotation is ever written for anything but a positive: other readers would take
it for one. Written as a stream, in id order, the same bytes for the same snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from annotator.errors import StoreError
from annotator.exporting.output import ExportReport, Output, atomic, part_beside
from annotator.exporting.pages import go_on, labelled_images
from annotator.records import Category, CellState, Image, Label, Project
from annotator.store import Store, categories, projects, snapshots, users
from annotator.store.snapshots import Description

SCHEMA = "coco_partial/1"
# plain ASCII: some readers open files in the encoding of their machine
_ENCODER = json.JSONEncoder(allow_nan=False)


def export_coco(
    store: Store, project_id: int, path: Path, *, now: int, check: Callable[[], None] = go_on
) -> ExportReport:
    """Write every decided cell of the active categories of a project to `path`; the snapshot is kept.

    `check` is called before each page of images; what it raises ends the export and leaves no file.
    """
    with store.frozen() as c:
        project = projects.get(c, project_id)
        described = snapshots.describe(c, project_id)
        active = sorted(categories.list_active(c, project_id), key=lambda category: category.id)
        with atomic(path) as output:
            report = _write(store, c, output, path, project, described, active, check)
    store.write(lambda c: snapshots.keep(c, described, now=now))
    return report


def _write(
    store: Store,
    c: Connection,
    output: Output,
    path: Path,
    project: Project,
    described: Description,
    active: Sequence[Category],
    check: Callable[[], None],
) -> ExportReport:
    positives = dict.fromkeys((category.id for category in active), 0)
    names = users.names(c)
    total = cells = 0
    # in one pass over the labels; what stands behind the images waits beside them
    with part_beside(path) as annotations, part_beside(path) as image_labels:
        output.write('{"info": ' + _json(_info(project, described)) + ",\n")
        output.write('"licenses": [{"id": 0, "name": "", "url": ""}],\n"images": [')
        for image, labels in labelled_images(store, c, project.id, active, check):
            output.write(("," if total else "") + "\n" + _json(_image(image, labels)))
            total += 1
            cells += len(labels)
            for label in labels:
                image_labels.add(_json(_image_label(label, names)))
            for label in _of_state(labels, CellState.POSITIVE):
                positives[label.category_id] += 1
                annotations.add(_json(_annotation(annotations.entries + 1, image, label)))
        output.write('\n],\n"annotations": [')
        output.take(annotations)
        output.write('\n],\n"categories": [')
        output.write(_lines(_category(category, positives[category.id]) for category in active))
        output.write('\n],\n"image_labels": [')
        output.take(image_labels)
        output.write("\n]}\n")
    counts = described.counts
    if cells != counts["positive"] + counts["negative"] + counts["unsure"]:
        raise StoreError(f"The export {path} holds {cells} cells, its snapshot {counts}; export again.")
    return ExportReport(
        path=path, images=total, annotations=annotations.entries, cells=cells, sha256=output.sha256
    )


def _info(project: Project, described: Description) -> dict[str, Any]:
    # the date is that of the last change, so that the same snapshot gives the same bytes
    changed = datetime.fromtimestamp(described.changed_at / 1000, UTC)
    return {
        "description": project.name,
        "version": "1.0",
        "year": changed.year,
        "contributor": "",
        "url": "",
        "date_created": _time(described.changed_at),
        "label_semantics": "partial",
        "schema": SCHEMA,
        "snapshot": f"sha256:{described.digest}",
    }


def _image(image: Image, labels: Sequence[Label]) -> dict[str, Any]:
    def ids(state: CellState) -> list[int]:
        return [label.category_id for label in _of_state(labels, state)]

    return {
        "id": image.id,
        "file_name": image.name,
        "width": image.width,
        "height": image.height,
        "license": 0,
        "neg_category_ids": ids(CellState.NEGATIVE),
        "not_exhaustive_category_ids": ids(CellState.POSITIVE),
        "unsure_category_ids": ids(CellState.UNSURE),
    }


def _annotation(key: int, image: Image, label: Label) -> dict[str, Any]:
    return {
        "id": key,
        "image_id": image.id,
        "category_id": label.category_id,
        "bbox": [0, 0, image.width, image.height],
        "area": image.width * image.height,
        "iscrowd": 0,
        "segmentation": [],
        "attributes": {"scope": "image", "source": label.source.value},
    }


def _category(category: Category, positives: int) -> dict[str, Any]:
    # LVIS: rare up to 10 pictures, common up to 100, frequent above
    frequency = "r" if positives <= 10 else "c" if positives <= 100 else "f"
    return {
        "id": category.id,
        "name": category.name,
        "supercategory": "",
        "frequency": frequency,
        "synset": "",
        "synonyms": [category.name],
        "image_count": positives,
        "instance_count": positives,
    }


def _image_label(label: Label, names: dict[int, str]) -> dict[str, Any]:
    return {
        "image_id": label.image_id,
        "category_id": label.category_id,
        "state": label.state.word,
        "source": label.source.value,
        "annotator": names[label.user_id],
        "decided_at": _time(label.decided_at),
        "run": None if label.generation_id is None else f"g{label.generation_id}",
        "score": label.score,
    }


def _of_state(labels: Iterable[Label], state: CellState) -> list[Label]:
    return [label for label in labels if label.state is state]


@lru_cache(maxsize=256)  # an import gives all its labels one time
def _time(millis: int) -> str:
    moment = datetime.fromtimestamp(millis / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lines(entries: Iterable[dict[str, Any]]) -> str:
    return "".join(("\n" if place == 0 else ",\n") + _json(entry) for place, entry in enumerate(entries))


def _json(entry: dict[str, Any]) -> str:
    return _ENCODER.encode(entry)
