"""Every colour model and depth to 8-bit RGB or grey as sRGB, a band of rows at a time.

A large picture is held at most twice: the one that is read and the one that is made.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

BAND_PIXELS = 1 << 20
PLAIN_GAMMA = 0.45455
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # of TIFF
_CLEAR = ("RGBA", "LA", "PA", "La", "RGBa")
_TOLERANCE = 2  # of 255: a profile that changes no colour by more is sRGB to us
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


def is_deep(image: Image.Image) -> bool:
    """Whether its values are wider than eight bits."""
    return image.mode.startswith("I") or image.mode == "F"


def is_clear(image: Image.Image) -> bool:
    """Whether any of it may be transparent."""
    return image.mode in _CLEAR or "transparency" in image.info


def eight_bit(image: Image.Image) -> Image.Image:
    """The same picture as 8-bit RGB or grey in sRGB: deep modes scaled, transparency over white."""
    if is_deep(image):
        return _deep(image)
    profile = image.info.get("icc_profile")
    if is_clear(image):
        flat = _banded(image, "RGB", _over_white)
        return _in_srgb(flat, profile)
    if image.mode == "CMYK":
        converter = _converter(profile, "CMYK")
        return _banded(image, "RGB", converter or (lambda band: band.convert("RGB")))
    plain = image if image.mode in ("RGB", "L") else image.convert("L" if image.mode == "1" else "RGB")
    return _in_srgb(plain, profile)


def is_srgb(image: Image.Image) -> bool:
    """Whether viewers that follow colour profiles and readers that ignore them see the same colours."""
    gamma = image.info.get("gamma")
    odd_gamma = gamma is not None and "srgb" not in image.info and abs(float(gamma) - PLAIN_GAMMA) > 0.01
    return not odd_gamma and _converter(image.info.get("icc_profile"), image.mode) is None


def scaled(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Deep grey values as 0..255.

    Whole numbers that fit 16 bits are divided by the range of the smallest camera depth (8, 12, 14, 16 bits)
    that holds the brightest one; everything else goes from its least to its greatest finite value.
    """
    grey = _finite(values)
    return _stretched(grey, *_range(values.dtype, float(grey.min()), float(grey.max())))


def _deep(image: Image.Image) -> Image.Image:
    least, most = zip(*(_ends(image.crop(box)) for box in _boxes(image.size)), strict=True)
    low, high = _range(np.asarray(image.crop((0, 0, 1, 1))).dtype, min(least), max(most))
    target, negative = Image.new("L", image.size), _is_negative(image)
    for box in _boxes(image.size):
        grey = _stretched(_finite(np.asarray(image.crop(box))), low, high)
        target.paste(Image.fromarray(255 - grey if negative else grey), box)
    return target


def _is_negative(image: Image.Image) -> bool:
    """Whether a TIFF says that its least value is white; Pillow turns only eight bits and fewer around."""
    return getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _ends(band: Image.Image) -> tuple[float, float]:
    grey = _finite(np.asarray(band))
    return float(grey.min()), float(grey.max())


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _range(kind: np.dtype[Any], low: float, high: float) -> tuple[float, float]:
    if np.issubdtype(kind, np.integer) and low >= 0 and high <= 65535:
        return 0.0, float(next(2**bits - 1 for bits in (8, 12, 14, 16) if high < 2**bits))
    return low, high


def _stretched(grey: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.uint8]:
    span = high - low
    return np.rint((grey - low) * (255.0 / span if span > 0 else 0.0)).astype(np.uint8)


def _boxes(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    width, height = size
    rows = max(1, BAND_PIXELS // max(width, 1))
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _banded(image: Image.Image, mode: str, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`change` applied to bands of rows; the whole changed picture."""
    target = Image.new(mode, image.size)
    for box in _boxes(image.size):
        band = image.crop(box)
        if "transparency" in image.info:
            band.info["transparency"] = image.info["transparency"]
        target.paste(change(band), box)
    return target


def _over_white(band: Image.Image) -> Image.Image:
    colour = band.convert("RGBA")
    white = Image.new("RGBA", colour.size, "white")
    return Image.alpha_composite(white, colour).convert("RGB")


def _in_srgb(image: Image.Image, profile: object) -> Image.Image:
    converter = _converter(profile, image.mode)
    return image if converter is None else _banded(image, "RGB", converter)


def _converter(profile: object, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """What turns colours of this profile into sRGB; None where there is nothing to do.

    A profile that is damaged, or meant for other colours than the picture has, is ignored as browsers do.
    """
    if not isinstance(profile, bytes) or mode not in ("RGB", "L", "CMYK"):
        return None
    return _cached_converter(profile, mode)


@functools.lru_cache(maxsize=16)
def _cached_converter(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=_FLAGS,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None

    def convert(band: Image.Image) -> Image.Image:
        return transform.apply(band)

    return None if mode != "CMYK" and _changes_nothing(convert, mode) else convert


def _changes_nothing(convert: Callable[[Image.Image], Image.Image], mode: str) -> bool:
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    if mode == "L":
        patches = Image.fromarray(steps[None, :])
    else:
        grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        patches = Image.fromarray(np.ascontiguousarray(grid))
    before = np.asarray(patches.convert("RGB"), dtype=int)
    return bool(np.abs(np.asarray(convert(patches), dtype=int) - before).max() <= _TOLERANCE)
