"""Every kind of picture comes out upright and in 8 bits; every kind of damage is one clause."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from annotator.decoding.colours import scaled
from annotator.decoding.pixels import Normalised, probe_and_normalise
from annotator.errors import BadFile
from tests.conftest import picture_bytes

LIMIT = 1_000_000


def normalise(data: bytes, limit: int = LIMIT) -> Normalised:
    return probe_and_normalise(data, "x", limit)


def save(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def result(normal: Normalised, data: bytes) -> Pillow.Image:
    """The picture the page and the model will read."""
    image = Pillow.open(io.BytesIO(normal.canonical if normal.canonical is not None else data))
    image.load()
    return image


def quarters(size: tuple[int, int] = (48, 32)) -> Pillow.Image:
    """Red, green / blue, yellow: shows every turn and mirror."""
    image = Pillow.new("RGB", size)
    width, height = size[0] // 2, size[1] // 2
    for place, colour in enumerate(("red", "lime", "blue", "yellow")):
        box = (width * (place % 2), height * (place // 2))
        image.paste(Pillow.new("RGB", (width, height), colour), box)
    return image


def near(one: Pillow.Image, other: Pillow.Image, tolerance: float = 4.0) -> bool:
    first, second = (np.asarray(image.convert("RGB"), dtype=float) for image in (one, other))
    return first.shape == second.shape and float(np.abs(first - second).mean()) <= tolerance


def test_of_damage_the_library_tells_nothing_of_its_own_code() -> None:
    whole = picture_bytes(".png")
    chunk = struct.pack(">I", 1) + b"gAMA\0" + struct.pack(">I", zlib.crc32(b"gAMA\0"))
    for data, told in (
        (whole[:33] + chunk + whole[33:], "a real png file"),
        (whole[:60], "a real png file (image file is truncated)"),
    ):
        with pytest.raises(BadFile) as refused:
            probe_and_normalise(data, "x.png", 10**6)
        assert refused.value.reason == f"it is damaged or not {told}"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_pictures_are_kept_as_they_are(suffix: str, mode: str) -> None:
    if (suffix, mode) == (".webp", "L"):
        mode = "RGB"
    data = picture_bytes(suffix, mode=mode, size=(300, 200))
    normal = normalise(data)
    assert normal.canonical is None
    assert (normal.width, normal.height, "." + normal.ext) == (300, 200, suffix)
    thumbnail = Pillow.open(io.BytesIO(normal.thumbnail))
    assert (thumbnail.format, thumbnail.size, thumbnail.mode) == ("JPEG", (256, 171), mode)
    assert near(thumbnail, Pillow.open(io.BytesIO(data)).resize(thumbnail.size))


@pytest.mark.parametrize(
    ("kind", "media", "ext"),
    [("BMP", "image/bmp", "bmp"), ("TIFF", "image/tiff", "tif"), ("GIF", "image/gif", "gif")],
)
def test_other_formats_become_png(kind: str, media: str, ext: str) -> None:
    data = save(quarters(), kind)
    normal = normalise(data)
    assert (normal.media_type, normal.ext, normal.canonical_ext) == (media, ext, "png")
    assert near(result(normal, data), quarters())


def test_the_format_is_what_the_bytes_say() -> None:
    assert probe_and_normalise(picture_bytes(".png"), "lies.jpg", LIMIT).ext == "png"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_is_applied_exactly_once(kind: str, turn: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = turn
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    if kind == "WEBP":
        options = {"lossless": True}
    data = save(quarters(), kind, exif=exif, **options)
    normal = normalise(data)
    back = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_270,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_90,
    }
    expected = quarters().transpose(back[turn]) if turn > 1 else quarters()
    assert (normal.width, normal.height) == expected.size
    assert near(result(normal, data), expected)
    assert near(Pillow.open(io.BytesIO(normal.thumbnail)), expected, 8.0)
    assert result(normal, data).getexif().get(0x0112, 1) == 1
    if turn == 1 and kind != "TIFF":
        assert normal.canonical is None


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 256 * 8).astype(np.uint16).reshape(8, 256)
    data = save(Pillow.fromarray(ramp), kind)
    grey = np.asarray(result(normalise(data), data))
    assert grey.dtype == np.uint8
    assert np.abs(grey.astype(int) - ramp / 257).max() <= 1
    assert (grey == 255).mean() < 0.01


def test_12_bit_values_fill_the_range() -> None:
    values = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    assert scaled(values).max() == 255
    assert np.abs(scaled(values) - values / 4095 * 255).max() <= 0.5


def test_8_bit_values_in_a_deep_file_keep_their_brightness() -> None:
    assert scaled(np.full((2, 2), 100, dtype=np.int32)).tolist() == [[100, 100], [100, 100]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[-10, 0, 10]], dtype=np.int32), [0, 128, 255]),
        (np.array([[np.nan, 0.0, 2.0]], dtype=np.float32), [0, 0, 255]),
        (np.array([[3.5, 3.5, 3.5]], dtype=np.float32), [0, 0, 0]),
        (np.array([[0, 100_000, 200_000]], dtype=np.int32), [0, 128, 255]),
    ],
)
def test_other_deep_values_go_from_least_to_greatest(values: Any, expected: list[int]) -> None:
    assert scaled(values)[0].tolist() == expected


def test_float_tiff_is_read() -> None:
    data = save(Pillow.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)), "TIFF")
    assert result(normalise(data), data).getextrema() == (0, 255)


def test_16_bit_colour_png_gets_an_8_bit_canonical_picture() -> None:
    rows = b"".join(b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 65535, 0) for _ in range(2))

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    data += chunk(b"IEND", b"")
    normal = normalise(data)
    assert normal.canonical is not None
    assert [result(normal, data).getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (0, 255, 0)]


def test_transparency_lies_over_white() -> None:
    clear = quarters().convert("RGBA")
    clear.putalpha(0)
    for kind in ("PNG", "WEBP"):
        data = save(clear, kind)
        assert result(normalise(data), data).getextrema() == ((255, 255),) * 3
    palette = quarters().convert("P", palette=Pillow.Palette.ADAPTIVE)
    data = save(palette, "PNG", transparency=palette.getpixel((0, 0)))
    seen = result(normalise(data), data)
    assert seen.getpixel((2, 2)) == (255, 255, 255)
    assert near(seen.crop((24, 0, 48, 16)), quarters().crop((24, 0, 48, 16)))
    grey = Pillow.new("LA", (4, 4), (0, 128))
    value = result(normalise(save(grey, "PNG")), save(grey, "PNG")).getpixel((0, 0))
    assert value == (127, 127, 127)


def test_palettes_and_single_bits_become_plain() -> None:
    data = save(quarters().convert("P", palette=Pillow.Palette.ADAPTIVE), "PNG")
    assert result(normalise(data), data).mode == "RGB"
    assert near(result(normalise(data), data), quarters())
    bits = save(Pillow.new("1", (9, 9), 1), "PNG")
    assert result(normalise(bits), bits).getextrema() == (255, 255)


def test_cmyk_becomes_rgb_with_the_right_colours() -> None:
    data = save(quarters().convert("CMYK"), "JPEG", quality=95)
    normal = normalise(data)
    assert (result(normal, data).mode, normal.canonical_ext) == ("RGB", "jpg")
    assert near(result(normal, data), quarters(), 8.0)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_used_and_said(kind: str) -> None:
    frames = [Pillow.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    data = save(frames[0], kind, save_all=True, append_images=frames[1:])
    normal = normalise(data)
    assert "first" in normal.note
    seen = result(normal, data)
    assert getattr(seen, "n_frames", 1) == 1
    assert near(seen, frames[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_shapes_have_a_thumbnail(size: tuple[int, int]) -> None:
    normal = normalise(picture_bytes(".png", size=size))
    assert (normal.width, normal.height) == size
    assert max(Pillow.open(io.BytesIO(normal.thumbnail)).size) <= 256


def test_the_pixel_limit_is_held_before_decoding() -> None:
    bomb = save(Pillow.new("1", (13_000, 13_000)), "PNG")
    assert len(bomb) < 40_000
    with pytest.raises(BadFile, match="13000 x 13000 pixels, the limit is 120000000"):
        normalise(bomb, 120_000_000)
    exactly = picture_bytes(".png", size=(100, 100))
    assert normalise(exactly, 10_000).width == 100
    with pytest.raises(BadFile):
        normalise(exactly, 9_999)


def test_a_picture_between_pillows_limit_and_ours_is_taken() -> None:
    large = save(Pillow.new("L", (9_500, 9_500), 7), "JPEG")
    assert normalise(large, 120_000_000).width == 9_500


# Pillow warns about odd TIFF tags before it gives up on them
tiff_warnings = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@tiff_warnings
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"just some text, long enough to be looked at", "not a JPEG, PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "not a JPEG, PNG"),
        (b"PK\x03\x04 and so on", "archive"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "damaged"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "not a JPEG, PNG"),
        (b"\xff\xd8\xff\xe0", "damaged"),
        (b"BM", "damaged"),
        (b"GIF89a", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "damaged"),
        (b"II*\0\x08\0\0\0", "damaged"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_clause(data: bytes, reason: str) -> None:
    with pytest.raises(BadFile, match=reason) as caught:
        normalise(data)
    assert "\n" not in caught.value.reason


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".gif", ".tif", ".webp"])
def test_a_picture_cut_in_half_is_refused(suffix: str) -> None:
    data = picture_bytes(suffix, size=(200, 150))
    with pytest.raises(BadFile, match="damaged"):
        normalise(data[: len(data) // 2])


@tiff_warnings
@given(
    suffix=st.sampled_from([".jpg", ".png", ".bmp", ".gif", ".tif", ".webp"]),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(max_examples=150, deadline=None)
def test_any_damage_ends_in_a_picture_or_a_refusal(suffix: str, flips: list[tuple[int, int]]) -> None:
    data = bytearray(picture_bytes(suffix))
    for place, value in flips:
        data[place % len(data)] = value
    try:
        normal = normalise(bytes(data))
    except BadFile:
        return
    assert normal.width * normal.height <= LIMIT
    assert Pillow.open(io.BytesIO(normal.thumbnail)).format == "JPEG"


def test_the_same_bytes_give_the_same_canonical_picture() -> None:
    data = save(quarters().convert("CMYK"), "JPEG")
    assert normalise(data) == normalise(data)
