"""Pictures of a ZIP archive, read member by member; nothing is ever unpacked to a path the archive chose."""

from __future__ import annotations

import functools
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from annotator.errors import BadFile, BadInput
from annotator.importing.items import Found, Item, clause, read_picture, safe_name
from annotator.settings import Settings

MAX_RATIO = 200  # unpacked to packed, for anything over `SMALL`
SMALL = 2**20
LIST_BYTES = 320  # of the list of entries, for each entry allowed: names of 250 bytes on average
_LOCAL_HEADER = 30
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


class _Archive(io.FileIO):
    """A file that is never asked for more than `largest` bytes at once: the list of entries is read whole."""

    def __init__(self, path: Path, largest: int) -> None:
        super().__init__(path, "rb")
        self._largest = largest
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """As the file; BadZipFile when somebody wants too much."""
        wanted = self.size - self.tell() if size is None or size < 0 else size
        if wanted > self._largest:
            raise zipfile.BadZipFile(f"its list of entries has {wanted} bytes, the limit is {self._largest}")
        return super().read(size) or b""


@contextmanager
def opened(path: Path, settings: Settings, name: str | None = None) -> Iterator[Found]:
    """Every member of the archive at `path`; its items can be read while the block lasts.

    BadFile when it is no archive, when what it declares passes the limits of `settings`, or when entries lie
    upon each other: before anything is unpacked. No member gives more bytes than were declared for it.
    """
    shown = name or path.name
    if not path.exists():
        raise BadInput(f"There is no file {path}.")
    try:
        file = _Archive(path, max(settings.zip_entries * LIST_BYTES, SMALL))
    except OSError as error:
        raise BadFile(shown, f"it cannot be read ({error.strerror or error})") from error
    with file:
        try:
            archive = zipfile.ZipFile(cast(IO[bytes], file))
        except (*_DAMAGE, OSError) as error:
            raise BadFile(shown, f"it is not a readable ZIP archive ({clause(error)})") from error
        with archive:
            members = archive.infolist()
            _check_totals(members, shown, file.size, settings)
            _check_places(members, shown, file.size)
            yield _found(archive, members, shown)


def _check_totals(members: list[zipfile.ZipInfo], name: str, packed: int, settings: Settings) -> None:
    total = sum(member.file_size for member in members)
    if len(members) > settings.zip_entries:
        raise BadFile(name, f"it has {len(members)} entries, the limit is {settings.zip_entries}")
    if total > settings.zip_bytes:
        raise BadFile(name, f"it would unpack to {total} bytes, the limit is {settings.zip_bytes}")
    if total > 100 * SMALL and total > MAX_RATIO * packed:
        raise BadFile(
            name, f"it would unpack to {total // max(packed, 1)} times its size, which no pictures do"
        )


def _check_places(members: list[zipfile.ZipInfo], name: str, size: int) -> None:
    """Entries that share bytes make a small archive unpack to a huge one, and one file be two things."""
    ordered = sorted(members, key=lambda member: member.header_offset)
    if ordered and ordered[0].header_offset < 0:
        raise BadFile(name, f"its entry {ordered[0].filename[:60]!r} begins before the archive")
    starts = [*(member.header_offset for member in ordered[1:]), size]
    for place, (member, limit) in enumerate(zip(ordered, starts, strict=False)):
        if member.header_offset + _LOCAL_HEADER + member.compress_size <= limit:
            continue
        what = f"its entry {member.filename[:60]!r}"
        if place + 1 < len(ordered):
            raise BadFile(name, f"{what} overlaps with {ordered[place + 1].filename[:60]!r}")
        raise BadFile(name, f"{what} ends beyond the archive")


def _found(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], shown: str) -> Found:
    found = Found(where=f"the archive {shown}")
    seen: set[str] = set()
    for member in members:
        if not member.is_dir():
            _member(archive, member, found, seen)
    return found


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, found: Found, seen: set[str]) -> None:
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
    elif name in seen:
        found.refuse(name, "the archive has this name twice; the first is taken")
    elif member.flag_bits & _ENCRYPTED:
        found.refuse(name, "it is encrypted")
    elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # other unpackers of Python give as much as they like at once
        found.refuse(name, f"it is packed by method {member.compress_type}, which is not read")
    elif PurePosixPath(name).suffix.lower() in (".zip", ".tar", ".gz", ".7z", ".rar"):
        found.refuse(name, "it is an archive inside the archive")
    elif member.file_size > SMALL and member.file_size > MAX_RATIO * member.compress_size:
        found.refuse(name, f"it would unpack to more than {MAX_RATIO} times its size")
    else:
        seen.add(name)
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
            return read_picture(cast(BinaryIO, file), name, member.file_size)
    except _DAMAGE as error:
        raise BadFile(name, f"it is damaged in the archive ({clause(error)})") from error
