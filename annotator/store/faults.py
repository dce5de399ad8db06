"""What a refusal of SQLite means: busy, full, broken for good, or an error of one statement.

SQLite says "disk I/O error" for many things. A failed fsync is always the end: what the kernel dropped then
is never written again, and the next fsync answers well. Another I/O error may be a full disk in disguise
(growing the shared memory of the log, for example), so a few bytes are written to find out.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from annotator.errors import DiskFull, ReadOnly, StoreBusy, StoreError, is_full

BUSY_TEXT: Final = (
    "The database is busy with something else; nothing of this request was saved, try again in a moment."
)
FULL_TEXT: Final = (
    "The disk is full: nothing of this request was saved; what was saved before is safe and can be read. "
    "Make room and try again."
)
STOPPING_TEXT: Final = "The store is closed: the server is stopping; try again in a moment."
PROBE_BYTES: Final = 64 * 1024

_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 5, 6, 8, 10, 11, 13, 14, 26
_IOERR_FSYNC, _IOERR_DIR_FSYNC = 10 | 4 << 8, 10 | 5 << 8


def translate(error: BaseException, folder: Path) -> StoreError:
    """The error for a person; `folder` is where the database lies. ReadOnly means: never write again."""
    code = _code(error)
    primary = code & 0xFF
    if primary in (_BUSY, _LOCKED):
        found: StoreError = StoreBusy(BUSY_TEXT)
    elif primary == _FULL or (_may_be_full(code) and no_room_in(folder)):
        found = DiskFull(FULL_TEXT)
    elif primary in (_IOERR, _READONLY):
        found = ReadOnly(
            f"The disk failed while the database was used ({_cause(error)}): nothing is saved any more; what "
            "was saved before can be read. Look at the disk, then start the server again, which checks the "
            "database first."
        )
    elif primary in (_CORRUPT, _NOTADB):
        found = ReadOnly(
            f"The database file is damaged ({_cause(error)}): nothing is saved any more. Stop the server and "
            "restore a backup, or let `annotator doctor` look at it."
        )
    else:
        found = StoreError(
            f"The database could not be used ({_cause(error)}); nothing of this request was saved."
        )
    found.__cause__ = error
    return found


def no_room_in(folder: Path) -> bool:
    """Whether a small file cannot be written in `folder` for lack of room."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            left = PROBE_BYTES
            while left > 0:
                left -= os.write(file.fileno(), bytes(left))
    except OSError as error:
        return is_full(error)
    return False


def _may_be_full(code: int) -> bool:
    if code in (_IOERR_FSYNC, _IOERR_DIR_FSYNC):
        return False
    return code & 0xFF in (_IOERR, _CANTOPEN)


def _code(error: BaseException) -> int:
    """SQLite's extended result code; 0 when it is no error of SQLite."""
    original = error.orig if isinstance(error, DBAPIError) else error
    # the drivers' copy of a database tells no code
    told = _FULL if "disk is full" in str(original) else 0
    return int(getattr(original, "sqlite_errorcode", 0) or told)


def _cause(error: BaseException) -> str:
    original = error.orig if isinstance(error, DBAPIError) else error
    # SQLAlchemy's own errors quote the statement; their kind is enough for a person
    return type(error).__name__ if isinstance(original, SQLAlchemyError) else str(original)
