"""A-17, R-32: the format is what the bytes say, and what is no picture is refused unopened."""

from __future__ import annotations

import importlib.util
import io

import pytest
from PIL import Image as Pillow

from annotator.decoding import formats
from annotator.decoding.formats import HEAD, KINDS, declared_size, recognise
from annotator.decoding.pixels import probe_and_normalise
from annotator.errors import BadFile, TypeNotAccepted
from tests.annotator.decoding.samples import quarters, save

HTML = b"<!doctype html><html><script>alert(1)</script></html>"
STRANGERS = {
    "x.svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "x.html": HTML,
    "x.xhtml": b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'/>",
    "x.js": b"alert(document.cookie)",
    "x.pdf": b"%PDF-1.7\n1 0 obj",
    "eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "psd.jpg": b"8BPS\0\1" + bytes(20),
    "fits.jpg": b"SIMPLE  =                    T",
    "icns.jpg": b"icns\0\0\0\x10",
    "model.pt": b"PK\x03\x04\x14\0",
    "model.pkl": b"\x80\x04\x95\x10\0\0\0\0\0\0\0",
    "array.npy": b"\x93NUMPY\x01\0",
    "x.gz": b"\x1f\x8b\x08\0",
    "film.mp4": b"\0\0\0\x18ftypisom\0\0\2\0isommp41",
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_picture_is_not_accepted_whatever_its_name(name: str) -> None:
    with pytest.raises(TypeNotAccepted) as caught:
        probe_and_normalise(STRANGERS[name], name, 1_000)
    assert caught.value.name == name and "\n" not in caught.value.reason


@pytest.mark.parametrize("kind", ["GIF", "JPEG", "PNG"])
def test_a_polyglot_is_taken_as_pixels_only(kind: str) -> None:
    """The script stays in the original bytes, which are served as a picture; nothing of it is in ours."""
    data = save(quarters().convert("P") if kind == "GIF" else quarters(), kind) + HTML
    normal = probe_and_normalise(data, "x.html", 10_000)
    assert normal.media_type == f"image/{kind.lower()}"
    assert HTML not in normal.thumbnail and HTML not in (normal.canonical or b"")


def test_a_jpeg_comment_is_not_in_what_we_make() -> None:
    data = save(quarters(), "JPEG", comment=HTML)
    assert HTML in data and HTML not in probe_and_normalise(data, "x", 10_000).thumbnail


@pytest.mark.parametrize(("kind", "ext"), [("AVIF", "avif"), ("WEBP", "webp")])
def test_avif_and_webp_are_read(kind: str, ext: str) -> None:
    normal = probe_and_normalise(save(quarters(), kind), "x", 10_000)
    assert (normal.ext, normal.media_type) == (ext, f"image/{ext}")


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_without_its_plug_in_says_what_to_install(monkeypatch: pytest.MonkeyPatch, brand: bytes) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(TypeNotAccepted, match=r"need the heif extra \(pip install -e '\.\[heif\]'\)"):
        recognise(b"\0\0\0\x18ftyp" + brand + bytes(4) + b"mif1heic", "x.heic")


def test_an_avif_that_calls_itself_a_still_of_the_general_kind_is_avif() -> None:
    assert recognise(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "x") is formats.AVIF


def test_heic_is_read_where_its_plug_in_is_installed() -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    heif.register_heif_opener()
    data = save(quarters(), "HEIF", quality=100)
    normal = probe_and_normalise(data, "x", 10_000)
    assert (normal.ext, normal.canonical_ext, normal.width, normal.height) == ("heic", "png", 96, 64)
    seen = Pillow.open(io.BytesIO(normal.canonical or b"")).getpixel((10, 10))
    assert isinstance(seen, tuple) and max(abs(a - b) for a, b in zip(seen, (255, 0, 0), strict=True)) < 12


@pytest.mark.parametrize(
    "options", [{}, {"lossless": True}, {"exact": True, "lossless": True, "exif": b"Exif\0\0"}]
)
@pytest.mark.parametrize("size", [(1, 1), (301, 17), (2048, 3)])
def test_the_size_of_a_webp_is_known_from_its_head(size: tuple[int, int], options: dict[str, object]) -> None:
    data = save(Pillow.new("RGB", size), "WEBP", **options)
    assert declared_size(recognise(data[:HEAD], "x"), data[:HEAD]) == size


@pytest.mark.parametrize("size", [(16_383, 16_383), (16_000, 8_000)])
def test_a_webp_over_the_limit_is_refused_with_the_number_before_it_is_opened(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    head = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0"
    head += (size[0] - 1).to_bytes(3, "little") + (size[1] - 1).to_bytes(3, "little")
    monkeypatch.setattr("PIL.WebPImagePlugin.WebPImageFile._open", lambda _self: pytest.fail("it was opened"))
    with pytest.raises(BadFile, match=f"{size[0]} x {size[1]} pixels, the limit is 120000000"):
        probe_and_normalise(head, "x", 120_000_000)


def test_every_ending_we_give_belongs_to_one_kind() -> None:
    assert set(KINDS) == {"jpg", "png", "webp", "avif", "bmp", "tif", "gif", "heic"}
