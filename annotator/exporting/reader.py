"""The reference reader: every cell of a `coco_partial` file, and unknown where it has none."""

from __future__ import annotations

from typing import Any

from annotator.records import CellState


def cell_states(coco: dict[str, Any]) -> dict[tuple[int, int], CellState]:
    """(image id, category id) to state of every decided cell; a missing key is unknown.

    ValueError when a cell has two states.
    """
    states: dict[tuple[int, int], CellState] = {}

    def put(key: tuple[int, int], value: CellState) -> None:
        if states.setdefault(key, value) is not value:
            raise ValueError(f"image {key[0]}, category {key[1]}: two states")

    for annotation in coco["annotations"]:
        put((annotation["image_id"], annotation["category_id"]), CellState.POSITIVE)
    for image in coco["images"]:
        for category in image.get("neg_category_ids", ()):
            put((image["id"], category), CellState.NEGATIVE)
        for category in image.get("unsure_category_ids", ()):
            put((image["id"], category), CellState.UNSURE)
    return states
