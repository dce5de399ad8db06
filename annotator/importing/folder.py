"""Pictures of a folder on this machine."""

from __future__ import annotations

import functools
import os
import stat
import unicodedata
from pathlib import Path

from annotator.errors import BadInput
from annotator.importing.items import Found, Item, is_hidden, read_picture


def find(folder: Path, *, skip: Path) -> Found:
    """Every file below `folder` in the order of names; links to folders and `skip` are not entered."""
    if not folder.exists():
        raise BadInput(f"There is no folder {folder}.")
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file, not a folder.")
    found = Found(where=f"the folder {folder}")
    _walk(folder, folder, skip.resolve(), found)
    return found


def _walk(folder: Path, base: Path, skip: Path, found: Found) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        found.refuse(f"{relative_name(folder, base)}/", f"the folder cannot be read ({error.strerror})")
        return
    for entry in entries:
        path = Path(entry.path)
        name = relative_name(path, base)
        if not entry.is_dir():
            _file(path, name, found)
        elif entry.is_symlink():
            found.refuse(f"{name}/", "it is a link to a folder, which is not followed")
        elif is_hidden(entry.name):
            found.refuse(f"{name}/", "it is a hidden folder")
        elif path.resolve() == skip:
            found.notes.append(f"{name}/ is the data folder of this program and was left out.")
        else:
            _walk(path, base, skip, found)


def _file(path: Path, name: str, found: Found) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        found.refuse(name, f"it cannot be read ({error.strerror})")
        return
    if not stat.S_ISREG(mode):
        found.refuse(name, "it is not a regular file")
    elif not found.set_aside(name):
        found.items.append(Item(name=name, read=functools.partial(read_path, path, name)))


def read_path(path: Path, name: str) -> bytes:
    """All bytes of a picture file."""
    with path.open("rb") as file:
        return read_picture(file, name, os.fstat(file.fileno()).st_size)


def relative_name(path: Path, base: Path) -> str:
    """Name of a file within `base`: forward slashes, NFC; bytes that are no UTF-8 are written as \\xff."""
    relative = os.fsencode(path.relative_to(base).as_posix())
    return unicodedata.normalize("NFC", relative.decode("utf-8", "backslashreplace"))
