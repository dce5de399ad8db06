"""Which picture formats are read, told by the first bytes; all else is refused before it is decoded."""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from annotator.errors import BadFile, TypeNotAccepted

HEAD = 32  # bytes `recognise` and `declared_size` need
NAMES = "JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF"
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a decoding process has one thread's worth of time and memory


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A picture format that is understood."""

    media_type: str
    ext: str
    opener: Callable[[io.BytesIO], ImageFile.ImageFile]
    direct: bool  # browsers and the feature extractor read it as it is


def _open_heif(data: io.BytesIO) -> ImageFile.ImageFile:
    opener = importlib.import_module("pillow_heif").HeifImageFile
    return cast(ImageFile.ImageFile, opener(data))


# the plug-ins are opened directly: Image.open would guess, and warn at its own pixel limit instead of ours
JPEG = Kind(media_type="image/jpeg", ext="jpg", opener=JpegImagePlugin.JpegImageFile, direct=True)
PNG = Kind(media_type="image/png", ext="png", opener=PngImagePlugin.PngImageFile, direct=True)
WEBP = Kind(media_type="image/webp", ext="webp", opener=WebPImagePlugin.WebPImageFile, direct=True)
AVIF = Kind(media_type="image/avif", ext="avif", opener=AvifImagePlugin.AvifImageFile, direct=False)
BMP = Kind(media_type="image/bmp", ext="bmp", opener=BmpImagePlugin.BmpImageFile, direct=False)
TIFF = Kind(media_type="image/tiff", ext="tif", opener=TiffImagePlugin.TiffImageFile, direct=False)
GIF = Kind(media_type="image/gif", ext="gif", opener=GifImagePlugin.GifImageFile, direct=False)
HEIF = Kind(media_type="image/heif", ext="heic", opener=_open_heif, direct=False)
KINDS: Mapping[str, Kind] = {kind.ext: kind for kind in (JPEG, PNG, WEBP, AVIF, BMP, TIFF, GIF, HEIF)}
_MAGIC = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"BM", BMP),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
)
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf'\x1c", b"Rar!\x1a\x07")


def recognise(head: bytes, name: str) -> Kind:
    """The format of a file from its first `HEAD` bytes.

    BadFile when the file is empty, TypeNotAccepted when it is not one of ours.
    """
    if not head:
        raise BadFile(name, "the file is empty (0 bytes)")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp":
        return _container(head[8:32], name)
    if head.startswith(_ARCHIVES):
        raise TypeNotAccepted(name, "it is an archive; pictures are taken from ZIP archives, one deep")
    raise TypeNotAccepted(name, f"it is not a {NAMES} picture")


def _container(brands: bytes, name: str) -> Kind:
    """AVIF and HEIF share their container; its main brand counts, then those it is compatible with."""
    listed = [brands[:4], *(brands[at : at + 4] for at in range(8, len(brands), 4))]
    for brand in listed:
        if brand in _AVIF_BRANDS:
            return AVIF
        if brand in _HEIF_BRANDS[:-2]:
            break
    if not any(brand in _HEIF_BRANDS for brand in listed):
        raise TypeNotAccepted(name, f"it is not a {NAMES} picture")
    if importlib.util.find_spec("pillow_heif") is None:
        raise TypeNotAccepted(
            name, "HEIC pictures need the heif extra (pip install -e '.[heif]'), or convert it to JPEG"
        )
    return HEIF


def declared_size(kind: Kind, head: bytes) -> tuple[int, int]:
    """Width and height of a WebP before its decoder makes room for it; (0, 0) where opening costs nothing."""
    if kind is not WEBP:
        return 0, 0
    chunk, body = head[12:16], head[20:]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = (int.from_bytes(body[at : at + 2], "little") for at in (6, 8))
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0
