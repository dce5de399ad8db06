"""R-30: thumbnail, browser view and model input agree in colour and orientation for all kinds of pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from annotator.decoding.pixels import Normalised, probe_and_normalise
from dsrb_core.decoding import decode
from tests.annotator.decoding import samples
from tests.annotator.decoding.samples import SIZE, quarters, save

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
GREYS = ((76,) * 3, (150,) * 3, (29,) * 3, (226,) * 3)
AVIF = ((254, 0, 0), (0, 255, 1), (0, 0, 253), (254, 255, 0))  # what its own rounding of YCbCr leaves
DEEP = ((0,) * 3, (85,) * 3, (170,) * 3, (255,) * 3)
FRAMES = {"save_all": True, "append_images": [Pillow.new("RGB", SIZE, "purple")] * 2}
PALETTE = Pillow.Palette.ADAPTIVE
Golden = tuple[tuple[int, ...], ...]


def half_clear() -> Pillow.Image:
    image = quarters().convert("RGBA")
    image.putalpha(
        Pillow.fromarray(np.where(np.arange(SIZE[1])[:, None] < 32, 255, 0).astype(np.uint8)).resize(SIZE)
    )
    return image


def keyed() -> bytes:
    palette = quarters().convert("P", palette=PALETTE, colors=4)
    return save(palette, "PNG", transparency=palette.getpixel((0, 0)))


def bits() -> Pillow.Image:
    return Pillow.fromarray(np.asarray(quarters().convert("L")) > 100)


def deep(dtype: str) -> Pillow.Image:
    return Pillow.fromarray(samples.deep_levels().astype(dtype))


WHITE_BELOW = (*COLOURS[:2], (255,) * 3, (255,) * 3)
CASES: dict[str, tuple[Callable[[], bytes], Golden]] = {
    "L": (lambda: save(quarters().convert("L"), "PNG"), GREYS),
    "LA": (lambda: save(half_clear().convert("LA"), "PNG"), (*GREYS[:2], (255,) * 3, (255,) * 3)),
    "RGBA": (lambda: save(half_clear(), "PNG"), WHITE_BELOW),
    "RGBA webp": (lambda: save(half_clear(), "WEBP", lossless=True), WHITE_BELOW),
    "RGBA avif": (
        lambda: save(half_clear(), "AVIF", quality=100, subsampling="4:4:4"),
        (*AVIF[:2], *WHITE_BELOW[2:]),
    ),
    "P": (lambda: save(quarters().convert("P", palette=PALETTE), "PNG"), COLOURS),
    "P with transparency": (keyed, ((255,) * 3, *COLOURS[1:])),
    "CMYK": (lambda: save(quarters().convert("CMYK"), "JPEG", quality=95), COLOURS),
    "CMYK tiff": (lambda: save(quarters().convert("CMYK"), "TIFF"), COLOURS),
    "YCCK": (samples.ycck, COLOURS),
    "I;16": (lambda: samples.deep_tiff("<"), DEEP),
    "I;16B": (lambda: samples.deep_tiff(">"), DEEP),
    "I;16 negative": (lambda: samples.deep_tiff("<", negative=True), DEEP),
    "I;16 png": (lambda: save(deep("u2"), "PNG"), DEEP),
    "I": (lambda: save(deep("i4"), "TIFF"), DEEP),
    "F": (lambda: save(deep("f4"), "TIFF"), DEEP),
    "1": (lambda: save(bits(), "PNG"), ((0,) * 3, (255,) * 3, (0,) * 3, (255,) * 3)),
    "1 tiff": (lambda: save(bits(), "TIFF"), ((0,) * 3, (255,) * 3, (0,) * 3, (255,) * 3)),
    "interlaced": (samples.interlaced, COLOURS),
    "progressive": (lambda: save(quarters(), "JPEG", progressive=True, quality=95, subsampling=0), COLOURS),
    "baseline": (lambda: save(quarters(), "JPEG", quality=95, subsampling=0), COLOURS),
    "lossless webp": (lambda: save(quarters(), "WEBP", lossless=True), COLOURS),
    "avif": (lambda: save(quarters(), "AVIF", quality=100, subsampling="4:4:4"), AVIF),
    "bmp": (lambda: save(quarters(), "BMP"), COLOURS),
    "several tiff": (lambda: save(quarters(), "TIFF", **FRAMES), COLOURS),
    "animated gif": (lambda: save(quarters(), "GIF", **FRAMES), COLOURS),
    "animated webp": (lambda: save(quarters(), "WEBP", lossless=True, **FRAMES), COLOURS),
    "animated avif": (lambda: save(quarters(), "AVIF", quality=100, subsampling="4:4:4", **FRAMES), AVIF),
    "apng": (lambda: save(quarters(), "PNG", **FRAMES), COLOURS),
}
for number in range(1, 9):
    for form in ("JPEG", "PNG", "TIFF"):
        CASES[f"EXIF {number} {form}"] = (lambda n=number, f=form: samples.turned(n, f), COLOURS)


def views(tmp_path: Path, data: bytes, normal: Normalised) -> dict[str, npt.NDArray[np.float64]]:
    """What each reader sees, as RGB of 64 x 96 pixels."""
    full = normal.canonical if normal.canonical is not None else data
    file = tmp_path / f"x.{normal.canonical_ext}"
    file.write_bytes(full)
    shown = ImageOps.exif_transpose(Pillow.open(io.BytesIO(full)))
    profile = shown.info.get("icc_profile")
    if profile:
        own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        shown = ImageCms.profileToProfile(shown, own, srgb, outputMode="RGB")
    seen = {
        "browser": shown,
        "thumbnail": Pillow.open(io.BytesIO(normal.thumbnail)),
        "model": Pillow.fromarray(decode(file, size=96).transpose(1, 2, 0)),
    }
    return {name: np.asarray(image.convert("RGB").resize(SIZE), dtype=float) for name, image in seen.items()}


def middles(view: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean colour of the middle of each quarter, (4, 3)."""
    height, width = view.shape[0] // 2, view.shape[1] // 2
    found = []
    for place in range(4):
        top, left = height * (place // 2) + 6, width * (place % 2) + 6
        found.append(view[top : top + height - 12, left : left + width - 12].mean(axis=(0, 1)))
    return np.array(found)


@pytest.mark.parametrize("case", CASES)
def test_every_view_has_the_golden_colours_in_the_right_places(tmp_path: Path, case: str) -> None:
    make, golden = CASES[case]
    data = make()
    normal = probe_and_normalise(data, "x", 1_000_000)
    assert (normal.width, normal.height) == SIZE
    for name, view in views(tmp_path, data, normal).items():
        assert np.abs(middles(view) - np.array(golden)).max() <= 2.0, name
    several = case.startswith(("several", "animated", "apng"))
    assert normal.note == ("only the first of its pictures is used" if several else "")


def wide_to_srgb(colour: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """ProPhoto with a gamma of 1.8 to sRGB, by the textbook."""
    to_xyz = np.array([[0.7977, 0.1352, 0.0313], [0.2880, 0.7119, 0.0001], [0, 0, 0.8249]])
    from_xyz = np.array(  # D50 to linear sRGB
        [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]
    )
    linear = np.clip(from_xyz @ to_xyz @ (np.array(colour) / 255) ** 1.8, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_wide_gamut_is_turned_into_srgb_once(tmp_path: Path, kind: str) -> None:
    colour = (120, 140, 110)
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind in ("JPEG", "AVIF") else {}
    data = save(Pillow.new("RGB", SIZE, colour), kind, icc_profile=samples.wide_profile(), **options)
    normal = probe_and_normalise(data, "x", 1_000_000)
    assert normal.canonical is not None
    golden = wide_to_srgb(colour)
    assert np.abs(golden - np.array(colour)).max() > 10
    for name, view in views(tmp_path, data, normal).items():
        assert np.abs(middles(view) - golden).max() <= 2.0, name


def test_a_profile_that_says_srgb_leaves_the_bytes_alone() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("JPEG", "PNG", "WEBP"):
        data = save(quarters(), kind, icc_profile=profile)
        assert probe_and_normalise(data, "x", 10**6).canonical is None


@pytest.mark.parametrize("profile", [b"junk", samples.wide_profile()[:200], b"\0" * 3000])
def test_a_damaged_profile_is_ignored_and_not_passed_on(tmp_path: Path, profile: bytes) -> None:
    data = save(quarters().convert("RGBA"), "PNG", icc_profile=profile)
    normal = probe_and_normalise(data, "x", 1_000_000)
    assert normal.canonical is not None
    assert "icc_profile" not in Pillow.open(io.BytesIO(normal.canonical)).info
    assert np.abs(middles(views(tmp_path, data, normal)["thumbnail"]) - np.array(COLOURS)).max() <= 2.0


def test_an_odd_gamma_is_not_left_for_browsers_alone_to_follow() -> None:
    plain = save(quarters(), "PNG")
    end = 8 + 25  # after the header chunk
    odd = plain[:end] + samples.chunk(b"gAMA", (100_000).to_bytes(4, "big")) + plain[end:]
    usual = plain[:end] + samples.chunk(b"gAMA", (45_455).to_bytes(4, "big")) + plain[end:]
    assert probe_and_normalise(usual, "x", 10**6).canonical is None
    made = probe_and_normalise(odd, "x", 10**6).canonical
    assert made is not None and b"gAMA" not in made


def test_original_bytes_are_never_touched() -> None:
    data = samples.turned(6, "JPEG")
    before = bytes(data)
    probe_and_normalise(data, "x", 10**6)
    assert data == before


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
def test_strips_and_single_pixels_reach_the_model(tmp_path: Path, size: tuple[int, int]) -> None:
    """R-31."""
    data = save(Pillow.new("RGB", size, (10, 200, 90)), "PNG")
    assert probe_and_normalise(data, "x", 1_000_000).canonical is None
    (tmp_path / "x.png").write_bytes(data)
    pixels = decode(tmp_path / "x.png", size=96)
    assert pixels.shape == (3, 96, 96)
    assert np.abs(pixels.reshape(3, -1).mean(axis=1) - np.array([10, 200, 90])).max() <= 1
