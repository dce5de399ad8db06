"""Pictures a browser has sent: temporary files with the names they had there."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from annotator.errors import BadFile
from annotator.importing.folder import read_path
from annotator.importing.items import Found, Item, safe_name


def find(files: Sequence[tuple[str, Path]]) -> Found:
    """Every (name, file) of an upload."""
    found = Found(where="the upload")
    for raw, path in files:
        try:
            name = safe_name(raw)
        except BadFile as error:
            found.refuse(error.name, error.reason)
            continue
        if not found.set_aside(name):
            found.items.append(Item(name=name, read=functools.partial(read_path, path, name)))
    return found
