"""Errors a person can act on.

AnnotatorError                 base: its text is one sentence for a person, naming the file, field or value
 +- BadInput                   the input is wrong; nothing was written
 |   +- BadFile                a picture, archive or label file cannot be used (`.name`, `.reason`)
 |   |   +- TypeNotAccepted    it is of a kind that is not read at all (SVG, HTML, archives in archives ...)
 |   +- DuplicateCategory      the name is already an active category of the project
 |   +- DuplicateProject       the name is already that of a project
 |   +- NotFound               no such project, image, category, job or generation
 |   |   +- Gone               it was there: a picture whose file is missing, an archived project
 +- Conflict                   the request is fine but the state has moved on
 |   +- CellsMoved             answers to cells that others answered meanwhile (annotator/store/registers.py)
 |   +- OtherPerson            the answers are not those of who is signed in
 +- NothingToLearn             the known labels are not enough to train on
 +- StoreError                 the database cannot be used as it is (schema, version, disk)
 |   +- StoreBusy              another process holds the database; sending it again later is right
 |   +- StoreStopping          the server is about to end; sending it again later is right
 |   +- DiskFull               there is no room on the disk; reading goes on, nothing was stored
 |   +- ReadOnly               the disk failed once: nothing is acknowledged until a restart has checked
 +- ArtifactDamaged            a file of a generation does not match its digest
 +- NotAllowed                 the caller may not do this
"""

from __future__ import annotations

import errno
import os
import re


class AnnotatorError(Exception):
    """Base of every error whose text is meant for a person."""


class BadInput(AnnotatorError):
    """The input is wrong; nothing was written."""


class BadFile(BadInput):
    """A picture, archive or label file that cannot be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class TypeNotAccepted(BadFile):
    """A file of a kind that is not read at all, whatever is in it."""


class DuplicateCategory(BadInput):
    """The name is already an active category of the project."""


class DuplicateProject(BadInput):
    """The name is already that of a project, archived or not."""


class NotFound(BadInput):
    """No such project, image, category, job or generation."""


class Gone(NotFound):
    """It was there and may come back: a picture whose file is missing, an archived project."""


class Conflict(AnnotatorError):
    """The request is fine but the state has moved on."""


class OtherPerson(Conflict):
    """The answers are not those of who is signed in; they wait for their owner."""


class NothingToLearn(AnnotatorError):
    """The known labels are not enough to train on."""


class StoreError(AnnotatorError):
    """The database cannot be used as it is."""


class StoreBusy(StoreError):
    """Another process holds the database; nothing was stored, sending it again later is right."""


class StoreStopping(StoreError):
    """The server is about to end; nothing was stored, sending it again later is right."""


class DiskFull(StoreError):
    """There is no room on the disk; nothing was stored, reading goes on, and room makes it work again."""


class ReadOnly(StoreError):
    """The disk or the database failed; nothing is acknowledged until a restart has checked the database."""


class ArtifactDamaged(AnnotatorError):
    """A file of a generation does not match its digest."""


class NotAllowed(AnnotatorError):
    """The caller may not do this."""


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_WORDS = tuple(os.strerror(number) for number in sorted(_NO_ROOM))
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")


def is_full(error: BaseException | None) -> bool:
    """Whether an error means that there is no room left on the disk, whichever library tells it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_ROOM
    # safetensors and FAISS hand the words of the system on, NumPy says how much of an array it could write
    text = str(error) if isinstance(error, Exception) else ""
    return any(words in text for words in _FULL_WORDS) or bool(_CUT_SHORT.fullmatch(text))


def no_room(what: str) -> DiskFull:
    """The error of a full disk; `what` is the sentence's beginning, as "The export could not be written"."""
    return DiskFull(
        f"{what}: the disk is full; nothing that was saved before is lost. Make room and try again."
    )
