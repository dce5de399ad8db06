"""A picture file to uint8 RGB pixels (3, S, S): Pillow decodes, torch resizes with antialiasing."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.nn.functional import interpolate

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
UNREAD = "the file cannot be read"  # how the reason begins when nothing is known about the picture in it
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,  # Pillow's PNG reader
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def decode(path: Path, *, size: int) -> Pixels:
    """Read a picture upright, squeezed to size x size, as uint8 (3, size, size) RGB.

    Raises ValueError with the reason in one clause when the file is missing or no readable picture.
    """
    picture = np.array(read_picture(path, size=size))
    channels_first = torch.from_numpy(picture).permute(2, 0, 1)[None]
    resized = interpolate(channels_first, size=(size, size), mode="bilinear", antialias=True)[0]
    return np.ascontiguousarray(resized.numpy())


def read_picture(path: Path, *, size: int) -> Image.Image:
    """A picture upright, in RGB; large JPEGs at a fraction, but at least twice `size` pixels.

    ValueError with the reason in one clause when the file is missing or no readable picture.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{UNREAD} ({error.strerror or error})") from error
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as opened:
            # Large JPEGs decode at a fraction; twice the wanted size leaves the resize something to average.
            opened.draft("RGB", (2 * size, 2 * size))
            return _as_rgb(ImageOps.exif_transpose(opened))
    except UNREADABLE as error:
        raise ValueError(f"the picture cannot be decoded ({_clause(error)})") from error


def _clause(error: BaseException) -> str:
    """Pillow's message; for unknown content it names an object in memory, which helps nobody."""
    if isinstance(error, UnidentifiedImageError):
        return "not a JPEG, PNG, WebP, BMP, TIFF or GIF picture"
    return str(error) or type(error).__name__


def _as_rgb(picture: Image.Image) -> Image.Image:
    """RGB, with 16 bits scaled (Pillow would clip them) and transparency over white."""
    if picture.mode.startswith("I"):
        wide = np.asarray(picture).astype(np.int64).clip(0, 65535)
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return picture.convert("RGB")
