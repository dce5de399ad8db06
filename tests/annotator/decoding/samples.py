"""Pictures for tests: one of four colours in every way a picture can be stored, and hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image as Pillow

SIZE = (96, 64)


def save(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file of this kind."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def quarters(size: tuple[int, int] = SIZE) -> Pillow.Image:
    """Red, green / blue, yellow: shows every turn and mirror."""
    image = Pillow.new("RGB", size)
    width, height = size[0] // 2, size[1] // 2
    for place, colour in enumerate(("red", "lime", "blue", "yellow")):
        box = (width * (place % 2), height * (place // 2))
        image.paste(Pillow.new("RGB", (width, height), colour), box)
    return image


def mirrored_back(image: Pillow.Image, turn: int) -> Pillow.Image:
    """The pixels that EXIF orientation `turn` turns into `image`."""
    undo = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_90,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_270,
    }
    return image.transpose(undo[turn]) if turn in undo else image


def turned(turn: int, kind: str) -> bytes:
    """The quarters, stored so that EXIF orientation `turn` is needed to see them right."""
    exif = Pillow.Exif()
    exif[0x0112] = turn
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    return save(mirrored_back(quarters(), turn), kind, exif=exif, **options)


def ycck() -> bytes:
    """The quarters as an Adobe YCCK JPEG: a CMYK file with Y, Cb, Cr, K in it and another transform byte."""
    inks = 255 - np.asarray(quarters())
    ycc = np.asarray(Pillow.fromarray(inks).convert("YCbCr"))
    stored = np.dstack([ycc, np.full(ycc.shape[:2], 255, np.uint8)])
    data = bytearray(save(Pillow.fromarray(255 - stored, mode="CMYK"), "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def deep_tiff(order: str, *, negative: bool = False) -> bytes:
    """A 16-bit grey TIFF of four levels in this byte order, without compression; `negative`: 0 is white."""
    levels = 65535 - deep_levels() if negative else deep_levels()
    grey = levels.astype(f"{order}u2")
    height, width = grey.shape
    body = grey.tobytes()
    fields = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1)]
    fields += [(262, 3, 1, 0 if negative else 1)]
    fields += [(273, 4, 1, 8 + 2 + 12 * 8 + 4), (278, 4, 1, height), (279, 4, 1, len(body))]
    entries = b""
    for tag, kind, count, value in sorted(fields):
        packed = struct.pack(f"{order}I", value) if kind == 4 else struct.pack(f"{order}HH", value, 0)
        entries += struct.pack(f"{order}HHI", tag, kind, count) + packed
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}I", 8) + struct.pack(f"{order}H", len(fields))
    return head + entries + struct.pack(f"{order}I", 0) + body


def deep_levels() -> Any:
    """16-bit grey in quarters: 0, 1/3, 2/3 and all of the range."""
    levels = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint16)
    half = (SIZE[1] // 2, SIZE[0] // 2)
    for place, value in enumerate((0, 21845, 43690, 65535)):
        rows = slice(half[0] * (place // 2), half[0] * (place // 2 + 1))
        columns = slice(half[1] * (place % 2), half[1] * (place % 2 + 1))
        levels[rows, columns] = value
    return levels


def chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    size: tuple[int, int], body: bytes, *, depth: int = 8, colour: int = 0, more: bytes = b"", woven: int = 0
) -> bytes:
    """A PNG whose header says what it likes."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, woven)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def interlaced() -> bytes:
    """The quarters as an interlaced PNG (Adam7)."""
    pixels = np.asarray(quarters())
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    rows = b"".join(
        b"\0" + row.tobytes() for left, top, right, down in passes for row in pixels[top::down, left::right]
    )
    return png(SIZE, zlib.compress(rows), colour=2, woven=1)


def wide_profile() -> bytes:
    """An ICC profile with the primaries of ProPhoto and a gamma of 1.8."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(number(value) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(1.8 * 256))
    words = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + bytes(78)
    tags = {
        b"desc": words + bytes(-len(words) % 4),
        b"cprt": b"text\0\0\0\0none" + bytes(4),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.7977, 0.2880, 0.0),
        b"gXYZ": xyz(0.1352, 0.7119, 0.0),
        b"bXYZ": xyz(0.0313, 0.0001, 0.8249),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + number(0.9642) + number(1.0)
    head += number(0.8249)
    return head + bytes(128 - len(head)) + table + body
