"""What a backup consists of: a database, files by the names they have in a data folder, and a list of them.

The list (`manifest.json`) is written in one way only, so that it can be compared byte by byte, and carries a
digest of itself. It protects against rot and mistakes, not against somebody who rewrites it on purpose.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from annotator.errors import BadFile

KIND = "annotator-backup"
FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "annotator.db"
MAX_NAME = 100  # bytes, what a tar header holds
MAX_MANIFEST = 2**30
PICTURES = ("originals", "canonical", "thumbnails")
ROOTS = (*PICTURES, "projects")
# remarks: what can be the matter with a file that the database names
MISSING, CHANGED, UNREADABLE, DAMAGED = "missing", "changed", "unreadable", "damaged"
IMPOSSIBLE = "not a name that a file of ours has"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a backup."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The list of a backup."""

    program: str  # version that wrote it
    schema: str  # revision of the database
    made_at: int  # milliseconds since 1970 UTC
    pictures: bool  # whether picture files are in it
    projects: tuple[dict[str, Any], ...]  # id, name, head_seq, generation (folder or None)
    counts: Mapping[str, int]  # rows by table
    label_digest: str
    files: Mapping[str, Entry]
    remarks: Mapping[str, str] = field(default_factory=dict)  # files that are not there or not as they were

    def to_bytes(self) -> bytes:
        """The one way this list is written."""
        content = {
            "kind": KIND,
            "format": FORMAT,
            "program": self.program,
            "schema": self.schema,
            "made_at": self.made_at,
            "pictures": self.pictures,
            "projects": list(self.projects),
            "counts": dict(self.counts),
            "label_digest": self.label_digest,
            "files": {name: [one.bytes, one.sha256] for name, one in self.files.items()},
            "remarks": dict(self.remarks),
        }
        digest = hashlib.sha256(_canonical(content)).hexdigest()
        return _canonical({**content, "digest": digest}) + b"\n"


def parse(name: str, data: bytes) -> Manifest:
    """The list in `data`; BadFile says what is wrong with the backup `name`."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadFile(name, "its list of files is damaged, it is not JSON") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise BadFile(name, "it is not a backup of this program")
    if content.get("format") != FORMAT:
        raise BadFile(
            name, f"it has backup format {content.get('format')!r}, this program reads format {FORMAT}"
        )
    try:
        manifest = _built(content)
        written = manifest.to_bytes()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadFile(name, "its list of files is damaged") from error
    if written != data:
        raise BadFile(name, "its list of files is damaged, it does not match its own digest")
    odd = next((one for one in manifest.files if not is_plain(one)), None)
    if odd is not None:
        raise BadFile(name, f"it lists the impossible file {odd[:200]!r}")
    return manifest


def is_plain(name: str) -> bool:
    """Whether a file may have this name in a backup: inside the folder, in its places, nothing hidden."""
    if name == DATABASE:
        return True
    parts = name.split("/")
    return (
        len(name.encode()) <= MAX_NAME
        and len(parts) > 1
        and parts[0] in ROOTS
        and all(_PART.fullmatch(part) for part in parts)
    )


def _built(content: dict[str, Any]) -> Manifest:
    files = {}
    for name, (size, sha256) in content["files"].items():
        if not (type(size) is int and size >= 0 and _SHA256.fullmatch(sha256)):
            raise ValueError(name)
        files[name] = Entry(bytes=size, sha256=sha256)
    projects = tuple(content["projects"])
    for project in projects:
        if not (type(project["id"]) is int and type(project["head_seq"]) is int):
            raise ValueError("project")
    return Manifest(
        program=str(content["program"]),
        schema=str(content["schema"]),
        made_at=int(content["made_at"]),
        pictures=bool(content["pictures"]),
        projects=projects,
        counts={str(table): int(rows) for table, rows in content["counts"].items()},
        label_digest=str(content["label_digest"]),
        files=files,
        remarks={str(name): str(remark) for name, remark in content["remarks"].items()},
    )


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
