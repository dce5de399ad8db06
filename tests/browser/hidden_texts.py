"""Pictures that carry a text in every place that formats have for one."""

from __future__ import annotations

import io
import struct
from pathlib import Path

from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

DESCRIPTION, ARTIST, COMMENT, EXIF_FOLDER = 0x010E, 0x013B, 0x9286, 0x8769


def pictures_with(text: str, folder: Path) -> list[Path]:
    """A JPEG, one with a page behind its end, a PNG, a WebP and a GIF; all real, all different."""
    folder.mkdir(parents=True)
    options = {"exif": exif(text), "icc_profile": profile(text)}
    known = {
        "a.jpg": saved(1, "JPEG", comment=text.encode(), xmp=xmp(text), **options),
        "b.jpg": saved(2, "JPEG", **options),
        "c.png": saved(3, "PNG", pnginfo=chunks(text), **options),
        "d.webp": saved(4, "WEBP", xmp=xmp(text), **options),
        "e.gif": saved(5, "GIF", comment=text.encode()),
    }
    known["a.jpg"] = with_iptc(known["a.jpg"], text)
    known["b.jpg"] += f"<!doctype html><html><body>{text}</body></html>".encode()
    for name, content in known.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in known]


def saved(number: int, kind: str, **options: object) -> bytes:
    """A small picture in a format with what is saved along."""
    target = io.BytesIO()
    Image.new("RGB", (320, 240), (40 * number, 90, 150)).save(target, kind, **options)
    return target.getvalue()


def exif(text: str) -> bytes:
    """EXIF with the text as description, artist and comment."""
    made = Image.Exif()
    made[DESCRIPTION] = made[ARTIST] = text
    made.get_ifd(EXIF_FOLDER)[COMMENT] = b"ASCII\0\0\0" + text.encode()
    return made.tobytes()


def xmp(text: str) -> bytes:
    """XMP as a careless program writes it: nothing is escaped."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"<rdf:Description>{text}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def chunks(text: str) -> PngInfo:
    """The text as tEXt, zTXt and iTXt."""
    made = PngInfo()
    made.add_text("Title", text)
    made.add_text("Comment", text, zip=True)
    made.add_itxt("XML:com.adobe.xmp", xmp(text).decode())
    return made


def with_iptc(jpeg: bytes, text: str) -> bytes:
    """The same JPEG with the text as its IPTC caption."""
    caption = b"\x1c\x02\x78" + struct.pack(">H", len(text)) + text.encode()
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(caption)) + caption + b"\0" * (len(caption) % 2)
    segment = b"Photoshop 3.0\0" + block
    return jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def profile(text: str) -> bytes:
    """The sRGB profile with the text as its description: the last tag, the table points to it."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    encoded = text.encode("utf-16-be")
    tag = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
    made += b"\0" * (-len(made) % 4)
    (count,) = struct.unpack_from(">I", made, 128)
    for entry in range(132, 132 + 12 * count, 12):
        if made[entry : entry + 4] == b"desc":
            struct.pack_into(">II", made, entry + 4, len(made), len(tag))
    made += tag
    struct.pack_into(">I", made, 0, len(made))
    return bytes(made)
