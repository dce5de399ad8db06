"""Any picture in, an upright 8-bit picture and a thumbnail out; or one clause that says why not.

The format is what the bytes say, not the name. The header is read and held against the pixel limit before
anything is decoded, and everything is decoded once, so that a damaged picture is found here and not in a
training. Page, thumbnail and model see the same colours: other colour profiles are turned into sRGB.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageOps

from annotator.decoding import colours
from annotator.decoding.formats import HEAD, JPEG, Kind, declared_size, recognise
from annotator.errors import BadFile

THUMBNAIL = 256
MAX_BYTES = 512 * 2**20
JPEG_SIDE = 65_500  # what Pillow writes at the most
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
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_OF_CODE = (struct.error, LookupError, TypeError, ArithmeticError, AttributeError)
Sized = Callable[[int], None]


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


def _unheard(_pixels: int) -> None:
    """For callers that need no word about the size."""


def probe_and_normalise(data: bytes, name: str, max_pixels: int, on_size: Sized = _unheard) -> Normalised:
    """Check a picture completely and prepare what the page and the model read; BadFile gives the reason.

    `on_size` hears the number of pixels before they are decoded. MemoryError where memory is limited.
    """
    kind = recognise(data[:HEAD], name)
    try:
        _check_size(*declared_size(kind, data[:HEAD]), name, max_pixels)
        image: Image.Image = kind.opener(io.BytesIO(data))
        if 0 in image.size:
            raise BadFile(name, f"it has no pixels ({image.width} x {image.height})")
        _check_size(image.width, image.height, name, max_pixels)
        on_size(image.width * image.height)
        several = bool(getattr(image, "is_animated", False))
        plain = kind.direct and _plain(image, several)  # asked before decoding, which forgets the raw depth
        if kind is JPEG and plain:
            return _from_plain_jpeg(image)
        image.load()
        return _from_decoded(image, kind, as_is=plain, several=several)
    except DAMAGE as error:
        raise BadFile(name, f"it is damaged or not a real {kind.ext} file{_words(error)}") from error


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadFile(name, f"it has {width} x {height} pixels, the limit is {max_pixels} in all")


def _plain(image: Image.Image, several: bool) -> bool:
    """Whether the original bytes already are an upright 8-bit RGB or grey picture in sRGB."""
    if image.mode not in ("RGB", "L") or several or colours.is_clear(image):
        return False
    deep = any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    return not deep and _turn(image) == 1 and colours.is_srgb(image)


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


def _from_decoded(image: Image.Image, kind: Kind, *, as_is: bool, several: bool) -> Normalised:
    if not as_is:
        if _turn(image) != 1:
            ImageOps.exif_transpose(image, in_place=True)  # in place: a large picture is not held twice
        image.info.pop("exif", None)
        opened, image = image, colours.eight_bit(image)
        if image is not opened:
            opened.close()  # what was read is not held while the result is written
    thumbnail = _thumbnail(image)
    canonical, ext = (None, kind.ext) if as_is else _encode(image, kind)
    return Normalised(
        media_type=kind.media_type,
        ext=kind.ext,
        width=image.width,
        height=image.height,
        canonical=canonical,
        canonical_ext=ext,
        thumbnail=thumbnail,
        note="only the first of its pictures is used" if several else "",
    )


def _encode(image: Image.Image, kind: Kind) -> tuple[bytes, str]:
    target = io.BytesIO()
    image.info = {}  # comments, profiles and positions stay in the original
    if kind is JPEG and max(image.size) <= JPEG_SIDE:
        image.save(target, "JPEG", quality=95, subsampling=0)
        return target.getvalue(), "jpg"
    image.save(target, "PNG", compress_level=3)
    return target.getvalue(), "png"


def _thumbnail(image: Image.Image) -> bytes:
    share = min(1.0, THUMBNAIL / max(image.size))
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    small = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    small.info = {}  # nothing but pixels: a comment could hold a page
    target = io.BytesIO()
    small.save(target, "JPEG", quality=82)
    return target.getvalue()


def _words(error: BaseException) -> str:
    """What the library says of the picture, in brackets; nothing where it speaks of its own code."""
    text = " ".join(str(error).split())[:120]
    cause = error.__cause__
    passed_on = isinstance(cause, _OF_CODE) and str(cause) == str(error)
    return "" if isinstance(error, _OF_CODE) or passed_on or not text else f" ({text})"
