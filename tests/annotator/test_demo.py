"""The demo set: the same scenes for the same seed, labels that match the drawing, restartable."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from annotator import demo
from annotator.demo import CATEGORIES, SIZE, render_demo
from annotator.demo_objects import SKETCHES, Pen
from annotator.errors import BadInput


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_demo(tmp_path_factory.mktemp("demo") / "set", count=30)


def test_a_set_has_pictures_and_a_complete_label_table(made: Path) -> None:
    rows = table(made)
    assert [row["file_name"] for row in rows] == sorted(path.name for path in (made / "images").iterdir())
    assert len(rows) == 30 and len(CATEGORIES) == 12
    assert list(rows[0]) == ["file_name", *CATEGORIES]
    for row in rows:
        assert {row[name] for name in CATEGORIES} <= {"0", "1"}
        assert 2 <= sum(int(row[name]) for name in CATEGORIES) <= 5
        with Image.open(made / "images" / row["file_name"]) as picture:
            picture.load()
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", SIZE)


def test_every_category_is_present_and_absent_often_enough_to_learn() -> None:
    shown = [demo._choose(random.Random(f"0/{n}")) for n in range(160)]
    counts = {name: sum(name in scene for scene in shown) for name in CATEGORIES}
    assert min(counts.values()) >= 25 and max(counts.values()) <= 70


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_set(tmp_path: Path, made: Path) -> None:
    assert contents(render_demo(tmp_path / "a", count=30)) == contents(made)
    other = render_demo(tmp_path / "b", count=4, seed=1)
    assert contents(other)["images/scene_0001.jpg"] != contents(made)["images/scene_0001.jpg"]


def test_no_two_scenes_are_alike(made: Path) -> None:
    pictures = [data for name, data in contents(made).items() if name.endswith(".jpg")]
    assert len(set(pictures)) == 30


def test_a_stopped_run_goes_on_and_ends_with_the_same_set(tmp_path: Path, made: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total == 30
        if done == 11:
            raise Stop

    with pytest.raises(Stop):
        render_demo(tmp_path / "set", count=30, on_progress=stop)
    assert not (tmp_path / "set" / "labels.csv").exists()
    first = tmp_path / "set" / "images" / "scene_0001.jpg"
    stamp = first.stat().st_mtime_ns
    assert contents(render_demo(tmp_path / "set", count=30)) == contents(made)
    assert first.stat().st_mtime_ns == stamp


def test_progress_ends_at_the_count(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    render_demo(tmp_path, count=3, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 100_001}, {"seed": -1}])
def test_a_count_or_seed_out_of_range_is_refused_before_anything_is_made(
    tmp_path: Path, wrong: dict[str, int]
) -> None:
    with pytest.raises(BadInput, match="1 to 100000"):
        render_demo(tmp_path / "set", **wrong)
    assert not (tmp_path / "set").exists()


def test_another_persons_pictures_are_never_mixed_with_the_demo(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(BadInput, match="empty folder"):
        render_demo(tmp_path, count=2)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["mine.jpg"]


def test_a_folder_of_another_seed_is_refused(tmp_path: Path) -> None:
    render_demo(tmp_path, count=1, seed=3)
    with pytest.raises(BadInput, match="another seed"):
        render_demo(tmp_path, count=1, seed=4)


@pytest.mark.parametrize("name", CATEGORIES)
@pytest.mark.parametrize("seed", range(4))
def test_an_object_fills_its_box_and_stays_in_it(name: str, seed: int) -> None:
    background = (255, 0, 255)
    canvas = Image.new("RGB", (400, 400), background)
    tall, wide = 160, 160 * SKETCHES[name].aspect
    pen = Pen(ImageDraw.Draw(canvas), 40, 120, wide, tall, mirrored=seed % 2 == 0)
    SKETCHES[name].draw(pen, random.Random(seed))
    drawn = (np.asarray(canvas) != background).any(axis=2)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    slack = 0.07 * 160
    assert rows[0] >= 120 - slack and rows[-1] <= 120 + tall + slack
    assert columns[0] >= 40 - slack and columns[-1] <= 40 + wide + slack
    assert rows[-1] - rows[0] > 0.75 * tall and columns[-1] - columns[0] > 0.6 * wide
    assert len(np.unique(np.asarray(canvas).reshape(-1, 3), axis=0)) >= 3


def test_no_object_is_hidden_by_more_than_a_part_of_it() -> None:
    worst = []
    for number in range(200):
        scene = random.Random(number)
        placed: list[demo.Box] = []
        for name in sorted(demo._choose(scene), key=lambda c: -SKETCHES[c].height[1]):
            placed.append(demo._place(name, placed, ground=(0.55, 0.81), crowd=5, scene=scene))
        pairs = [(a, b) for n, a in enumerate(placed) for b in placed[:n]]
        worst.append(max(demo._overlap(a, b) for a, b in pairs))
        assert all(a[0] >= 0 and a[2] <= 1 and a[1] >= 0 and a[3] <= 1 for a in placed)
    assert max(worst) < 0.6 and float(np.mean(worst)) < 0.1
