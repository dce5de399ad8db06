"""Errors a person can act on.

AnnotatorError                 base: its text is one sentence for a person, naming the file, field or value
 +- BadInput                   the input is wrong; nothing was written
 |   +- BadFile                a picture, archive or label file cannot be used (`.name`, `.reason`)
 |   +- DuplicateCategory      the name is already an active category of the project
 |   +- NotFound               no such project, image, category, job or generation
 +- Conflict                   the request is fine but the state has moved on
 +- NothingToLearn             the known labels are not enough to train on
 +- StoreError                 the database cannot be used as it is (schema, version, disk)
 +- ArtifactDamaged            a file of a generation does not match its digest
 +- NotAllowed                 the caller may not do this
"""

from __future__ import annotations


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


class DuplicateCategory(BadInput):
    """The name is already an active category of the project."""


class NotFound(BadInput):
    """No such project, image, category, job or generation."""


class Conflict(AnnotatorError):
    """The request is fine but the state has moved on."""


class NothingToLearn(AnnotatorError):
    """The known labels are not enough to train on."""


class StoreError(AnnotatorError):
    """The database cannot be used as it is."""


class ArtifactDamaged(AnnotatorError):
    """A file of a generation does not match its digest."""


class NotAllowed(AnnotatorError):
    """The caller may not do this."""
