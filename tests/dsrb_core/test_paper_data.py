"""The paper profile's pictures: published sizes, seeded draws, order over processes, readers that repeat."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsrb_core.paper_config import PaperConfig
from dsrb_core.paper_data import (
    Key,
    PictureFeed,
    PictureSet,
    all_batches,
    augment,
    squeeze,
    step_generator,
    stream,
    training_batches,
)

SMALL = PaperConfig(
    backbone="resnet18",
    image_size=64,
    resized=72,
    crops=(72, 64, 48),
    dim=16,
    attention_dim=8,
    epochs=3,
    batch_size=4,
    learning_rate=1e-3,
    blend_from=1,
    prototypes_every=1,
    clusters=2,
    cluster_members=4,
)


def draw(folder: Path, *, count: int = 20, seed: int = 0) -> Path:
    """A set in the csv layout: a red, a green and a blue square, each there or not, anywhere."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        pixels = rng.integers(90, 130, (80, 96, 3), dtype=np.uint8)
        shown = rng.random(3) < 0.5
        for channel in np.flatnonzero(shown):
            top, left = rng.integers(0, 50, 2)
            pixels[top : top + 25, left : left + 25, channel] = 255
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        rows.append([f"{number}.png", *shown.astype(int).tolist()])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "red", "green", "blue"], *rows])
    return folder


def pictures(folder: Path) -> list[Path]:
    return sorted((folder / "images").iterdir())


def pixels_of(feed: PictureFeed, batches: list[list[Key]]) -> torch.Tensor:
    return torch.cat([batch.pixels for batch in feed.read(batches)])


# --- augmentation


def shaded() -> Image.Image:
    """Red grows to the right and green downwards, so that a pixel tells where it was cut from."""
    across, down = np.meshgrid(np.arange(512) // 2, np.arange(512) // 2)
    return Image.fromarray(np.stack([across, down, np.zeros_like(down)], -1).astype(np.uint8))


def test_crops_have_the_published_sides_and_lie_inside() -> None:
    config, seen = PaperConfig(), set()
    for seed in range(60):
        made = augment(shaded(), config, rng=np.random.default_rng(seed))
        assert made.size == (448, 448)
        pixels = np.asarray(made).astype(float)
        across, down = (2 * np.ptp(pixels[..., channel]) for channel in (0, 1))
        assert across == pytest.approx(down, abs=6)
        seen.add(min(config.crops, key=lambda side: abs(side - across)))
    assert seen == {512, 448, 384, 320, 256}


def test_half_the_pictures_are_mirrored() -> None:
    def mirrored(seed: int) -> bool:
        red = np.asarray(augment(shaded(), PaperConfig(), rng=np.random.default_rng(seed)))[0, :, 0]
        return bool(red[0] > red[-1])

    assert 0.3 < np.mean([mirrored(seed) for seed in range(60)]) < 0.7


def test_a_test_picture_is_squeezed_whole() -> None:
    made = squeeze(Image.new("RGB", (300, 100), "red"), PaperConfig())
    assert made.size == (448, 448)
    assert np.asarray(made)[0, 0].tolist() == np.asarray(made)[-1, -1].tolist() == [255, 0, 0]


# --- reading


def test_a_picture_repeats_with_its_epoch_and_differs_in_another(tmp_path: Path) -> None:
    paths = pictures(draw(tmp_path / "set", count=2))

    def read(view: str, epoch: int, seed: int = 0) -> np.ndarray:
        pixels, row, problem = PictureSet(paths, SMALL, seed=seed)[Key(1, view, epoch)]
        assert pixels is not None and row == 1 and not problem
        assert pixels.shape == (3, 64, 64) and pixels.dtype == np.uint8
        return pixels

    assert np.array_equal(read("train", 3), read("train", 3))
    others = [read("train", 4), read("prototypes", 3), read("plain", 3), read("train", 3, seed=1)]
    assert not any(np.array_equal(read("train", 3), other) for other in others)
    assert np.array_equal(read("plain", 0), read("plain", 7))


def test_worker_processes_read_what_one_process_reads_twice_over(tmp_path: Path) -> None:
    made = PictureSet(pictures(draw(tmp_path / "set", count=6)), SMALL, seed=0)
    batches = all_batches(np.arange(6), "train", batch=4, epoch=2)
    expected = pixels_of(PictureFeed(made, workers=0), batches)
    feed = PictureFeed(made, workers=1)
    assert torch.equal(pixels_of(feed, batches), expected)
    assert torch.equal(pixels_of(feed, batches[1:]), expected[4:])
    assert list(feed.read([])) == []


def test_an_unreadable_picture_is_named_in_one_sentence(tmp_path: Path) -> None:
    paths = pictures(draw(tmp_path / "set", count=3))
    paths[1].write_bytes(b"no picture")
    feed = PictureFeed(PictureSet(paths, SMALL, seed=0), workers=0)
    with pytest.raises(RuntimeError, match=r"A picture cannot be read: .*1\.png: the picture cannot be dec"):
        list(feed.read([[Key(0, "plain"), Key(1, "plain")]]))
    with pytest.raises(RuntimeError, match="cannot be read"):
        list(feed.read([[Key(1, "plain")]]))
    paths[1].unlink()
    with pytest.raises(RuntimeError, match="the file cannot be read"):
        list(feed.read([[Key(1, "plain")]]))


# --- order


def rows_of(batches: list[list[Key]]) -> list[int]:
    return [key.row for batch in batches for key in batch]


def test_processes_take_their_part_of_every_step_and_the_rest_is_dropped() -> None:
    rows = np.arange(100, 123)
    alone = training_batches(rows, seed=0, epoch=1, batch=8)
    assert [len(batch) for batch in alone] == [8, 8]
    parts = [training_batches(rows, seed=0, epoch=1, batch=4, rank=rank, world=2) for rank in (0, 1)]
    together = [first + second for first, second in zip(*parts, strict=True)]
    assert together == alone
    assert len(set(rows_of(alone))) == 16
    assert rows_of(alone) != rows_of(training_batches(rows, seed=0, epoch=2, batch=8))
    assert rows_of(alone) != rows_of(training_batches(rows, seed=1, epoch=1, batch=8))


def test_too_few_pictures_for_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match="7 training pictures do not fill one step of 4 on each of 2"):
        training_batches(np.arange(7), seed=0, epoch=0, batch=4, world=2)


