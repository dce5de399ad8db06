"""Every published layout, written as small as can be, and what is said about a damaged one."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dsrb_core.dataset_formats import VG_INDEX, VOC_CATEGORIES
from dsrb_core.datasets import Dataset, load_dataset


def touch(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def csv_set(folder: Path, rows: int = 8) -> Path:
    lines = ["file_name,cat,dog"]
    for number in range(rows):
        touch(folder / "images" / f"{number}.jpg")
        lines.append(f"{number}.jpg,{number % 2},{int(number > 5)}")
    touch(folder / "labels.csv", "\n".join(lines) + "\n")
    return folder


def coco_set(folder: Path) -> Path:
    categories = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]
    for part, first in (("train", 10), ("val", 20)):
        images = [{"id": first + n, "file_name": f"{part}_{n}.jpg"} for n in range(3)]
        for image in images:
            touch(folder / f"{part}2014" / str(image["file_name"]))
        objects = [
            {"image_id": first, "category_id": 18, "iscrowd": 0},
            {"image_id": first, "category_id": 18, "iscrowd": 0},
            {"image_id": first + 2, "category_id": 1, "iscrowd": 1},
        ]
        data = {"images": images, "annotations": objects, "categories": categories}
        touch(folder / "annotations" / f"instances_{part}2014.json", json.dumps(data))
    return folder


def voc_object(name: str, difficult: int) -> str:
    return f"<object><name>{name}</name><difficult>{difficult}</difficult></object>"


def voc_set(folder: Path, inside: str = "") -> Path:
    root = folder / inside
    touch(root / "ImageSets" / "Main" / "trainval.txt", "000001\n000003\n")
    touch(root / "ImageSets" / "Main" / "test.txt", "000002\n")
    objects = {
        "000001": voc_object("dog", 0) + voc_object("person", 1),
        "000002": voc_object("cat", 0),
        "000003": voc_object("dog", 1) + voc_object("dog", 0),
    }
    for key, inner in objects.items():
        touch(root / "JPEGImages" / f"{key}.jpg")
        touch(root / "Annotations" / f"{key}.xml", f"<annotation>\n{inner}\n</annotation>")
    return folder


def vg_set(folder: Path) -> Path:
    touch(folder / "train_list_500.txt", "1.jpg\n2.jpg\n")
    touch(folder / "test_list_500.txt", "3.jpg\n")
    touch(folder / "VG_100K" / "1.jpg")
    touch(folder / "VG_100K_2" / "2.jpg")
    touch(folder / "VG_100K" / "3.jpg")
    touch(folder / VG_INDEX, json.dumps({"1.jpg": [0, 199, 200, 499], "2.jpg": [], "3.jpg": [5]}))
    return folder


def positives(data: Dataset, row: int) -> list[str]:
    return [data.categories[column] for column in np.flatnonzero(data.labels[row] > 0)]


def test_csv_is_split_by_the_sha1_of_the_name(tmp_path: Path) -> None:
    data = load_dataset(csv_set(tmp_path / "pets"))
    names = sorted((f"{n}.jpg" for n in range(8)), key=lambda n: hashlib.sha1(n.encode()).hexdigest())
    assert data.name == "pets"
    assert list(data.names) == names
    assert data.categories == ("cat", "dog")
    assert (data.train.tolist(), data.test.tolist()) == ([0, 1, 2, 3, 4, 5], [6, 7])
    for name, path, row in zip(data.names, data.paths, data.labels.tolist(), strict=True):
        number = int(name.removesuffix(".jpg"))
        assert row == [1 if number % 2 else -1, 1 if number > 5 else -1]
        assert path == tmp_path / "pets" / "images" / name
    assert data.labels.dtype == np.int8


def test_order_of_the_csv_lines_does_not_matter(tmp_path: Path) -> None:
    first = load_dataset(csv_set(tmp_path / "a"))
    path = csv_set(tmp_path / "b") / "labels.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\ufeff" + "\r\n".join([header, *reversed(lines), ""]), encoding="utf-8")
    second = load_dataset(tmp_path / "b")
    assert first.names == second.names
    assert np.array_equal(first.labels, second.labels)


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (1, "name,cat,dog", "line 1: the header"),
        (1, "file_name,cat,cat", "line 1: the header"),
        (3, "1.jpg,1", "line 3: 2 cells where the header has 3"),
        (3, "1.jpg,1,", "line 3: 'dog' must be 0 or 1, not ''"),
        (4, "2.jpg,yes,0", "line 4: 'cat' must be 0 or 1, not 'yes'"),
        (4, "0.jpg,1,0", "line 4: '0.jpg' stands on line 2 already"),
        (5, "gone.jpg,1,0", "line 5: the picture 'gone.jpg' is not in images/"),
        (5, "../labels.csv,1,0", "line 5: '../labels.csv' is no plain file name"),
        (5, '"3.jpg,1,0', "not a readable CSV"),
    ],
)
def test_a_wrong_csv_line_is_named(tmp_path: Path, line: int, text: str, said: str) -> None:
    path = csv_set(tmp_path) / "labels.csv"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"labels\.csv") as error:
        load_dataset(tmp_path)
    assert said in str(error.value)
    assert str(error.value).count("\n") == 0


def test_a_csv_with_one_picture_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one picture to train on"):
        load_dataset(csv_set(tmp_path, rows=1))


def test_coco_keeps_every_image_id_and_orders_categories_by_id(tmp_path: Path) -> None:
    data = load_dataset(coco_set(tmp_path))
    assert data.categories == ("person", "dog")
    assert data.names == ("train_0.jpg", "train_1.jpg", "train_2.jpg", "val_0.jpg", "val_1.jpg", "val_2.jpg")
    assert (data.train.tolist(), data.test.tolist()) == ([0, 1, 2], [3, 4, 5])
    assert [positives(data, row) for row in range(3)] == [["dog"], [], ["person"]]
    assert data.paths[4] == tmp_path / "val2014" / "val_1.jpg"


def changed(path: Path, change: Callable[[dict[str, list[dict[str, object]]]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["annotations"][1].update(category_id=3), "annotation 2 names picture 20"),
        (lambda d: d["annotations"][2].update(image_id=5), "annotation 3 names picture 5"),
        (lambda d: d["images"][1].pop("file_name"), "published fields"),
        (lambda d: d["images"][1].update(id=20), "given to two pictures"),
        (lambda d: d["images"][1].update(file_name="gone.jpg"), "'gone.jpg' is not in val2014/"),
        (lambda d: d["categories"][0].update(name="cat"), "categories differ"),
    ],
)
def test_a_wrong_coco_file_is_named(
    tmp_path: Path, change: Callable[[dict[str, list[dict[str, object]]]], object], said: str
) -> None:
    changed(coco_set(tmp_path) / "annotations" / "instances_val2014.json", change)
    with pytest.raises(ValueError, match=r"instances_val2014\.json") as error:
        load_dataset(tmp_path)
    assert said in str(error.value)


def test_a_missing_and_a_torn_coco_file_are_named(tmp_path: Path) -> None:
    path = coco_set(tmp_path) / "annotations" / "instances_val2014.json"
    path.write_text('{\n"images": [\n')
    with pytest.raises(ValueError, match=r"instances_val2014\.json, line 3: not valid JSON"):
        load_dataset(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"instances_val2014\.json is missing"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("inside", ["", "VOC2007", "VOCdevkit/VOC2007"])
def test_voc_ignores_difficult_objects(tmp_path: Path, inside: str) -> None:
    data = load_dataset(voc_set(tmp_path, inside))
    assert data.categories == VOC_CATEGORIES
    assert len(VOC_CATEGORIES) == 20
    assert data.names == ("000001.jpg", "000003.jpg", "000002.jpg")
    assert [positives(data, row) for row in range(3)] == [["dog"], ["dog"], ["cat"]]
    assert (data.train.tolist(), data.test.tolist()) == ([0, 1], [2])


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("Annotations/000003.xml", "<annotation>\n<object>\n", r"000003\.xml, line 3: not valid XML"),
        ("Annotations/000003.xml", f"<a>{voc_object('lamp', 0)}</a>", r"000003\.xml: object 1 .*'lamp'"),
        ("Annotations/000003.xml", f"<a>{voc_object('dog', 2)}</a>", "difficult '2'"),
        (
            "ImageSets/Main/trainval.txt",
            "000001\n\n000009\n",
            r"trainval\.txt, line 3: .* 000009\.xml is mis",
        ),
        ("ImageSets/Main/trainval.txt", "000001\n000001\n", r"trainval\.txt, line 2: '000001' stands on lin"),
        ("ImageSets/Main/trainval.txt", "000001\n000002\n", r"'000002\.jpg' stands in both"),
    ],
)
def test_a_wrong_voc_file_is_named(tmp_path: Path, path: str, text: str, said: str) -> None:
    touch(voc_set(tmp_path) / path, text)
    with pytest.raises(ValueError, match=said):
        load_dataset(tmp_path)


def test_a_missing_voc_picture_and_list_are_named(tmp_path: Path) -> None:
    (voc_set(tmp_path) / "JPEGImages" / "000002.jpg").unlink()
    with pytest.raises(
        ValueError, match=r"test\.txt, line 1: the picture '000002\.jpg' is not in JPEGImages"
    ):
        load_dataset(tmp_path)
    (tmp_path / "ImageSets" / "Main" / "test.txt").unlink()
    with pytest.raises(ValueError, match=r"test\.txt is missing"):
        load_dataset(tmp_path)


def test_vg_keeps_the_first_200_of_the_500_categories(tmp_path: Path) -> None:
    data = load_dataset(vg_set(tmp_path))
    assert len(data.categories) == 200
    assert [np.flatnonzero(row > 0).tolist() for row in data.labels] == [[0, 199], [], [5]]
    assert data.paths[1] == tmp_path / "VG_100K_2" / "2.jpg"
    assert (data.train.tolist(), data.test.tolist()) == ([0, 1], [2])


@pytest.mark.parametrize("numbers", [None, [500], [-1], ["1"], [True], 4])
def test_a_wrong_vg_entry_is_named(tmp_path: Path, numbers: object) -> None:
    path = vg_set(tmp_path) / VG_INDEX
    path.write_text(
        json.dumps({"1.jpg": [0], "3.jpg": [1]} | ({} if numbers is None else {"2.jpg": numbers}))
    )
    with pytest.raises(
        ValueError, match=r"train_list_500\.txt, line 2: .*'2\.jpg' no list of numbers below 500"
    ):
        load_dataset(tmp_path)


def test_a_folder_without_a_known_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no labels\.csv"):
        load_dataset(tmp_path)


def test_a_record_refuses_unknown_cells_and_shared_rows(tmp_path: Path) -> None:
    data = load_dataset(csv_set(tmp_path))
    parts = {name: getattr(data, name) for name in ("name", "names", "paths", "categories", "train", "test")}
    with pytest.raises(ValueError, match="complete"):
        Dataset(**parts, labels=np.zeros_like(data.labels))
    with pytest.raises(ValueError, match="both"):
        Dataset(**(parts | {"test": np.array([0])}), labels=data.labels)
    with pytest.raises(ValueError, match="do not fit"):
        Dataset(**parts, labels=data.labels[:3])
