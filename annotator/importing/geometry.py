"""Boxes and outlines of COCO annotations: not used, but a row that has nonsense in them is not believed."""

from __future__ import annotations

import math
from typing import Any

from annotator.importing.cells import BadRow, shown

MAX_AREA = 2**31
_NUMBERS = frozenset({int, float})
_FIRST, _LAST = 48, 111  # the characters of packed run lengths
Size = tuple[float, float]


def check(entry: dict[str, Any], where: str, size: Size | None) -> None:
    """BadRow for a box, outline or crowd mark that cannot be; `size` is the picture's, if the file says."""
    if "bbox" in entry:
        _box(entry["bbox"], f"{where}.bbox", size)
    if entry.get("segmentation"):
        _outline(entry["segmentation"], f"{where}.segmentation")
    crowd = entry.get("iscrowd", 0)
    if type(crowd) is not int or crowd not in (0, 1):
        raise BadRow(f"{where}.iscrowd is {shown(crowd)}, not 0 or 1")


def _box(box: object, where: str, size: Size | None) -> None:
    if box == []:
        return
    if not isinstance(box, list) or len(box) != 4 or not _finite(box):
        raise BadRow(f"{where} is {shown(box)}, not four numbers")
    left, top, width, height = box
    if width < 0 or height < 0:
        raise BadRow(f"{where} is {shown(box)}; width and height must not be negative")
    if size and (left > size[0] or top > size[1] or left + width < 0 or top + height < 0):
        raise BadRow(f"{where} is {shown(box)}, which lies outside of the picture")


def _outline(outline: object, where: str) -> None:
    if isinstance(outline, dict):
        _runs(outline, where)
        return
    if not isinstance(outline, list):
        raise BadRow(f"{where} is {shown(outline)}, not polygons or run lengths")
    for place, polygon in enumerate(outline):
        if not isinstance(polygon, list) or not _finite(polygon):
            raise BadRow(f"{where}[{place}] is {shown(polygon)}, not a list of numbers")
        if len(polygon) < 6 or len(polygon) % 2:
            raise BadRow(
                f"{where}[{place}] has {len(polygon)} numbers; a polygon has an even number, at least 6"
            )


def _runs(outline: dict[str, Any], where: str) -> None:
    size = outline.get("size")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(side) is int and side > 0 for side in size)
    ):
        raise BadRow(f"{where}.size is {shown(size)}, not height and width")
    area = size[0] * size[1]
    if area > MAX_AREA:
        raise BadRow(f"{where}.size is {shown(size)}, which is larger than any picture here")
    counts = outline.get("counts")
    runs = _unpacked(counts, where) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and 0 <= run <= MAX_AREA for run in runs):
        raise BadRow(f"{where}.counts is {shown(counts)}, not run lengths")
    if sum(runs) != area:
        raise BadRow(f"{where}.counts has {sum(runs)} pixels in all, its size has {area}")


def _unpacked(text: str, where: str) -> list[int]:
    """Run lengths of COCO's packed text: five bits a character, the sixth goes on, later ones differences."""
    runs: list[int] = []
    value = shift = 0
    for sign in text:
        bits = ord(sign) - _FIRST
        if not 0 <= bits <= _LAST - _FIRST or shift > 30:
            raise BadRow(f"{where}.counts has {shown(sign)}, which is no part of packed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise BadRow(f"{where}.counts ends in the middle of a run length")
    return runs


def _finite(values: list[Any]) -> bool:
    """Whether all are numbers, none of them NaN or without end."""
    if not _NUMBERS.issuperset(map(type, values)):
        return False
    try:
        return math.isfinite(math.fsum(values))
    except OverflowError:  # a whole number beyond all floats
        return False
