"""Picture sets with complete labels, in the layouts they are published in (method.md 1.3). Torch-free.

Letters: N pictures, C categories. Every error is one sentence that names the file, and the line where it has
lines.
"""

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsrb_core.dataset_formats import (
    VG_LISTS,
    Listed,
    coco_names,
    find_pictures,
    read_coco,
    read_vg,
    read_voc,
    voc_folder,
)
from dsrb_core.labels import Labels

__all__ = ["Dataset", "load_dataset"]

Rows = npt.NDArray[np.int64]
_CSV_CELLS = {"1": 1, "0": -1}


@dataclass(frozen=True)
class Dataset:
    """A set to measure on: `labels` (N, C) complete in {-1, +1}; `train` and `test` are row numbers.

    `names` are those of the label file, `paths` the pictures. ValueError when the parts do not fit together.
    """

    name: str
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    categories: tuple[str, ...]
    labels: Labels
    train: Rows
    test: Rows

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.names), len(self.categories)) or len(self.paths) != len(self.names):
            raise ValueError(
                f"The labels {self.labels.shape} of {self.name} do not fit {len(self.names)} pictures "
                f"and {len(self.categories)} categories."
            )
        if not len(self.train) or not len(self.test) or not self.categories:
            raise ValueError(
                f"{self.name} needs at least one picture to train on, one to test on and one category; "
                f"it has {len(self.train)}, {len(self.test)} and {len(self.categories)}."
            )
        if np.intersect1d(self.train, self.test).size:
            raise ValueError(f"{self.name} has a picture in both its train and its test part.")
        if not np.isin(self.labels, (-1, 1)).all():
            raise ValueError(f"The labels of {self.name} must be complete: -1 or +1 everywhere.")

    def about(self) -> dict[str, object]:
        """What a report says of the set, JSON-ready."""
        return {
            "name": self.name,
            "train": len(self.train),
            "test": len(self.test),
            "categories": list(self.categories),
        }


def load_dataset(folder: Path) -> Dataset:
    """Read the set in `folder`, whose layout is recognised by its files.

    `labels.csv` (`file_name`, then a 0/1 column per category; pictures in `images/`; split by SHA-1 of the
    name, first 75 % train), COCO 2014 (`annotations/instances_{train,val}2014.json`), VOC 2007
    (`ImageSets/Main/{trainval,test}.txt`, difficult objects ignored), VG-200 (`{train,test}_list_500.txt` and
    `vg_category_500_labels_index.json`, its first 200 categories). ValueError, one sentence, when there is
    none of them, a file is damaged or a picture is missing.
    """
    readers: Sequence[tuple[bool, Callable[[Path], Dataset]]] = (
        ((folder / "labels.csv").is_file(), _csv),
        ((folder / coco_names("train")).is_file(), _coco),
        (voc_folder(folder) is not None, _voc),
        ((folder / VG_LISTS[0]).is_file(), _vg),
    )
    for found, reader in readers:
        if found:
            return reader(folder)
    raise ValueError(
        f"{folder} holds no labels.csv, no COCO 2014 annotations, no VOC 2007 ImageSets and no VG-200 lists."
    )


def _csv(folder: Path) -> Dataset:
    path = folder / "labels.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, line {reader.line_num + 1}: not a readable CSV ({error}).") from error
    if header[:1] != ["file_name"] or len(set(header)) < len(header) or len(header) < 2:
        raise ValueError(
            f"{path}, line 1: the header must be file_name and then one column per category, none twice."
        )
    seen: dict[str, int] = {}
    for line, row in rows:
        _check_csv_row(path, line, row, header)
        if seen.setdefault(row[0], line) != line:
            raise ValueError(f"{path}, line {line}: {row[0]!r} stands on line {seen[row[0]]} already.")
    ordered = sorted((row for _, row in rows), key=lambda row: _sha1(row[0]))
    labels = np.array([[_CSV_CELLS[cell] for cell in row[1:]] for row in ordered], dtype=np.int8)
    pictures = folder / "images" if (folder / "images").is_dir() else folder
    count = 3 * len(ordered) // 4
    names = tuple(row[0] for row in ordered)
    return Dataset(
        name=folder.resolve().name,
        names=names,
        paths=find_pictures(names, [pictures], listed_in=path, lines=seen),
        categories=tuple(header[1:]),
        labels=labels.reshape(len(ordered), len(header) - 1),
        train=np.arange(count),
        test=np.arange(count, len(ordered)),
    )


def _check_csv_row(path: Path, line: int, row: Sequence[str], header: Sequence[str]) -> None:
    if len(row) != len(header):
        raise ValueError(f"{path}, line {line}: {len(row)} cells where the header has {len(header)}.")
    for category, cell in zip(header[1:], row[1:], strict=True):
        if cell not in _CSV_CELLS:
            raise ValueError(f"{path}, line {line}: {category!r} must be 0 or 1, not {cell!r}.")


def _sha1(name: str) -> str:
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


def _join(name: str, categories: Sequence[str], train: Listed, test: Listed) -> Dataset:
    """One set of two published lists, the train rows first, in the order of the lists."""
    both = set(train.names) & set(test.names)
    if both:
        raise ValueError(f"{name}: {min(both)!r} stands in both the train and the test list.")
    return Dataset(
        name=name,
        names=(*train.names, *test.names),
        paths=(*train.paths, *test.paths),
        categories=tuple(categories),
        labels=np.concatenate([train.labels, test.labels]),
        train=np.arange(len(train.names)),
        test=np.arange(len(train.names), len(train.names) + len(test.names)),
    )


def _coco(folder: Path) -> Dataset:
    (categories, train), (others, test) = (read_coco(folder, part) for part in ("train", "val"))
    if categories != others:
        raise ValueError(f"{folder / coco_names('val')}: the categories differ from those of the train file.")
    return _join("coco2014", categories, train, test)


def _voc(folder: Path) -> Dataset:
    inner = voc_folder(folder)
    assert inner is not None
    (categories, train), (_, test) = (read_voc(inner, part) for part in ("trainval", "test"))
    return _join("voc2007", categories, train, test)


def _vg(folder: Path) -> Dataset:
    categories, (train, test) = read_vg(folder)
    return _join("vg200", categories, train, test)