@pytest.mark.parametrize("world", [1, 2, 3, 9])
def test_every_row_is_read_once_whatever_the_number_of_processes(world: int) -> None:
    parts = [all_batches(np.arange(7), "plain", batch=2, rank=rank, world=world) for rank in range(world)]
    assert sorted(row for part in parts for row in rows_of(part)) == list(range(7))


def test_streams_differ_by_each_of_their_parts() -> None:
    drawn = [stream(0, 1, 2), stream(0, 2, 1), stream(1, 1, 2), stream(0, 1), stream(2**32 - 1, 1, 2)]
    assert len(set(drawn)) == 5
    first, second = (step_generator(0, epoch=1, rank=rank) for rank in (0, 1))
    assert first.initial_seed() != second.initial_seed()


# --- options


def test_schedule_is_the_published_one() -> None:
    config = PaperConfig()
    rates = [config.learning_rate_in(epoch) for epoch in range(20)]
    assert rates == pytest.approx([1e-5] * 10 + [1e-6] * 10)
    assert [epoch for epoch in range(20) if config.blends_in(epoch)] == list(range(5, 20))
    assert [epoch for epoch in range(20) if config.prototypes_in(epoch)] == [5, 10, 15]
    assert (config.batch_size, config.weight_decay, config.epochs, config.image_size) == (8, 5e-4, 20, 448)
    losses = config.losses()
    weights = (losses.instance_weight, losses.prototype_weight, losses.contrastive_weight, losses.l2)
    assert weights == (1.0, 1.0, 0.05, 0.0) and losses.negative_pairs
    alone = replace(config, method="ssgrl")
    assert not any(alone.blends_in(epoch) or alone.prototypes_in(epoch) for epoch in range(20))
    assert alone.losses().contrastive_weight == 0
    banks = [replace(config, method=name).prototypes_per_category for name in ("ssgrl", "sarb", "dsrb")]
    assert banks == [1, 10, 4]


def test_options_survive_json_and_take_texts() -> None:
    assert PaperConfig.from_dict(SMALL.to_dict()) == SMALL
    changed = SMALL.changed(
        ["epochs=7", "learning_rate=1", "crops=[60, 50]", "detach_targets=true", "weight=fixed"]
    )
    assert (changed.epochs, changed.learning_rate, changed.crops) == (7, 1.0, (60, 50))
    assert changed.detach_targets is True and changed.weight == "fixed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=3", "'epoch=3' is no name=value"),
        ("epochs", "'epochs' is no name=value"),
        ("epochs=3.5", "epochs needs a value like 3, not '3.5'"),
        ("epochs=many", "epochs needs a value like 3, not 'many'"),
        ("crops=[1.5]", r"crops needs a list of whole numbers, not '\[1.5\]'"),
        ("crops=[500]", r"crops must lie between 1 and resized = 72, not \(500,\)"),
        ("method=other", "method must be one of ssgrl, sarb, dsrb, not 'other'"),
        ("image_size=32", "image_size must be at least 64"),
        ("weight_start=2", "weight_start must lie between 0 and 1"),
        ("learning_rate=-1", "learning_rate must lie"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused_by_name_and_value(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SMALL.changed([text])
