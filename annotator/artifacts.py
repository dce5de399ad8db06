"""Files that are either complete or not there, and folders that never change after they appear.

A power cut may lose anything that was not fsynced, a rename included: so the file is synced first, then
renamed, then its folder is synced. Parsers do not notice damaged files, therefore every file has a SHA-256
in a manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from annotator.errors import ArtifactDamaged

MANIFEST = "manifest.json"
FORMAT = 2


def write_atomic(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whose folder must exist; after a crash the old or the new content is there."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Return once the content of a file is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Return once the names in a folder are on disk; a system that cannot sync folders does it by itself."""
    if hasattr(os, "O_DIRECTORY"):
        sync_file(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ArtifactWriter:
    """Writes an immutable folder with a manifest.

    Inside the `with` block, put files into `folder` (sub-folders are fine) and words into the manifest by
    `describe`. A block that ends well makes `target` appear in one step, and `manifest_sha256` is set; one
    that raises leaves nothing behind.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        self.manifest_sha256 = ""
        self._fields: dict[str, Any] = {}

    def describe(self, **fields: Any) -> None:
        """Add entries to the manifest; `format` and `files` are its own."""
        reserved = {"format", "files"} & fields.keys()
        if reserved:
            raise ValueError(f"The manifest entry {min(reserved)} is written by the manifest itself.")
        self._fields.update(fields)

    def __enter__(self) -> ArtifactWriter:
        if self.target.exists():
            raise FileExistsError(f"{self.target} is already there and never changes.")
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _publish(self) -> None:
        files = {}
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            sync_file(path)
            name = path.relative_to(self.folder).as_posix()
            files[name] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        manifest = {"format": FORMAT, **self._fields, "files": files}
        data = json.dumps(manifest, indent=1, allow_nan=False).encode()
        write_atomic(self.folder / MANIFEST, data)
        for path in [*self.folder.rglob("*"), self.folder]:
            if path.is_dir():
                sync_folder(path)
        self.folder.rename(self.target)
        sync_folder(self.target.parent)
        self.manifest_sha256 = hashlib.sha256(data).hexdigest()


def verify(folder: Path, manifest_sha256: str | None = None) -> dict[str, Any]:
    """The manifest of a folder whose files all match it; ArtifactDamaged names the first that does not."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactDamaged(f"{path} cannot be read ({error.strerror}).") from error
    if manifest_sha256 is not None and hashlib.sha256(data).hexdigest() != manifest_sha256:
        raise ArtifactDamaged(f"{path} is not the manifest that was published.")
    manifest = _parsed(path, data)
    for name, entry in manifest["files"].items():
        _verify_file(folder, name, entry)
    return manifest


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise ArtifactDamaged(f"{path} is not JSON ({error}).") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ArtifactDamaged(f"{path} is not a manifest.")
    problem = format_problem(manifest.get("format"))
    if problem:
        raise ArtifactDamaged(f"{path} {problem}.")
    return manifest


def format_problem(found: object) -> str:
    """What is wrong with a manifest of this format, to be put after its name; empty when it can be read."""
    if found == FORMAT:
        return ""
    if isinstance(found, int) and not isinstance(found, bool) and 0 < found < FORMAT:
        return "was written by an older version; the next training replaces it"
    return f"has format {found!r}, this program reads {FORMAT}"


def _verify_file(folder: Path, name: str, entry: Any) -> None:
    plain = PurePosixPath(name)
    if plain.is_absolute() or ".." in plain.parts or not isinstance(entry, dict):
        raise ArtifactDamaged(f"{folder / MANIFEST} has the impossible entry {name!r}.")
    path = folder / plain
    try:
        size = path.stat().st_size
        digest = sha256_of(path) if size == entry.get("bytes") else ""
    except OSError as error:
        raise ArtifactDamaged(f"{path} cannot be read ({error.strerror}).") from error
    if digest != entry.get("sha256"):
        raise ArtifactDamaged(f"{path} does not match its digest.")
