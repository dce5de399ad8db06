"""Pictures of a ZIP archive, read member by member; nothing is ever unpacked to a path the archive chose."""

from __future__ import annotations

import functools
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from annotator.errors import BadFile, BadInput
from annotator.importing.items import Found, Item, read_picture, safe_name

MAX_ENTRIES = 500_000
MAX_TOTAL = 32 * 2**30
MAX_RATIO = 200  # unpacked to packed, for anything over `SMALL`
SMALL = 2**20
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
_ENCRYPTED = 0x1
_UTF8 = 0x800


@contextmanager
def opened(path: Path, name: str | None = None) -> Iterator[Found]:
    """Every member of the archive at `path`; its items can be read while the block lasts.

    BadFile when it is no archive or its declared sizes pass the limits, before anything is unpacked.
    """
    shown = name or path.name
    if not path.exists():
        raise BadInput(f"There is no file {path}.")
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGE, OSError) as error:
        raise BadFile(shown, f"it is not a readable ZIP archive ({error})") from error
    with archive:
        members = archive.infolist()
        _check_totals(members, shown, path.stat().st_size)
        found = Found(where=f"the archive {shown}")
        for member in members:
            if not member.is_dir():
                _member(archive, member, found)
        yield found


def _check_totals(members: list[zipfile.ZipInfo], name: str, packed: int) -> None:
    total = sum(member.file_size for member in members)
    if len(members) > MAX_ENTRIES:
        raise BadFile(name, f"it has {len(members)} entries, the limit is {MAX_ENTRIES}")
    if total > MAX_TOTAL:
        raise BadFile(name, f"it would unpack to {total} bytes, the limit is {MAX_TOTAL}")
    if total > 100 * SMALL and total > MAX_RATIO * packed:
        raise BadFile(
            name, f"it would unpack to {total // max(packed, 1)} times its size, which no pictures do"
        )


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, found: Found) -> None:
    raw = _decoded(member)
    try:
        name = safe_name(raw)
    except BadFile as error:
        found.refuse(error.name, error.reason)
        return
    mode = stat.S_IFMT(member.external_attr >> 16)
    if mode not in (0, stat.S_IFREG):
        found.refuse(name, "it is a link" if mode == stat.S_IFLNK else "it is not a regular file")
    elif found.set_aside(name):
        return
    elif member.flag_bits & _ENCRYPTED:
        found.refuse(name, "it is encrypted")
    elif PurePosixPath(name).suffix.lower() in (".zip", ".tar", ".gz", ".7z", ".rar"):
        found.refuse(name, "it is an archive inside the archive")
    elif member.file_size > SMALL and member.file_size > MAX_RATIO * member.compress_size:
        found.refuse(name, f"it would unpack to more than {MAX_RATIO} times its size")
    else:
        found.items.append(Item(name=name, read=functools.partial(_read, archive, member, name)))


def _decoded(member: zipfile.ZipInfo) -> str:
    """Name of a member; many archivers write UTF-8 without saying so."""
    if member.flag_bits & _UTF8:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> bytes:
    try:
        with archive.open(member) as file:
            return read_picture(file, name, member.file_size)  # type: ignore[arg-type]
    except _DAMAGE as error:
        raise BadFile(name, f"it is damaged in the archive ({error})") from error
