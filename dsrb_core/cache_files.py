"""The files of a feature cache: shapes, whole rows, durable writes, the writer's lock."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import sys
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger(__name__)

FORMAT = 1
KEY_BYTES = 65
KEY = re.compile(r"[0-9a-f]{64}")
LINE = re.compile(r"[0-9a-f]{64}\n")


def row_bytes(locations: int, dim: int) -> dict[str, int]:
    """Bytes of one row in each file; `keys.txt` must stay among them, it decides which rows count."""
    return {"maps.f16": locations * dim * 2, "pooled.f32": dim * 4, "keys.txt": KEY_BYTES}


def complete_rows(folder: Path, *, bytes_per_row: dict[str, int]) -> int:
    """Rows that are complete in every file; a missing file has none."""
    files = ((folder / name, size) for name, size in bytes_per_row.items())
    return min(path.stat().st_size // size if path.exists() else 0 for path, size in files)


def read_keys(folder: Path, *, start: int, stop: int) -> list[str]:
    """Keys of rows `start` to `stop`, up to the first damaged line: a power cut can leave zeros there."""
    if stop <= start:
        return []
    with (folder / "keys.txt").open("rb") as stream:
        stream.seek(start * KEY_BYTES)
        data = stream.read((stop - start) * KEY_BYTES)
    lines = (data[at : at + KEY_BYTES].decode("ascii", "replace") for at in range(0, len(data), KEY_BYTES))
    return [line[:-1] for line in takewhile(LINE.fullmatch, lines)]


def cut_torn_tail(folder: Path, *, bytes_per_row: dict[str, int]) -> None:
    """Cut every file to the rows that are complete in all of them, keys first."""
    complete = complete_rows(folder, bytes_per_row=bytes_per_row)
    complete = len(read_keys(folder, start=0, stop=complete))
    for name in ("keys.txt", "pooled.f32", "maps.f16"):
        path, wanted = folder / name, complete * bytes_per_row[name]
        if path.exists() and path.stat().st_size > wanted:
            log.info("feature cache %s: cutting an unfinished tail off %s", folder.name, name)
            with path.open("r+b") as stream:
                stream.truncate(wanted)
                os.fsync(stream.fileno())


def write_at(path: Path, offset: int, data: bytes | memoryview) -> None:
    """Write over whatever a failed append left there, and wait until it is on the disk."""
    new = not path.exists()
    with path.open("w+b" if new else "r+b") as stream:
        stream.seek(offset)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    if new:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a new or renamed file's name durable."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_meta(folder: Path, *, grid: tuple[int, int], dim: int) -> None:
    """Write `meta.json` in one step."""
    temporary = folder / "meta.json.tmp"
    write_at(temporary, 0, json.dumps({"format": FORMAT, "grid": list(grid), "dim": dim}).encode())
    temporary.replace(folder / "meta.json")
    sync_folder(folder)


def read_meta(folder: Path) -> tuple[tuple[int, int], int]:
    """Grid and dim of a cache; ValueError when there is none or it cannot be read."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        version, (height, width), dim = meta["format"], meta["grid"], meta["dim"]
    except FileNotFoundError as error:
        raise ValueError(f"There is no feature cache in {folder.name}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"The feature cache {folder.name} has a damaged meta.json; delete the folder."
        ) from error
    if version != FORMAT or not all(isinstance(n, int) and n > 0 for n in (height, width, dim)):
        raise ValueError(
            f"The feature cache {folder.name} has a meta.json this version does not know: {meta}."
        )
    return (height, width), dim


def require_shape(folder: Path, *, grid: tuple[int, int], dim: int) -> None:
    """ValueError unless the cache holds maps of this shape."""
    found = read_meta(folder)
    if found != (tuple(grid), dim):
        raise ValueError(f"The feature cache {folder.name} holds maps of {found[0]} x {found[1]}, "
                         f"but the backbone gives {tuple(grid)} x {dim}.")  # fmt: skip


def take_lock(folder: Path) -> BinaryIO:
    """An exclusive lock that the system gives back when the process ends, however it ends.

    RuntimeError when another process has it, or when nothing can be locked there.
    """
    stream = (folder / "writer.lock").open("a+b")
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            raise RuntimeError(
                f"The feature cache {folder.name} cannot be locked ({error.strerror}); use a local disk."
            ) from error
        raise RuntimeError(f"The feature cache {folder.name} is being written by another process.") from error
    return stream
