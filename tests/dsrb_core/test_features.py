"""Extraction: every readable picture once, every unreadable one named, stop and go on, threads put back."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsrb_core.backbones import Backbone, load_backbone
from dsrb_core.cache import FeatureCache
from dsrb_core.decoding import decode
from dsrb_core.features import ExtractReport, extract

Item = tuple[str, Path]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("tiny", device="cpu", threads=1)


@pytest.fixture
def cache(tmp_path: Path, backbone: Backbone) -> Iterator[FeatureCache]:
    folder = tmp_path / "cache"
    with FeatureCache.open(folder, grid=backbone.grid, dim=backbone.dim, writable=True) as opened:
        yield opened


@pytest.fixture
def items(tmp_path: Path, make_picture: Callable[..., Path]) -> list[Item]:
    """Seventy pictures: more than one append, batches and write batches that do not come out even."""
    suffixes = [".jpg", ".png", ".webp", ".bmp", ".gif", ".tiff"]
    paths = [make_picture(tmp_path / f"{n}{suffixes[n % 6]}", seed=n, size=(50 + n, 40)) for n in range(70)]
    return [(hashlib.sha256(path.read_bytes()).hexdigest(), path) for path in paths]


def test_every_picture_is_cached_with_the_features_of_its_pixels(
    items: list[Item], backbone: Backbone, cache: FeatureCache
) -> None:
    report = extract(items, backbone, cache, batch_size=16)
    assert (report.done, report.skipped, report.refused, report.stopped) == (70, 0, [], False)
    assert report.seconds > 0
    view = cache.view([key for key, _ in items])
    for n in (0, 17, 69):
        alone = backbone.extract(decode(items[n][1], size=64)[None])[0]
        np.testing.assert_allclose(view.read(np.array([n]))[0], alone, rtol=2e-3, atol=1e-3)


def test_a_second_run_extracts_nothing_and_a_later_one_only_what_is_new(
    items: list[Item], backbone: Backbone, cache: FeatureCache
) -> None:
    assert extract(items[:30], backbone, cache).done == 30
    again = extract(items[:30], backbone, cache)
    assert (again.done, again.skipped) == (0, 30)
    grown = extract([*items[:40], items[35]], backbone, cache)
    assert (grown.done, grown.skipped, len(cache)) == (10, 31, 40)


def test_pictures_that_cannot_be_decoded_are_refused_by_name_and_the_rest_goes_on(
    items: list[Item], backbone: Backbone, cache: FeatureCache, tmp_path: Path
) -> None:
    whole = items[0][1].read_bytes()
    bad = {
        "text.jpg": b"this is no picture",
        "empty.png": b"",
        "torn.jpg": whole[: len(whole) // 2],
        "broken.png": items[1][1].read_bytes()[:60],
    }
    broken = []
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        broken.append((hashlib.sha256(name.encode()).hexdigest(), tmp_path / name))
    broken.append((hashlib.sha256(b"gone").hexdigest(), tmp_path / "gone.jpg"))
    report = extract([*items[:3], *broken, *items[3:20]], backbone, cache, batch_size=4)
    assert report.done == 20 and len(cache) == 20
    assert [key for key, _ in report.refused] == [key for key, _ in broken]
    reasons = [reason for _, reason in report.refused]
    assert "not a JPEG" in reasons[0] and "not a JPEG" in reasons[1]
    assert "truncated" in reasons[2].lower()
    assert "cannot be decoded" in reasons[3] and "cannot be read" in reasons[4]


def test_progress_counts_every_picture_and_ends_at_the_total(
    items: list[Item], backbone: Backbone, cache: FeatureCache
) -> None:
    extract(items[:5], backbone, cache)
    seen: list[tuple[int, int]] = []
    extract(items, backbone, cache, batch_size=10, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (5, 70) and seen[-1] == (70, 70)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) == 8


def test_a_stop_keeps_what_was_done_and_the_next_run_does_the_rest(
    items: list[Item], backbone: Backbone, cache: FeatureCache
) -> None:
    asked = iter([False, False, True])
    report = extract(items, backbone, cache, batch_size=8, should_stop=lambda: next(asked))
    assert report.stopped and report.done == len(cache) == 16
    rest = extract(items, backbone, cache, batch_size=8)
    assert (rest.done, rest.skipped, len(cache)) == (54, 16, 70)


class Poisoned:
    """A backbone whose third picture comes out not finite, as half precision on a GPU can."""

    size = 64

    def __init__(self, real: Backbone) -> None:
        self._real = real

    def bare(self, batch: np.ndarray) -> np.ndarray:
        maps = self._real.bare(batch)
        maps[2, 0, 0] = np.nan
        return maps


def test_a_feature_that_is_not_finite_never_reaches_the_cache(
    items: list[Item], backbone: Backbone, cache: FeatureCache
) -> None:
    report = extract(items[:8], Poisoned(backbone), cache)
    assert report.done == 7 and report.refused == [
        (items[2][0], "the backbone gave a feature that is not finite")
    ]
    assert items[2][0] not in cache


def test_an_error_of_the_cache_ends_the_run_and_is_not_swallowed(
    items: list[Item], backbone: Backbone, cache: FeatureCache
) -> None:
    cache.close()
    with pytest.raises(RuntimeError, match="reading only"):
        extract(items[:3], backbone, cache)


def test_nothing_to_do_is_no_error(backbone: Backbone, cache: FeatureCache) -> None:
    report = extract([], backbone, cache)
    assert report == ExtractReport(done=0, skipped=0, refused=[], seconds=report.seconds)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"decoders": 0}])
def test_sizes_below_one_are_refused(backbone: Backbone, cache: FeatureCache, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        extract([], backbone, cache, **wrong)


def test_torchs_threads_are_what_they_were(
    items: list[Item], backbone: Backbone, cache: FeatureCache
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        extract(items[:20], backbone, cache)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_decoding_agrees_with_pillows_own_antialiased_resize(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    path = make_picture(tmp_path / "a.jpg", size=(120, 90), seed=3)
    with Image.open(path) as picture:
        reference = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    ours = decode(path, size=64)
    assert ours.shape == (3, 64, 64) and ours.dtype == np.uint8 and ours.flags.c_contiguous
    assert np.abs(ours.astype(int) - reference).mean() < 0.6


def test_a_large_jpeg_read_at_a_fraction_looks_the_same(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    path = make_picture(tmp_path / "large.jpg", size=(1600, 1200), seed=5)
    same = tmp_path / "large.png"
    with Image.open(path) as picture:
        picture.save(same)
    assert np.abs(decode(path, size=64).astype(int) - decode(same, size=64)).mean() < 1.0


def saved(tmp_path: Path, picture: Image.Image, suffix: str, **more: object) -> Path:
    data = io.BytesIO()
    picture.save(data, Image.registered_extensions()[suffix], **more)  # type: ignore[arg-type]
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(data.getvalue())
    return path


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = decode(saved(tmp_path, Image.fromarray(ramp), ".png"), size=64)
    assert pixels.mean() == pytest.approx(127, abs=2) and pixels.max() == 255 and pixels.min() == 0


def test_transparency_lies_over_white_and_palettes_and_grey_become_rgb(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert (decode(saved(tmp_path, clear, ".png"), size=8) == 255).all()
    palette = Image.new("RGB", (20, 20), (0, 0, 255)).convert("P")
    assert decode(saved(tmp_path, palette, ".gif"), size=8)[:, 4, 4].tolist() == [0, 0, 255]
    grey = decode(saved(tmp_path, Image.new("L", (20, 20), 77), ".jpg"), size=8)
    assert (grey == 77).all()


def test_a_picture_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    halves = Image.new("RGB", (40, 40), "white")
    halves.paste("black", (0, 0, 20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    pixels = decode(saved(tmp_path, halves, ".jpg", exif=exif, quality=95), size=8)
    assert pixels[:, 0].max() < 40 and pixels[:, 7].min() > 215
