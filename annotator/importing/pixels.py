"""Any picture in, an upright 8-bit picture and a thumbnail out; or one clause that says why not.

The format is what the bytes say, not the name. The header is read and held against the pixel limit before
anything is decoded, and everything is decoded once, so that a damaged picture is found here and not in a
training.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from annotator.errors import BadFile

THUMBNAIL = 256
MAX_BYTES = 512 * 2**20
HEAD = 16  # bytes `recognise` needs
_ORIENTATION = 0x0112
# everything Pillow has been seen to raise on damaged files
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A picture format that is understood."""

    media_type: str
    ext: str
    opener: Callable[[io.BytesIO], ImageFile.ImageFile]
    direct: bool  # browsers and the feature extractor read it as it is


@dataclass(frozen=True, kw_only=True)
class Normalised:
    """A picture that can be used; `canonical` is None where the original bytes serve as they are."""

    media_type: str
    ext: str
    width: int  # upright
    height: int
    canonical: bytes | None
    canonical_ext: str
    thumbnail: bytes  # JPEG, longer side at most 256
    note: str = ""  # what a person should know, in one clause


# the plug-ins are opened directly: Image.open would guess, and warn at its own pixel limit instead of ours
JPEG = Kind(media_type="image/jpeg", ext="jpg", opener=JpegImagePlugin.JpegImageFile, direct=True)
PNG = Kind(media_type="image/png", ext="png", opener=PngImagePlugin.PngImageFile, direct=True)
WEBP = Kind(media_type="image/webp", ext="webp", opener=WebPImagePlugin.WebPImageFile, direct=True)
BMP = Kind(media_type="image/bmp", ext="bmp", opener=BmpImagePlugin.BmpImageFile, direct=False)
TIFF = Kind(media_type="image/tiff", ext="tif", opener=TiffImagePlugin.TiffImageFile, direct=False)
GIF = Kind(media_type="image/gif", ext="gif", opener=GifImagePlugin.GifImageFile, direct=False)
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
_CONTAINERS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"avif": "AVIF"}


def recognise(head: bytes, name: str) -> Kind:
    """The format of a file from its first `HEAD` bytes; BadFile when it is not one of ours."""
    if not head:
        raise BadFile(name, "the file is empty (0 bytes)")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp" and head[8:12] in _CONTAINERS:
        raise BadFile(
            name, f"{_CONTAINERS[head[8:12]]} pictures are not supported, convert it to JPEG or PNG"
        )
    if head.startswith(b"PK\x03\x04"):
        raise BadFile(name, "it is an archive, import it as a ZIP")
    raise BadFile(name, "it is not a JPEG, PNG, WebP, BMP, TIFF or GIF picture")


def probe_and_normalise(data: bytes, name: str, max_pixels: int) -> Normalised:
    """Check a picture completely and prepare what the page and the model read; BadFile gives the reason."""
    kind = recognise(data[:HEAD], name)
    try:
        image: Image.Image = kind.opener(io.BytesIO(data))
        pixels = image.width * image.height
        if pixels > max_pixels:
            raise BadFile(
                name, f"it has {image.width} x {image.height} pixels, the limit is {max_pixels} in all"
            )
        frames = int(getattr(image, "n_frames", 1))
        plain = kind.direct and _plain(image, frames)  # asked before decoding, which forgets the raw depth
        if kind is JPEG and plain:
            return _from_plain_jpeg(image)
        image.load()
        return _from_decoded(image, kind, as_is=plain, frames=frames)
    except DAMAGE as error:
        raise BadFile(name, f"it is damaged or not a real {kind.ext} file ({_words(error)})") from error


def _plain(image: Image.Image, frames: int) -> bool:
    """Whether the original bytes already are an upright 8-bit RGB or grey picture."""
    deep = any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    transparent = "transparency" in image.info
    return image.mode in ("RGB", "L") and frames == 1 and not (deep or transparent) and _turn(image) == 1


def _turn(image: Image.Image) -> int:
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except DAMAGE:  # browsers ignore unreadable EXIF too
        return 1
    return turn if turn in range(1, 9) else 1


def _from_plain_jpeg(image: Image.Image) -> Normalised:
    width, height = image.size
    image.draft(None, (THUMBNAIL, THUMBNAIL))  # decodes large pictures at a fraction, yet reads every byte
    image.load()
    return Normalised(
        media_type=JPEG.media_type,
        ext=JPEG.ext,
        width=width,
        height=height,
        canonical=None,
        canonical_ext=JPEG.ext,
        thumbnail=_thumbnail(image),
    )


def _from_decoded(image: Image.Image, kind: Kind, *, as_is: bool, frames: int) -> Normalised:
    upright = image if as_is else eight_bit(_upright(image))
    canonical, ext = (None, kind.ext) if as_is else _encode(upright, kind)
    return Normalised(
        media_type=kind.media_type,
        ext=kind.ext,
        width=upright.width,
        height=upright.height,
        canonical=canonical,
        canonical_ext=ext,
        thumbnail=_thumbnail(upright),
        note="only the first of its pictures is used" if frames > 1 else "",
    )


def _upright(image: Image.Image) -> Image.Image:
    turned = image.copy() if _turn(image) == 1 else ImageOps.exif_transpose(image)
    turned.info.pop("exif", None)
    if image.mode not in ("RGB", "RGBA", "P", "L"):
        turned.info.pop("icc_profile", None)  # it describes colours the 8-bit picture will no longer have
    return turned


def eight_bit(image: Image.Image) -> Image.Image:
    """The same picture as 8-bit RGB or grey: deep modes scaled, transparency over white."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(scaled(np.asarray(image)))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        return Image.alpha_composite(white, colour).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def scaled(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Deep grey values as 0..255.

    Whole numbers that fit 16 bits are divided by the range of the smallest camera depth (8, 12, 14, 16 bits)
    that holds the brightest one; everything else goes from its least to its greatest finite value.
    """
    grey = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    if np.issubdtype(values.dtype, np.integer) and low >= 0 and high <= 65535:
        low = 0.0
        high = float(next(2**bits - 1 for bits in (8, 12, 14, 16) if high < 2**bits))
    span = high - low
    return np.rint((grey - low) * (255.0 / span if span > 0 else 0.0)).astype(np.uint8)


def _encode(image: Image.Image, kind: Kind) -> tuple[bytes, str]:
    target = io.BytesIO()
    icc = image.info.get("icc_profile") if image.mode == "RGB" else None
    if kind is JPEG:
        image.save(target, "JPEG", quality=95, subsampling=0, icc_profile=icc)
        return target.getvalue(), "jpg"
    image.save(target, "PNG", compress_level=3, icc_profile=icc)
    return target.getvalue(), "png"


def _thumbnail(image: Image.Image) -> bytes:
    small = image if max(image.size) <= THUMBNAIL else image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)
    target = io.BytesIO()
    small.save(target, "JPEG", quality=82, icc_profile=image.info.get("icc_profile"), exif=b"")
    return target.getvalue()


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:120] if text else type(error).__name__
