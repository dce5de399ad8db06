"""Strict readers of the published layouts: COCO 2014, VOC 2007, VG-200. Torch-free."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from dsrb_core.labels import Labels

VG_LISTS = ("train_list_500.txt", "test_list_500.txt")
VG_INDEX = "vg_category_500_labels_index.json"
VG_CATEGORIES = 200
_VG_LISTED = 500
VOC_CATEGORIES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """One published list: names and paths of N pictures and their labels (N, C) in {-1, +1}."""

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: Labels


def find_pictures(
    names: Sequence[str],
    folders: Sequence[Path],
    *,
    listed_in: Path,
    lines: Mapping[str, int] | None = None,
) -> tuple[Path, ...]:
    """The picture of every name, in the first folder that has it; ValueError names the first missing one."""
    paths = []
    for name in names:
        if Path(name).name != name or not name:
            raise ValueError(f"{_at(listed_in, lines, name)}: {name!r} is no plain file name.")
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            raise ValueError(
                f"{_at(listed_in, lines, name)}: the picture {name!r} is not in "
                f"{' or '.join(folder.name + '/' for folder in folders)}."
            )
        paths.append(path)
    return tuple(paths)


def _at(path: Path, lines: Mapping[str, int] | None, name: str) -> str:
    return str(path) if lines is None else f"{path}, line {lines[name]}"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}).") from error


def coco_names(part: str) -> str:
    """Where COCO 2014 keeps the annotations of `part` (train or val)."""
    return f"annotations/instances_{part}2014.json"


def read_coco(folder: Path, part: str) -> tuple[tuple[str, ...], Listed]:
    """Category names by id, and every picture of the file in its order, also those without an object."""
    path = folder / coco_names(part)
    data = _json(path)
    try:
        categories = sorted((int(entry["id"]), str(entry["name"])) for entry in data["categories"])
        pictures = [(entry["id"], str(entry["file_name"])) for entry in data["images"]]
        objects = [(entry["image_id"], entry["category_id"]) for entry in data["annotations"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: images, annotations and categories must be lists with the published fields ({error!r})."
        ) from error
    row = {key: at for at, (key, _) in enumerate(pictures)}
    column = {key: at for at, (key, _) in enumerate(categories)}
    if len(row) < len(pictures) or len(column) < len(categories):
        raise ValueError(f"{path}: an id is given to two pictures or two categories.")
    labels = np.full((len(pictures), len(categories)), -1, dtype=np.int8)
    for number, (picture, category) in enumerate(objects, start=1):
        if picture not in row or category not in column:
            raise ValueError(
                f"{path}: annotation {number} names picture {picture!r} and category {category!r}, "
                "which are not both there."
            )
        labels[row[picture], column[category]] = 1
    names = tuple(name for _, name in pictures)
    places = [folder / f"{part}2014", folder / "images" / f"{part}2014"]
    paths = find_pictures(names, places, listed_in=path)
    return tuple(name for _, name in categories), Listed(names, paths, labels)


def voc_folder(folder: Path) -> Path | None:
    """The folder with `ImageSets/Main/trainval.txt`: this one, or the usual ones inside; else None."""
    inside = (folder, folder / "VOC2007", folder / "VOCdevkit" / "VOC2007")
    return next((one for one in inside if (one / "ImageSets" / "Main" / "trainval.txt").is_file()), None)


def _lines(path: Path) -> dict[str, int]:
    """First word of each line that is not empty, with its line number."""
    if not path.is_file():
        raise ValueError(f"{path} is missing.")
    found: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if words and found.setdefault(words[0], number) != number:
            raise ValueError(f"{path}, line {number}: {words[0]!r} stands on line {found[words[0]]} already.")
    return found


def read_voc(folder: Path, part: str) -> tuple[tuple[str, ...], Listed]:
    """The 20 categories and the pictures of `part` (trainval or test).

    Difficult objects are ignored, so a category with difficult objects alone counts as absent.
    """
    path = folder / "ImageSets" / "Main" / f"{part}.txt"
    lines = _lines(path)
    labels = np.full((len(lines), len(VOC_CATEGORIES)), -1, dtype=np.int8)
    for row, (key, line) in enumerate(lines.items()):
        for name, difficult in _voc_objects(folder / "Annotations" / f"{key}.xml", f"{path}, line {line}"):
            if not difficult:
                labels[row, VOC_CATEGORIES.index(name)] = 1
    names = tuple(f"{key}.jpg" for key in lines)
    at = {f"{key}.jpg": line for key, line in lines.items()}
    paths = find_pictures(names, [folder / "JPEGImages"], listed_in=path, lines=at)
    return VOC_CATEGORIES, Listed(names, paths, labels)


def _voc_objects(path: Path, asked_by: str) -> list[tuple[str, bool]]:
    """(category, difficult) of every object in an annotation file."""
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except FileNotFoundError as error:
        raise ValueError(f"{asked_by}: the annotation file {path.name} is missing.") from error
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}, line {error.position[0]}: not valid XML.") from error
    objects = []
    for number, entry in enumerate(root.iter("object"), start=1):
        name = (entry.findtext("name") or "").strip()
        difficult = (entry.findtext("difficult") or "0").strip()
        if name not in VOC_CATEGORIES or difficult not in ("0", "1"):
            raise ValueError(
                f"{path}: object {number} has the name {name!r} and difficult {difficult!r}, "
                "which VOC 2007 does not know."
            )
        objects.append((name, difficult == "1"))
    return objects


def read_vg(folder: Path) -> tuple[tuple[str, ...], tuple[Listed, Listed]]:
    """The first 200 of the 500 categories, and the train and test lists as published.

    The lists name categories by number only, and so do we.
    """
    index = _json(folder / VG_INDEX)
    if not isinstance(index, dict):
        raise ValueError(f"{folder / VG_INDEX}: must be one object from picture names to category numbers.")
    places = [folder / "VG_100K", folder / "VG_100K_2", folder / "images", folder]
    train, test = (_vg_list(folder, name, index, places) for name in VG_LISTS)
    return tuple(f"vg {number:03d}" for number in range(VG_CATEGORIES)), (train, test)


def _vg_list(folder: Path, name: str, index: dict[str, Any], places: Sequence[Path]) -> Listed:
    path = folder / name
    lines = _lines(path)
    labels = np.full((len(lines), VG_CATEGORIES), -1, dtype=np.int8)
    for row, (picture, line) in enumerate(lines.items()):
        numbers = index.get(picture)
        if not isinstance(numbers, list) or not all(_vg_number(number) for number in numbers):
            raise ValueError(
                f"{path}, line {line}: {VG_INDEX} gives {picture!r} no list of numbers below {_VG_LISTED}."
            )
        labels[row, [number for number in numbers if number < VG_CATEGORIES]] = 1
    paths = find_pictures(tuple(lines), places, listed_in=path, lines=lines)
    return Listed(tuple(lines), paths, labels)


def _vg_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _VG_LISTED
