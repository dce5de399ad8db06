"""Artifacts are complete or absent, and damage is found."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from annotator.artifacts import MANIFEST, ArtifactWriter, sha256_of, verify, write_atomic
from annotator.errors import ArtifactDamaged


def test_write_atomic_replaces_the_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "CURRENT"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["CURRENT"]


def test_write_atomic_keeps_the_old_content_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.mkdir()
    (path / "inside").write_bytes(b"old")
    with pytest.raises(OSError):
        write_atomic(path, b"new")
    assert (path / "inside").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def publish(target: Path) -> ArtifactWriter:
    with ArtifactWriter(target) as writer:
        (writer.folder / "a.bin").write_bytes(b"a" * 100)
        (writer.folder / "index").mkdir()
        (writer.folder / "index" / "7.faiss").write_bytes(b"seven")
        (writer.folder / "empty").write_bytes(b"")
        writer.describe(project=3, metrics={"map": 0.5})
        assert not target.exists()
    return writer


def test_a_folder_appears_at_once_with_its_manifest(tmp_path: Path) -> None:
    target = tmp_path / "generations" / "000001"
    writer = publish(target)
    assert [p.name for p in target.parent.iterdir()] == ["000001"]
    manifest = verify(target, writer.manifest_sha256)
    assert (manifest["format"], manifest["project"], manifest["metrics"]) == (2, 3, {"map": 0.5})
    assert manifest["files"] == {
        "a.bin": {"sha256": hashlib.sha256(b"a" * 100).hexdigest(), "bytes": 100},
        "empty": {"sha256": hashlib.sha256(b"").hexdigest(), "bytes": 0},
        "index/7.faiss": {"sha256": hashlib.sha256(b"seven").hexdigest(), "bytes": 5},
    }
    assert writer.manifest_sha256 == sha256_of(target / MANIFEST)


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="diverged"), ArtifactWriter(tmp_path / "x") as writer:
        (writer.folder / "a").write_bytes(b"a")
        raise RuntimeError("diverged")
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_is_no_json_publishes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"), ArtifactWriter(tmp_path / "x") as writer:
        writer.describe(map=float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_a_published_folder_never_changes(tmp_path: Path) -> None:
    publish(tmp_path / "x")
    with pytest.raises(FileExistsError, match="never changes"), ArtifactWriter(tmp_path / "x"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_the_manifest_keeps_its_own_entries(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="entry files"), ArtifactWriter(tmp_path / "x") as writer:
        writer.describe(files={})


@pytest.mark.parametrize("name", ["a.bin", "index/7.faiss"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove"])
def test_damage_is_found_and_named(tmp_path: Path, name: str, damage: str) -> None:
    target = tmp_path / "x"
    sha = publish(target).manifest_sha256
    path = target / name
    data = path.read_bytes()
    changed = {"flip": bytes([data[0] ^ 1]) + data[1:], "cut": data[:-1], "grow": data + b"x"}
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(changed[damage])
    with pytest.raises(ArtifactDamaged, match=path.name):
        verify(target, sha)


def test_a_manifest_edited_to_match_is_found_by_its_own_digest(tmp_path: Path) -> None:
    target = tmp_path / "x"
    sha = publish(target).manifest_sha256
    (target / "a.bin").write_bytes(b"b" * 100)
    manifest = json.loads((target / MANIFEST).read_bytes())
    manifest["files"]["a.bin"]["sha256"] = hashlib.sha256(b"b" * 100).hexdigest()
    (target / MANIFEST).write_text(json.dumps(manifest))
    verify(target)
    with pytest.raises(ArtifactDamaged, match="not the manifest that was published"):
        verify(target, sha)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not JSON"),
        (b"[]", "is not a manifest"),
        (b'{"format": 2}', "is not a manifest"),
        (b'{"format": 1, "files": {}}', "was written by an older version; the next training replaces it"),
        (b'{"format": 3, "files": {}}', "format 3, this program reads 2"),
        (b'{"format": true, "files": {}}', "format True, this program reads 2"),
        (b'{"files": {}}', "format None, this program reads 2"),
        (b'{"format": 2, "files": {"../../etc/passwd": {}}}', "impossible entry"),
        (b'{"format": 2, "files": {"/etc/passwd": {}}}', "impossible entry"),
        (b'{"format": 2, "files": {"a": 3}}', "impossible entry"),
    ],
)
def test_a_manifest_that_cannot_be_ours_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactDamaged, match=reason):
        verify(tmp_path)


def test_a_missing_manifest_is_damage(tmp_path: Path) -> None:
    with pytest.raises(ArtifactDamaged, match="cannot be read"):
        verify(tmp_path / "nothing")


KILLED = """
import os, signal, sys
from pathlib import Path
from annotator.artifacts import ArtifactWriter
steps = int(sys.argv[2])
def count(frame, event, arg):
    global steps
    names = ("open", "fsync", "rename", "replace", "mkdir", "write")
    if event == "c_call" and getattr(arg, "__name__", "") in names:
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(count)
with ArtifactWriter(Path(sys.argv[1])) as writer:
    (writer.folder / "a.bin").write_bytes(b"a" * 1000)
    (writer.folder / "b.bin").write_bytes(b"b" * 1000)
"""


@pytest.mark.parametrize("steps", [1, 6, 12, 17, 20, 21, 22, 23, 24, 25])
def test_a_killed_writer_leaves_a_whole_folder_or_none(tmp_path: Path, steps: int) -> None:
    target = tmp_path / "x"
    subprocess.run(
        [sys.executable, "-c", KILLED, str(target), str(steps)], cwd=Path(__file__).parents[2], check=False
    )
    if target.exists():
        assert verify(target)["files"].keys() == {"a.bin", "b.bin"}
    else:
        with ArtifactWriter(target) as writer:
            (writer.folder / "a.bin").write_bytes(b"again")
        verify(target)
